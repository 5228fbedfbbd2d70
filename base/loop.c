/*
 * The part of the loop that does not depend on the driver: dispatch to it, signals through a
 * signalfd and wake-ups from other threads through an eventfd.  Both are watched descriptors like
 * any other, so a driver has to know nothing of them.
 */
#include "base/loop.h"

#include "base/blob.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct loop_signals {
	int fd;
	struct loop_watch *watch;
	loop_signal_fn fn;
	void *arg;
};

struct loop_wake {
	int fd;
	struct loop_watch *watch;
	loop_fn fn;
	void *arg;
};

static struct loop *loop_of(void *watch_or_timer)
{
	return ((struct loop_watch_head *)watch_or_timer)->loop;
}

static void free_signals(struct loop_signals *s)
{
	if (s == NULL)
		return;
	loop_unwatch(s->watch);
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	free_signals(l->signals);
	l->signals = NULL;
	l->driver->free(l);
}

cc_err loop_watch(
	struct loop *l, int fd, unsigned want, loop_fd_fn fn, void *arg, struct loop_watch **ret)
{
	return l->driver->watch(l, fd, want, fn, arg, ret);
}

void loop_watch_want(struct loop_watch *w, unsigned want)
{
	loop_of(w)->driver->want(w, want);
}

void loop_unwatch(struct loop_watch *w)
{
	if (w != NULL)
		loop_of(w)->driver->unwatch(w);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
	return l->driver->timer_new(l, fn, arg);
}

void loop_timer_set(struct loop_timer *t, int64_t in_ms)
{
	loop_of(t)->driver->timer_set(t, in_ms < 0 ? 0 : in_ms);
}

void loop_timer_stop(struct loop_timer *t)
{
	loop_of(t)->driver->timer_set(t, -1);
}

void loop_timer_free(struct loop_timer *t)
{
	if (t != NULL)
		loop_of(t)->driver->timer_free(t);
}

void loop_run(struct loop *l)
{
	l->driver->run(l);
}

void loop_stop(struct loop *l)
{
	l->driver->stop(l);
}

/* One signal for each call of the loop: the callback may have freed everything. */
static void signal_ready(void *arg, unsigned ready)
{
	struct loop_signals *s = arg;
	struct signalfd_siginfo info;

	(void)ready;
	if (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		s->fn(s->arg, (int)info.ssi_signo);
}

cc_err loop_signals(struct loop *l, const int *signals, size_t count, loop_signal_fn fn, void *arg)
{
	struct loop_signals *s = NULL;
	sigset_t set;
	cc_err err = CC_OK;

	assert(l->signals == NULL);
	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, signals[i]);

	s = cc_alloc(sizeof(*s));
	s->fn = fn;
	s->arg = arg;
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	ENSURE(s->fd >= 0, cc_fail_errno("signalfd"));
	TRY(loop_watch(l, s->fd, LOOP_READ, signal_ready, s, &s->watch));
	errno = pthread_sigmask(SIG_BLOCK, &set, NULL);
	ENSURE(errno == 0, cc_fail_errno("pthread_sigmask"));
	l->signals = s;
	s = NULL;
out:
	free_signals(s);
	return err;
}

static void wake_ready(void *arg, unsigned ready)
{
	struct loop_wake *w = arg;
	uint64_t times;

	(void)ready;
	/* Emptied before the call, so that a wake-up during it is not lost. */
	if (read(w->fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
		w->fn(w->arg);
}

cc_err loop_wake_new(struct loop *l, loop_fn fn, void *arg, struct loop_wake **ret)
{
	struct loop_wake *w = cc_alloc(sizeof(*w));
	cc_err err = CC_OK;

	w->fn = fn;
	w->arg = arg;
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ENSURE(w->fd >= 0, cc_fail_errno("eventfd"));
	TRY(loop_watch(l, w->fd, LOOP_READ, wake_ready, w, &w->watch));
	*ret = w;
	w = NULL;
out:
	loop_wake_free(w);
	return err;
}

void loop_wake_up(struct loop_wake *w)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is at its end, so the descriptor is readable already. */
	if (write(w->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		cc_die("wake-up of the loop: %s", cc_err_detail(cc_fail_errno("eventfd")));
}

void loop_wake_free(struct loop_wake *w)
{
	if (w == NULL)
		return;
	loop_unwatch(w->watch);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

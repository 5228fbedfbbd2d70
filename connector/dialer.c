/*
 * Attempts and their threads.
 *
 * What both sides touch is in struct core, which lives as long as its last user; the loop's side of it
 * is `wake`, gone when the dialer is.  An attempt's outcome is told through the core, and only that of
 * the current attempt: one that was given up finds its number outdated.
 */
#include "connector/dialer.h"

#include "base/blob.h"
#include "base/clock.h"
#include "connector/dial_relay.h"
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { FREE_WAIT_S = 1 };

struct outcome {
	bool there;
	cc_err why;
	char *detail;
	char name[DIAL_NAME_SIZE];
};

struct core {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a thread did */
	unsigned users;       /* the dialer and its threads */
	struct loop_wake *wake;
	uint64_t current; /* number of the attempt whose outcome counts */
	struct outcome outcome;
	struct proxy *proxy; /* not changed any more */
};

struct attempt {
	struct core *core;
	uint64_t number;
	char *host;
	uint16_t port;
	int cancel_fd; /* its own copy of the dialer's */
};

struct dialer {
	struct core *core;
	const struct dialer_events *events;
	void *arg;
	int cancel_fd; /* of the current attempt; -1: none */
};

cc_err dialer_start_library(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return cc_fail(CC_INTERNAL, "libcurl could not be started");
	return CC_OK;
}

/* ---- the core ---- */

static void clear_outcome(struct outcome *o)
{
	free(o->detail);
	*o = (struct outcome){0};
}

/* With the lock held, which is gone afterwards. */
static void leave_core(struct core *c)
{
	bool last = --c->users == 0;

	pthread_cond_signal(&c->ended);
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	clear_outcome(&c->outcome);
	proxy_free(c->proxy);
	pthread_cond_destroy(&c->ended);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct core *new_core(struct proxy **proxy)
{
	struct core *c = cc_alloc(sizeof(*c));
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&c->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&c->lock, NULL);
	c->users = 1;
	c->proxy = *proxy;
	*proxy = NULL;
	return c;
}

/* ---- a thread ---- */

/* `name` empty: it failed. */
static void tell(struct attempt *a, cc_err why, const char *name)
{
	struct core *c = a->core;

	pthread_mutex_lock(&c->lock);
	if (c->current == a->number && c->wake != NULL) {
		clear_outcome(&c->outcome);
		c->outcome.there = true;
		c->outcome.why = why;
		c->outcome.detail = cc_strdup(why != CC_OK ? cc_err_detail(why) : "");
		memcpy(c->outcome.name, name, strlen(name) + 1);
		loop_wake_up(c->wake);
	}
	pthread_mutex_unlock(&c->lock);
}

static void *run_attempt(void *arg)
{
	struct attempt *a = arg;
	struct core *c = a->core;
	struct dial_tunnel *tunnel = NULL;
	char name[DIAL_NAME_SIZE] = "";
	int listener = -1;
	cc_err err =
		dial_tunnel_open(c->proxy, a->host, a->port, DIAL_LIMIT_MS, a->cancel_fd, &tunnel);

	if (err == CC_OK)
		err = dial_relay_listen(name, &listener);
	tell(a, err, err == CC_OK ? name : "");
	if (err == CC_OK)
		dial_relay_run(tunnel, listener, a->cancel_fd);
	dial_tunnel_close(tunnel);
	close(a->cancel_fd);
	free(a->host);
	free(a);
	OPENSSL_thread_stop(); /* who waits for us may end the process before the thread is quite over */
	pthread_mutex_lock(&c->lock);
	leave_core(c);
	return NULL;
}

/* Signals are the loop's; a broken pipe is told by the call that wrote. */
static int start_thread(struct attempt *a)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&thread, &attributes, run_attempt, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return rc;
}

/* ---- the loop's side ---- */

static void on_wake(void *arg)
{
	struct dialer *d = arg;
	struct outcome o;

	pthread_mutex_lock(&d->core->lock);
	o = d->core->outcome;
	d->core->outcome = (struct outcome){0};
	pthread_mutex_unlock(&d->core->lock);
	if (!o.there)
		return;
	if (o.why == CC_OK)
		d->events->found(d->arg, o.name);
	else
		d->events->failed(d->arg, cc_fail(o.why, "%s", o.detail));
	clear_outcome(&o);
}

cc_err dialer_new(struct loop *l, struct proxy **proxy, const struct dialer_events *events,
	void *arg, struct dialer **ret)
{
	struct dialer *d = cc_alloc(sizeof(*d));
	cc_err err = CC_OK;

	d->cancel_fd = -1;
	d->events = events;
	d->arg = arg;
	d->core = new_core(proxy);
	TRY(loop_wake_new(l, on_wake, d, &d->core->wake));
	*ret = d;
	d = NULL;
out:
	dialer_free(d);
	return err;
}

void dialer_give_up(struct dialer *d)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&d->core->lock);
	d->core->current++;
	clear_outcome(&d->core->outcome);
	pthread_mutex_unlock(&d->core->lock);
	if (d->cancel_fd < 0)
		return;
	if (write(d->cancel_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		cc_die("giving up an attempt: %s", cc_err_detail(cc_fail_errno("eventfd")));
	close(d->cancel_fd);
	d->cancel_fd = -1;
}

/* The core tells of an attempt that could not begin, as of any other. */
static void fail_at_once(struct dialer *d, cc_err why)
{
	struct attempt none = {.core = d->core, .number = d->core->current};

	tell(&none, why, "");
}

static cc_err begin_attempt(struct dialer *d, const char *host, uint16_t port)
{
	struct core *c = d->core;
	struct attempt *a = NULL;
	int copy = -1;
	cc_err err = CC_OK;

	ENSURE(dialer_thread_count(d) < DIALER_THREADS_MAX,
		cc_fail(CC_BUSY, "%d earlier attempts to connect have not ended",
			DIALER_THREADS_MAX));
	d->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ENSURE(d->cancel_fd >= 0, cc_fail_errno("eventfd"));
	copy = fcntl(d->cancel_fd, F_DUPFD_CLOEXEC, 0);
	ENSURE(copy >= 0, cc_fail_errno("eventfd"));
	a = cc_alloc(sizeof(*a));
	a->core = c;
	a->number = c->current;
	a->host = cc_strdup(host);
	a->port = port;
	a->cancel_fd = copy;
	pthread_mutex_lock(&c->lock);
	c->users++;
	pthread_mutex_unlock(&c->lock);
	errno = start_thread(a);
	if (errno != 0) {
		err = cc_fail_errno("a thread for dialling");
		pthread_mutex_lock(&c->lock);
		c->users--;
		pthread_mutex_unlock(&c->lock);
		goto out;
	}
	a = NULL;
	copy = -1;
out:
	if (copy >= 0)
		close(copy);
	if (a != NULL)
		free(a->host);
	free(a);
	return err;
}

void dialer_dial(struct dialer *d, const char *host, uint16_t port)
{
	cc_err err;

	dialer_give_up(d);
	err = begin_attempt(d, host, port);
	if (err != CC_OK)
		fail_at_once(d, err);
}

unsigned dialer_thread_count(struct dialer *d)
{
	unsigned count;

	pthread_mutex_lock(&d->core->lock);
	count = d->core->users - 1;
	pthread_mutex_unlock(&d->core->lock);
	return count;
}

/* A second at most. */
static void wait_for_threads(struct core *c)
{
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += FREE_WAIT_S;
	pthread_mutex_lock(&c->lock);
	while (c->users > 1 && rc == 0)
		rc = pthread_cond_timedwait(&c->ended, &c->lock, &end);
	pthread_mutex_unlock(&c->lock);
}

void dialer_free(struct dialer *d)
{
	if (d == NULL)
		return;
	dialer_give_up(d);
	wait_for_threads(d->core);
	pthread_mutex_lock(&d->core->lock);
	loop_wake_free(d->core->wake);
	d->core->wake = NULL;
	leave_core(d->core);
	free(d);
}

/*
 * The loop on libevent_core, for the processes that have no WebSockets: supervisor, keyvault and
 * runners.  Every watch and every timer is one persistent or one-shot struct event.
 */
#include "base/loop.h"

#include "base/blob.h"
#include "base/log.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/time.h>

struct event_loop {
	struct loop loop;
	struct event_base *base;
	bool stopped;
};

struct event_watch {
	struct loop_watch_head head;
	struct event *event; /* NULL while nothing is wanted */
	int fd;
	unsigned want;
	loop_fd_fn fn;
	void *arg;
};

struct event_timer {
	struct loop_watch_head head;
	struct event *event;
	loop_fn fn;
	void *arg;
};

static struct event_base *base_of(struct loop *l)
{
	return ((struct event_loop *)l)->base;
}

static void watch_ready(evutil_socket_t fd, short what, void *arg)
{
	struct event_watch *w = arg;
	unsigned ready = 0;

	(void)fd;
	if ((what & EV_READ) != 0)
		ready |= LOOP_READ;
	if ((what & EV_WRITE) != 0)
		ready |= LOOP_WRITE;
	w->fn(w->arg, ready);
}

/* libevent cannot change what an event waits for; it is made anew. */
static cc_err watch_arm(struct event_watch *w, unsigned want)
{
	short what = EV_PERSIST;
	cc_err err = CC_OK;

	if (w->event != NULL)
		event_free(w->event);
	w->event = NULL;
	w->want = want;
	if (want == 0)
		return CC_OK;
	if ((want & LOOP_READ) != 0)
		what |= EV_READ;
	if ((want & LOOP_WRITE) != 0)
		what |= EV_WRITE;
	w->event = event_new(base_of(w->head.loop), w->fd, what, watch_ready, w);
	ENSURE(w->event != NULL, cc_fail(CC_INTERNAL, "event_new failed"));
	ENSURE(event_add(w->event, NULL) == 0, cc_fail_errno("watching a descriptor"));
out:
	return err;
}

static void driver_unwatch(struct loop_watch *watch)
{
	struct event_watch *w = (struct event_watch *)watch;

	if (w->event != NULL)
		event_free(w->event);
	free(w);
}

static cc_err driver_watch(
	struct loop *l, int fd, unsigned want, loop_fd_fn fn, void *arg, struct loop_watch **ret)
{
	struct event_watch *w = cc_alloc(sizeof(*w));
	cc_err err = CC_OK;

	w->head.loop = l;
	w->fd = fd;
	w->fn = fn;
	w->arg = arg;
	TRY(watch_arm(w, want));
	*ret = (struct loop_watch *)w;
	w = NULL;
out:
	if (w != NULL)
		driver_unwatch((struct loop_watch *)w);
	return err;
}

static void driver_want(struct loop_watch *watch, unsigned want)
{
	struct event_watch *w = (struct event_watch *)watch;
	cc_err err = CC_OK;

	if (w->want == want)
		return;
	/* The descriptor has been watched before, so only a lack of memory is left. */
	err = watch_arm(w, want);
	if (err != CC_OK)
		cc_die("cannot watch a descriptor: %s", cc_err_detail(err));
}

static void timer_due(evutil_socket_t fd, short what, void *arg)
{
	struct event_timer *t = arg;

	(void)fd;
	(void)what;
	t->fn(t->arg);
}

static struct loop_timer *driver_timer_new(struct loop *l, loop_fn fn, void *arg)
{
	struct event_timer *t = cc_alloc(sizeof(*t));

	t->head.loop = l;
	t->fn = fn;
	t->arg = arg;
	t->event = event_new(base_of(l), -1, 0, timer_due, t);
	if (t->event == NULL)
		cc_die("out of memory for a timer");
	return (struct loop_timer *)t;
}

static void driver_timer_set(struct loop_timer *timer, int64_t in_ms)
{
	struct event_timer *t = (struct event_timer *)timer;
	struct timeval in = {.tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000};

	if (in_ms < 0)
		event_del(t->event);
	else if (event_add(t->event, &in) != 0)
		cc_die("out of memory for a timer");
}

static void driver_timer_free(struct loop_timer *timer)
{
	struct event_timer *t = (struct event_timer *)timer;

	event_free(t->event);
	free(t);
}

static void driver_run(struct loop *l)
{
	struct event_loop *e = (struct event_loop *)l;

	while (!e->stopped) {
		if (event_base_loop(e->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) < 0)
			cc_die("the event loop failed");
	}
	e->stopped = false;
}

static void driver_stop(struct loop *l)
{
	((struct event_loop *)l)->stopped = true;
}

static void driver_free(struct loop *l)
{
	event_base_free(base_of(l));
	free(l);
}

static const struct loop_driver driver = {
	.watch = driver_watch,
	.want = driver_want,
	.unwatch = driver_unwatch,
	.timer_new = driver_timer_new,
	.timer_set = driver_timer_set,
	.timer_free = driver_timer_free,
	.run = driver_run,
	.stop = driver_stop,
	.free = driver_free,
};

static void on_event_log(int severity, const char *text)
{
	if (severity >= EVENT_LOG_WARN)
		log_event(EV_LIBRARY_WARNING, LV_TEXT("text", text));
}

cc_err loop_new(struct loop **ret)
{
	struct event_config *config = NULL;
	struct event_base *base = NULL;
	struct event_loop *e = NULL;
	cc_err err = CC_OK;

	event_set_log_callback(on_event_log);
	config = event_config_new();
	ENSURE(config != NULL, cc_fail(CC_INTERNAL, "event_config_new failed"));
	/* A timer counts from the call that sets it, however long the callback has run. */
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
	base = event_base_new_with_config(config);
	ENSURE(base != NULL, cc_fail(CC_INTERNAL, "libevent: no event base"));
	e = cc_alloc(sizeof(*e));
	e->loop.driver = &driver;
	e->base = base;
	*ret = &e->loop;
out:
	if (config != NULL)
		event_config_free(config);
	return err;
}

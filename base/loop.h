/*
 * Event loop: one thread, many descriptors and timers; nothing in it may block.
 *
 * The supervisor, keyvault and runners run it on libevent (loop_new); connector and queue run it
 * inside libwebsockets, which must own its loop (base/lws_loop.h).  The rooms see this interface
 * only.  All calls from the loop's thread, except loop_wake.
 */
#pragma once

#include "base/err.h"
#include <stdint.h>

struct loop;       /* opaque */
struct loop_watch; /* a watched descriptor */
struct loop_timer;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

typedef void (*loop_fd_fn)(void *arg, unsigned ready); /* LOOP_READ also on hang-up and error */
typedef void (*loop_fn)(void *arg);

cc_err loop_new(struct loop **ret) CC_MUST_USE; /* the libevent driver */
void loop_free(struct loop *l);                 /* watches and timers must be gone */

/* Watch `fd`; the caller keeps owning it and closes it after loop_unwatch. */
cc_err loop_watch(struct loop *l, int fd, unsigned want, loop_fd_fn fn, void *arg,
	struct loop_watch **ret) CC_MUST_USE;
void loop_watch_want(struct loop_watch *w, unsigned want);
void loop_unwatch(struct loop_watch *w); /* accepts NULL; also from inside its own callback */

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg);
void loop_timer_set(struct loop_timer *t, int64_t in_ms); /* once; replaces what was set */
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* accepts NULL */

/* SIGTERM, SIGINT, SIGCHLD, SIGHUP through a signalfd: call once, before threads.  The signals stay
 * blocked from then on: a child that is started must set its mask anew.  Several signals of one kind
 * may become one. */
typedef void (*loop_signal_fn)(void *arg, int signal);
cc_err loop_signals(
	struct loop *l, const int *signals, size_t count, loop_signal_fn fn, void *arg) CC_MUST_USE;

/* Any thread: run `fn(arg)` once in the loop's thread, soon.  Several calls before it ran may
 * become one. */
struct loop_wake;
cc_err loop_wake_new(struct loop *l, loop_fn fn, void *arg, struct loop_wake **ret) CC_MUST_USE;
void loop_wake_up(struct loop_wake *w); /* any thread */
void loop_wake_free(struct loop_wake *w);

void loop_run(struct loop *l); /* until loop_stop */
void loop_stop(struct loop *l);

/* For drivers (loop_event.c, lws_loop.c). */
struct loop_driver {
	cc_err (*watch)(struct loop *, int fd, unsigned want, loop_fd_fn, void *arg,
		struct loop_watch **ret);
	void (*want)(struct loop_watch *, unsigned want);
	void (*unwatch)(struct loop_watch *);
	struct loop_timer *(*timer_new)(struct loop *, loop_fn, void *arg);
	void (*timer_set)(struct loop_timer *, int64_t in_ms); /* below 0: stop */
	void (*timer_free)(struct loop_timer *);
	void (*run)(struct loop *);
	void (*stop)(struct loop *);
	void (*free)(struct loop *);
};
struct loop { /* first member of a driver's own struct; watches and timers begin with a pointer to it */
	const struct loop_driver *driver;
	struct loop_signals *signals; /* loop.c's; the driver leaves it NULL */
};
struct loop_watch_head {
	struct loop *loop;
};

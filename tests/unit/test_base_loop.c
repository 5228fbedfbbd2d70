/*
 * The loop's contract, over both drivers: every test runs once on libevent and once inside
 * libwebsockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/blob.h"
#include "base/clock.h"
#include "base/lws_loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig {
	struct loop *loop;
	struct loop_timer *guard; /* a test that waits in vain ends here */
	int ends[2];
	struct loop_watch *watch;
	struct loop_timer *timer;
	struct loop_wake *wake;
	unsigned ready;
	int calls;
	int64_t at_ms;
	int signal;
	bool stop_at_once;
};

static void guard_due(void *arg)
{
	(void)arg;
	fail_msg("nothing happened within the time");
}

static int set_up(void **state, cc_err made, struct loop *l)
{
	struct rig *r = cc_alloc(sizeof(*r));

	assert_int_equal(made, CC_OK);
	r->loop = l;
	r->guard = loop_timer_new(l, guard_due, r);
	loop_timer_set(r->guard, 20000);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, r->ends), 0);
	*state = r;
	return 0;
}

static int set_up_event(void **state)
{
	struct loop *l = NULL;
	cc_err err = loop_new(&l);

	return set_up(state, err, l);
}

static int set_up_lws(void **state)
{
	struct loop *l = NULL;
	cc_err err = lws_loop_new(64, &l);

	return set_up(state, err, l);
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	loop_unwatch(r->watch);
	loop_timer_free(r->timer);
	loop_timer_free(r->guard);
	loop_wake_free(r->wake);
	loop_free(r->loop);
	if (r->ends[0] >= 0)
		close(r->ends[0]);
	if (r->ends[1] >= 0)
		close(r->ends[1]);
	free(r);
	return 0;
}

static void note_and_stop(void *arg, unsigned ready)
{
	struct rig *r = arg;

	r->ready = ready;
	r->calls++;
	loop_stop(r->loop);
}

static void count_and_stop(void *arg)
{
	struct rig *r = arg;

	r->calls++;
	r->at_ms = clock_boottime_ms();
	loop_stop(r->loop);
}

static void watch(struct rig *r, unsigned want, loop_fd_fn fn)
{
	assert_int_equal(loop_watch(r->loop, r->ends[0], want, fn, r, &r->watch), CC_OK);
}

static void say(struct rig *r, const char *text)
{
	assert_int_equal(write(r->ends[1], text, strlen(text)), (ssize_t)strlen(text));
}

/* Run the loop until a timer of `ms` is due. */
static void run_for(struct rig *r, int64_t ms)
{
	struct loop_timer *t = loop_timer_new(r->loop, count_and_stop, r);

	loop_timer_set(t, ms);
	loop_run(r->loop);
	loop_timer_free(t);
	r->calls--;
}

static void readable_descriptor_is_reported(void **state)
{
	struct rig *r = *state;

	watch(r, LOOP_READ, note_and_stop);
	say(r, "x");
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_READ);
}

static void readable_is_reported_until_it_is_read(void **state)
{
	struct rig *r = *state;

	watch(r, LOOP_READ, note_and_stop);
	say(r, "x");
	loop_run(r->loop);
	loop_run(r->loop);
	assert_int_equal(r->calls, 2);
}

static void writable_is_reported_only_when_wanted(void **state)
{
	struct rig *r = *state;

	watch(r, LOOP_READ, note_and_stop);
	run_for(r, 20);
	assert_int_equal(r->calls, 0);
	loop_watch_want(r->watch, LOOP_READ | LOOP_WRITE);
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_WRITE);
	loop_run(r->loop); /* and again, as long as it is wanted */
	assert_int_equal(r->calls, 2);
	loop_watch_want(r->watch, LOOP_READ);
	run_for(r, 20);
	assert_int_equal(r->calls, 2);
}

static void nothing_is_reported_when_nothing_is_wanted(void **state)
{
	struct rig *r = *state;

	watch(r, LOOP_READ, note_and_stop);
	loop_watch_want(r->watch, 0);
	say(r, "x");
	close(r->ends[1]);
	r->ends[1] = -1;
	run_for(r, 20);
	assert_int_equal(r->calls, 0);
	loop_watch_want(r->watch, LOOP_READ);
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_READ);
}

static void hang_up_is_reported_as_readable(void **state)
{
	struct rig *r = *state;
	char byte;

	watch(r, LOOP_READ, note_and_stop);
	say(r, "x");
	close(r->ends[1]);
	r->ends[1] = -1;
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_READ);
	assert_int_equal(read(r->ends[0], &byte, 1), 1);
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_READ);
	assert_int_equal(read(r->ends[0], &byte, 1), 0);
}

static void hang_up_of_a_pipe_is_reported_as_readable(void **state)
{
	struct rig *r = *state;
	int ends[2];
	char byte;

	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(
		loop_watch(r->loop, ends[0], LOOP_READ, note_and_stop, r, &r->watch), CC_OK);
	close(ends[1]);
	loop_run(r->loop);
	assert_int_equal(r->ready, LOOP_READ);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	loop_unwatch(r->watch);
	r->watch = NULL;
	close(ends[0]);
}

static void unwatch_and_stop(void *arg, unsigned ready)
{
	struct rig *r = arg;

	loop_unwatch(r->watch);
	r->watch = NULL;
	note_and_stop(arg, ready);
}

static void unwatch_works_from_inside_its_callback(void **state)
{
	struct rig *r = *state;

	watch(r, LOOP_READ | LOOP_WRITE, unwatch_and_stop);
	say(r, "x");
	loop_run(r->loop);
	run_for(r, 20);
	assert_int_equal(r->calls, 1);
}

static void closed_and_reused_descriptor_number_is_a_new_watch(void **state)
{
	struct rig *r = *state;

	for (int i = 0; i < 3; i++) {
		watch(r, LOOP_READ, unwatch_and_stop);
		say(r, "x");
		loop_run(r->loop);
		close(r->ends[0]);
		close(r->ends[1]);
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, r->ends),
			0);
	}
	assert_int_equal(r->calls, 3);
}

struct pair {
	struct rig *rig;
	struct loop_watch *watches[2];
	int calls;
};

static void unwatch_both(void *arg, unsigned ready)
{
	struct pair *p = arg;

	(void)ready;
	p->calls++;
	for (int i = 0; i < 2; i++) {
		loop_unwatch(p->watches[i]);
		p->watches[i] = NULL;
	}
	loop_stop(p->rig->loop);
}

static void unwatch_of_another_ready_watch_silences_it(void **state)
{
	struct rig *r = *state;
	struct pair p = {.rig = r};

	for (int i = 0; i < 2; i++)
		assert_int_equal(loop_watch(r->loop, r->ends[i], LOOP_WRITE, unwatch_both, &p,
					 &p.watches[i]),
			CC_OK);
	loop_run(r->loop);
	run_for(r, 10);
	assert_int_equal(p.calls, 1);
}

static void timer_comes_once_and_not_early(void **state)
{
	struct rig *r = *state;
	int64_t before = clock_boottime_ms();

	r->timer = loop_timer_new(r->loop, count_and_stop, r);
	loop_timer_set(r->timer, 30);
	loop_run(r->loop);
	assert_in_range(r->at_ms - before, 25, 10000);
	run_for(r, 80);
	assert_int_equal(r->calls, 1);
}

static void timer_set_anew_replaces_what_was_set(void **state)
{
	struct rig *r = *state;

	r->timer = loop_timer_new(r->loop, count_and_stop, r);
	loop_timer_set(r->timer, 10);
	loop_timer_set(r->timer, 15000);
	run_for(r, 40);
	assert_int_equal(r->calls, 0);
	loop_timer_set(r->timer, 0);
	loop_run(r->loop);
	assert_int_equal(r->calls, 1);
}

static void stopped_timer_does_not_come(void **state)
{
	struct rig *r = *state;

	r->timer = loop_timer_new(r->loop, count_and_stop, r);
	loop_timer_stop(r->timer);
	loop_timer_set(r->timer, 5);
	loop_timer_stop(r->timer);
	run_for(r, 30);
	assert_int_equal(r->calls, 0);
}

static void free_timer_inside(void *arg)
{
	struct rig *r = arg;

	loop_timer_free(r->timer);
	r->timer = NULL;
	count_and_stop(arg);
}

static void timer_may_be_freed_inside_its_callback(void **state)
{
	struct rig *r = *state;

	r->timer = loop_timer_new(r->loop, free_timer_inside, r);
	loop_timer_set(r->timer, 1);
	loop_run(r->loop);
	assert_int_equal(r->calls, 1);
}

static void again_until_three(void *arg)
{
	struct rig *r = arg;

	if (++r->calls == 3)
		loop_stop(r->loop);
	else
		loop_timer_set(r->timer, 1);
}

static void timer_may_be_set_inside_its_callback(void **state)
{
	struct rig *r = *state;

	r->timer = loop_timer_new(r->loop, again_until_three, r);
	loop_timer_set(r->timer, 1);
	loop_run(r->loop);
	assert_int_equal(r->calls, 3);
}

static void *wake_from_thread(void *arg)
{
	loop_wake_up(((struct rig *)arg)->wake);
	return NULL;
}

static void another_thread_wakes_the_loop(void **state)
{
	struct rig *r = *state;
	pthread_t thread;

	assert_int_equal(loop_wake_new(r->loop, count_and_stop, r, &r->wake), CC_OK);
	assert_int_equal(pthread_create(&thread, NULL, wake_from_thread, r), 0);
	loop_run(r->loop);
	pthread_join(thread, NULL);
	assert_int_equal(r->calls, 1);
}

static void several_wake_ups_before_the_turn_become_one(void **state)
{
	struct rig *r = *state;

	assert_int_equal(loop_wake_new(r->loop, count_and_stop, r, &r->wake), CC_OK);
	for (int i = 0; i < 10; i++)
		loop_wake_up(r->wake);
	loop_run(r->loop);
	run_for(r, 10);
	assert_int_equal(r->calls, 1);
}

static void free_wake_inside(void *arg)
{
	struct rig *r = arg;

	loop_wake_free(r->wake);
	r->wake = NULL;
	count_and_stop(arg);
}

static void wake_may_be_freed_inside_its_callback(void **state)
{
	struct rig *r = *state;

	assert_int_equal(loop_wake_new(r->loop, free_wake_inside, r, &r->wake), CC_OK);
	loop_wake_up(r->wake);
	loop_run(r->loop);
	assert_int_equal(r->calls, 1);
}

static void note_signal(void *arg, int number)
{
	struct rig *r = arg;

	r->signal = number;
	count_and_stop(arg);
}

static void signals_arrive_in_the_loop(void **state)
{
	struct rig *r = *state;
	const int signals[] = {SIGTERM, SIGHUP};

	assert_int_equal(loop_signals(r->loop, signals, 2, note_signal, r), CC_OK);
	kill(getpid(), SIGHUP);
	loop_run(r->loop);
	assert_int_equal(r->signal, SIGHUP);
	kill(getpid(), SIGTERM);
	loop_run(r->loop);
	assert_int_equal(r->signal, SIGTERM);
}

static void stop_before_run_ends_that_run_only(void **state)
{
	struct rig *r = *state;

	loop_stop(r->loop);
	loop_run(r->loop);
	assert_int_equal(r->calls, 0);
	run_for(r, 1);
}

static void descriptor_that_is_not_open_is_refused(void **state)
{
	struct rig *r = *state;
	struct loop_watch *w = NULL;

	assert_int_not_equal(loop_watch(r->loop, 9999, LOOP_READ, note_and_stop, r, &w), CC_OK);
	assert_null(w);
}

#define BOTH(test)                                                                                 \
	{#test " (libevent)", test, set_up_event, tear_down, NULL},                                \
	{                                                                                          \
#test " (libwebsockets)", test, set_up_lws, tear_down, NULL                        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(readable_descriptor_is_reported),
		BOTH(readable_is_reported_until_it_is_read),
		BOTH(writable_is_reported_only_when_wanted),
		BOTH(nothing_is_reported_when_nothing_is_wanted),
		BOTH(hang_up_is_reported_as_readable),
		BOTH(hang_up_of_a_pipe_is_reported_as_readable),
		BOTH(unwatch_works_from_inside_its_callback),
		BOTH(closed_and_reused_descriptor_number_is_a_new_watch),
		BOTH(unwatch_of_another_ready_watch_silences_it),
		BOTH(timer_comes_once_and_not_early),
		BOTH(timer_set_anew_replaces_what_was_set),
		BOTH(stopped_timer_does_not_come),
		BOTH(timer_may_be_freed_inside_its_callback),
		BOTH(timer_may_be_set_inside_its_callback),
		BOTH(another_thread_wakes_the_loop),
		BOTH(several_wake_ups_before_the_turn_become_one),
		BOTH(wake_may_be_freed_inside_its_callback),
		BOTH(signals_arrive_in_the_loop),
		BOTH(stop_before_run_ends_that_run_only),
		BOTH(descriptor_that_is_not_open_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

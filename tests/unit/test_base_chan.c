/*
 * Channels, over both loop drivers: one end is a channel, the other either a second channel or a
 * plain socket on which the test plays a peer that keeps to nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/chan.h"
#include "base/lws_loop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct rig;

struct side {
	struct rig *rig;
	struct chan *chan;
	cc_blob last;
	size_t frames, bytes;
	size_t want_frames; /* stop the loop when so many came */
	int closed;
	cc_err why;
	cc_err answer;      /* of the frame callback */
	cc_view reply;      /* sent inside the frame callback */
	size_t pause_after; /* frames; 0: never */
	bool free_in_frame, free_in_closed;
	cc_err greeting_answer;
	cc_blob greeting;
};

struct rig {
	struct loop *loop;
	struct loop_timer *guard;
	struct loop_timer *turn;
	struct side a, b;
	int peer; /* the plain end */
};

static void guard_due(void *arg)
{
	(void)arg;
	fail_msg("nothing happened within the time");
}

static void turn_over(void *arg)
{
	loop_stop(arg);
}

static int set_up(void **state, cc_err made, struct loop *l)
{
	struct rig *r = cc_alloc(sizeof(*r));

	assert_int_equal(made, CC_OK);
	r->loop = l;
	r->guard = loop_timer_new(l, guard_due, r);
	loop_timer_set(r->guard, 20000);
	r->turn = loop_timer_new(l, turn_over, l);
	r->a.rig = r;
	r->b.rig = r;
	r->peer = -1;
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

static void clear_side(struct side *s)
{
	chan_free(s->chan);
	cc_blob_free(&s->last);
	cc_blob_free(&s->greeting);
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	clear_side(&r->a);
	clear_side(&r->b);
	if (r->peer >= 0)
		close(r->peer);
	loop_timer_free(r->turn);
	loop_timer_free(r->guard);
	loop_free(r->loop);
	free(r);
	return 0;
}

static cc_err on_frame(void *arg, cc_view frame)
{
	struct side *s = arg;

	s->frames++;
	s->bytes += frame.size;
	cc_blob_clear(&s->last);
	cc_blob_append(&s->last, frame);
	if (s->reply.size > 0)
		assert_int_equal(chan_send(s->chan, s->reply), CC_OK);
	if (s->frames == s->want_frames)
		loop_stop(s->rig->loop);
	if (s->pause_after != 0 && s->frames % s->pause_after == 0)
		chan_pause(s->chan, true);
	if (s->free_in_frame) {
		chan_free(s->chan);
		s->chan = NULL;
	}
	return s->answer == CC_OK ? CC_OK : cc_fail(s->answer, "the owner does not like it");
}

static void on_closed(void *arg, cc_err why)
{
	struct side *s = arg;

	s->closed++;
	s->why = why;
	if (s->free_in_closed) {
		chan_free(s->chan);
		s->chan = NULL;
	}
	loop_stop(s->rig->loop);
}

static const struct chan_events events = {.frame = on_frame, .closed = on_closed};

static cc_err on_greeting(void *arg, cc_view frame)
{
	struct side *s = arg;

	assert_int_equal(s->frames, 0);
	s->greeting = cc_blob_copy(frame);
	return s->greeting_answer == CC_OK ? CC_OK : cc_fail(s->greeting_answer, "another build");
}

static void stream_pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void make(struct side *s, int fd, const char *greeting)
{
	assert_int_equal(chan_new(s->rig->loop, fd, &events, s, cc_view_text(greeting),
				 greeting == NULL ? NULL : on_greeting, &s->chan),
		CC_OK);
}

static void make_both(struct rig *r, const char *greeting_a, const char *greeting_b)
{
	int ends[2];

	stream_pair(ends);
	make(&r->a, ends[0], greeting_a);
	make(&r->b, ends[1], greeting_b);
}

static void make_one(struct rig *r, const char *greeting)
{
	int ends[2];

	stream_pair(ends);
	make(&r->a, ends[0], greeting);
	r->peer = ends[1];
}

static void raw(struct rig *r, const void *bytes, size_t size)
{
	assert_int_equal(send(r->peer, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void run_a_turn(struct rig *r)
{
	loop_timer_set(r->turn, 20);
	loop_run(r->loop);
}

static void hang_up(struct rig *r)
{
	close(r->peer);
	r->peer = -1;
}

static cc_view filled(cc_blob *b, size_t size)
{
	*b = cc_blob_new(size);
	memset(b->data, 0x5a, size);
	return cc_blob_view(b);
}

static void frame_arrives_whole(void **state)
{
	struct rig *r = *state;

	make_both(r, NULL, NULL);
	r->b.want_frames = 1;
	assert_int_equal(chan_send(r->a.chan, cc_view_text("hello")), CC_OK);
	loop_run(r->loop);
	assert_true(cc_view_equal(cc_blob_view(&r->b.last), cc_view_text("hello")));
}

static void greetings_cross_and_are_not_frames(void **state)
{
	struct rig *r = *state;

	make_both(r, "I am a", "I am b");
	r->b.want_frames = 1;
	assert_int_equal(chan_send(r->a.chan, cc_view_text("hello")), CC_OK);
	loop_run(r->loop);
	run_a_turn(r);
	assert_true(cc_view_equal(cc_blob_view(&r->a.greeting), cc_view_text("I am b")));
	assert_true(cc_view_equal(cc_blob_view(&r->b.greeting), cc_view_text("I am a")));
	assert_int_equal(r->a.frames, 0);
	assert_int_equal(r->b.frames, 1);
}

static void greeting_of_another_build_ends_the_channel(void **state)
{
	struct rig *r = *state;

	make_both(r, "I am a", "I am b");
	r->b.greeting_answer = CC_VERSION;
	loop_run(r->loop);
	run_a_turn(r);
	assert_int_equal(r->b.why, CC_VERSION);
	assert_int_equal(r->a.why, CC_CLOSED);
	assert_int_equal(r->a.closed + r->b.closed, 2);
}

static void frames_of_one_byte_up_to_the_limit_pass(void **state)
{
	struct rig *r = *state;
	cc_blob big = CC_BLOB_NONE;
	cc_view view = filled(&big, CHAN_FRAME_MAX);

	make_both(r, NULL, NULL);
	r->b.want_frames = 4;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(chan_send(r->a.chan, cc_view_text("x")), CC_OK);
		assert_int_equal(chan_send(r->a.chan, view), CC_OK);
	}
	assert_true(chan_queued(r->a.chan) > 0); /* more than a socket takes */
	loop_run(r->loop);
	assert_true(cc_view_equal(cc_blob_view(&r->b.last), view));
	assert_int_equal(r->b.bytes, 2 * (CHAN_FRAME_MAX + 1));
	assert_int_equal(chan_queued(r->a.chan), 0);
	cc_blob_free(&big);
}

static void frame_over_the_limit_is_not_sent_and_the_channel_lives(void **state)
{
	struct rig *r = *state;
	cc_blob big = CC_BLOB_NONE;
	cc_view view = filled(&big, CHAN_FRAME_MAX + 1);

	make_both(r, NULL, NULL);
	assert_int_equal(chan_send(r->a.chan, view), CC_TOO_LARGE);
	assert_int_equal(chan_send(r->a.chan, CC_VIEW_NONE), CC_MALFORMED);
	r->b.want_frames = 1;
	assert_int_equal(chan_send(r->a.chan, cc_view_text("x")), CC_OK);
	loop_run(r->loop);
	assert_int_equal(r->b.frames, 1);
	cc_blob_free(&big);
}

static void many_small_frames_keep_their_order(void **state)
{
	struct rig *r = *state;
	enum { COUNT = 20000 };

	make_both(r, NULL, NULL);
	r->b.want_frames = COUNT;
	for (uint32_t i = 0; i < COUNT; i++) {
		uint8_t number[4] = {
			(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};

		assert_int_equal(chan_send(r->a.chan, cc_view_of(number, 4)), CC_OK);
	}
	loop_run(r->loop);
	assert_int_equal(cc_get_u32(r->b.last.data), COUNT - 1);
	assert_int_equal(r->b.frames, COUNT);
}

static void frame_that_comes_byte_by_byte_is_put_together(void **state)
{
	struct rig *r = *state;
	static const uint8_t wire[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'};

	make_one(r, NULL);
	for (size_t i = 0; i < sizeof(wire); i++) {
		assert_int_equal(r->a.frames, i < 7 ? 0 : 1);
		raw(r, wire + i, 1);
		run_a_turn(r);
	}
	assert_int_equal(r->a.frames, 2);
	assert_true(cc_view_equal(cc_blob_view(&r->a.last), cc_view_text("d")));
}

static void length_of_zero_ends_the_channel(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	raw(r, "\0\0\0\0", 4);
	loop_run(r->loop);
	assert_int_equal(r->a.why, CC_PROTOCOL);
}

static void length_over_the_limit_ends_the_channel_before_the_bytes(void **state)
{
	struct rig *r = *state;
	static const uint8_t head[] = {0x00, 0x08, 0x00, 0x01};

	make_one(r, NULL);
	raw(r, head, 4);
	loop_run(r->loop);
	assert_int_equal(r->a.why, CC_TOO_LARGE);
}

static void end_of_the_peer_is_an_orderly_end(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	hang_up(r);
	loop_run(r->loop);
	assert_int_equal(r->a.why, CC_CLOSED);
	run_a_turn(r);
	assert_int_equal(r->a.closed, 1);
	assert_int_equal(chan_send(r->a.chan, cc_view_text("x")), CC_CLOSED);
}

static void end_inside_a_frame_is_not_orderly(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	raw(r, "\0\0\0\5ab", 6);
	hang_up(r);
	loop_run(r->loop);
	assert_int_equal(r->a.why, CC_PROTOCOL);
}

static void frames_before_the_end_are_delivered(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	raw(r, "\0\0\0\1a\0\0\0\1b", 10);
	hang_up(r);
	/* The peer reads no more, which a write finds out first. */
	assert_int_equal(chan_send(r->a.chan, cc_view_text("too late")), CC_OK);
	assert_int_equal(chan_send(r->a.chan, cc_view_text("too late")), CC_CLOSED);
	loop_run(r->loop);
	assert_int_equal(r->a.frames, 2);
	assert_int_equal(r->a.why, CC_CLOSED);
	assert_int_equal(r->a.closed, 1);
}

static void peer_that_does_not_read_is_cut_off(void **state)
{
	struct rig *r = *state;
	cc_blob big = CC_BLOB_NONE;
	cc_view view = filled(&big, CHAN_FRAME_MAX);
	cc_err err = CC_OK;
	size_t sent = 0;

	make_one(r, NULL);
	while (err == CC_OK && sent < 100) {
		err = chan_send(r->a.chan, view);
		sent++;
	}
	assert_int_equal(err, CC_BUSY);
	assert_in_range(chan_queued(r->a.chan), 1, CHAN_QUEUED_MAX);
	assert_int_equal(r->a.closed, 0); /* not from inside chan_send */
	loop_run(r->loop);
	assert_int_equal(r->a.closed, 1);
	assert_int_equal(r->a.why, CC_BUSY);
	assert_int_equal(chan_queued(r->a.chan), 0);
	cc_blob_free(&big);
}

static void error_of_the_owner_ends_the_channel_after_its_last_words(void **state)
{
	struct rig *r = *state;

	make_both(r, NULL, NULL);
	r->b.answer = CC_DENIED;
	r->b.reply = cc_view_text("no");
	assert_int_equal(chan_send(r->a.chan, cc_view_text("please")), CC_OK);
	loop_run(r->loop);
	if (r->a.closed == 0)
		loop_run(r->loop);
	assert_int_equal(r->b.why, CC_DENIED);
	assert_true(cc_view_equal(cc_blob_view(&r->a.last), cc_view_text("no")));
	assert_int_equal(r->a.why, CC_CLOSED);
}

static void channel_may_be_freed_inside_its_frame(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	r->a.free_in_frame = true;
	r->a.reply = cc_view_text("bye");
	raw(r, "\0\0\0\1a\0\0\0\1b", 10);
	run_a_turn(r);
	assert_null(r->a.chan);
	assert_int_equal(r->a.frames, 1);
	assert_int_equal(r->a.closed, 0);
}

static void channel_may_be_freed_inside_its_end(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	r->a.free_in_closed = true;
	hang_up(r);
	loop_run(r->loop);
	assert_null(r->a.chan);
	assert_int_equal(r->a.closed, 1);
}

static void paused_channel_keeps_its_frames_until_it_goes_on(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	r->a.pause_after = 1;
	raw(r, "\0\0\0\1a\0\0\0\1b\0\0\0\1c", 15);
	run_a_turn(r);
	assert_int_equal(r->a.frames, 1);
	raw(r, "\0\0\0\1d", 5);
	for (size_t i = 2; i <= 4; i++) {
		chan_pause(r->a.chan, false);
		run_a_turn(r);
		assert_int_equal(r->a.frames, i);
	}
	assert_true(cc_view_equal(cc_blob_view(&r->a.last), cc_view_text("d")));
}

static void paused_channel_does_not_see_the_end_before_its_frames(void **state)
{
	struct rig *r = *state;

	make_one(r, NULL);
	r->a.pause_after = 1;
	raw(r, "\0\0\0\1a\0\0\0\1b", 10);
	hang_up(r);
	run_a_turn(r);
	assert_int_equal(r->a.closed, 0);
	r->a.pause_after = 0;
	chan_pause(r->a.chan, false);
	loop_run(r->loop);
	assert_int_equal(r->a.frames, 2);
	assert_int_equal(r->a.why, CC_CLOSED);
}

/* ---- tools ---- */

struct server {
	int listener;
	int accepted;
	char dir[64], path[96];
};

static void serve(struct server *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(s->dir, sizeof(s->dir), "/tmp/test_base_chan.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
	memcpy(a.sun_path, s->path, strlen(s->path));
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->listener, 1), 0);
}

static void stop_serving(struct server *s)
{
	close(s->listener);
	unlink(s->path);
	rmdir(s->dir);
}

static void *run_loop_in_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void tool_speaks_with_a_channel(void **state)
{
	struct rig *r = *state;
	struct server s;
	pthread_t thread;
	cc_blob frame = CC_BLOB_NONE;
	cc_blob big = CC_BLOB_NONE;
	cc_view view = filled(&big, CHAN_FRAME_MAX);
	int fd = -1;

	serve(&s);
	assert_int_equal(chan_connect_path(s.path, 1000, &fd), CC_OK);
	make(&r->a, accept4(s.listener, NULL, NULL, SOCK_CLOEXEC), "I am a");
	r->a.reply = view;
	assert_int_equal(pthread_create(&thread, NULL, run_loop_in_thread, r->loop), 0);
	assert_int_equal(chan_write_frame(fd, cc_view_text("tool"), 5000), CC_OK);
	assert_int_equal(chan_read_frame(fd, 100, 5000, &frame), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&frame), cc_view_text("I am a")));
	cc_blob_free(&frame);
	assert_int_equal(chan_write_frame(fd, view, 5000), CC_OK);
	assert_int_equal(chan_read_frame(fd, CHAN_FRAME_MAX, 5000, &frame), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&frame), view));
	close(fd); /* the channel's end stops the loop */
	pthread_join(thread, NULL);
	assert_true(cc_view_equal(cc_blob_view(&r->a.greeting), cc_view_text("tool")));
	cc_blob_free(&frame);
	cc_blob_free(&big);
	stop_serving(&s);
}

static void tool_does_not_wait_for_ever(void **state)
{
	cc_blob frame = CC_BLOB_NONE;
	cc_blob big = CC_BLOB_NONE;
	cc_view view = filled(&big, CHAN_FRAME_MAX);
	int ends[2];

	(void)state;
	stream_pair(ends);
	assert_int_equal(chan_read_frame(ends[0], 100, 20, &frame), CC_TIMEOUT);
	assert_int_equal(write(ends[1], "\0\0\0\5ab", 6), 6);
	assert_int_equal(chan_read_frame(ends[0], 100, 20, &frame), CC_TIMEOUT);
	assert_int_equal(chan_write_frame(ends[0], view, 20), CC_TIMEOUT);
	assert_null(frame.data);
	close(ends[0]);
	close(ends[1]);
	cc_blob_free(&big);
}

static void tool_refuses_bad_lengths_and_sees_the_end(void **state)
{
	cc_blob frame = CC_BLOB_NONE;
	int ends[2];

	(void)state;
	stream_pair(ends);
	assert_int_equal(write(ends[1], "\0\0\0\5\0\0\0\0", 8), 8);
	assert_int_equal(chan_read_frame(ends[0], 4, 1000, &frame), CC_TOO_LARGE);
	assert_int_equal(chan_read_frame(ends[0], 4, 1000, &frame), CC_PROTOCOL);
	close(ends[1]);
	assert_int_equal(chan_read_frame(ends[0], 4, 1000, &frame), CC_CLOSED);
	assert_int_equal(chan_write_frame(ends[0], cc_view_text("x"), 1000), CC_CLOSED);
	close(ends[0]);
}

static void tool_is_told_when_nobody_listens(void **state)
{
	struct server s;
	char long_path[200];
	int fd = -1;

	(void)state;
	serve(&s);
	close(s.listener);
	assert_int_equal(chan_connect_path(s.path, 100, &fd), CC_UNREACHABLE);
	unlink(s.path);
	assert_int_equal(chan_connect_path(s.path, 100, &fd), CC_UNREACHABLE);
	rmdir(s.dir);
	memset(long_path, 'x', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(chan_connect_path(long_path, 100, &fd), CC_USAGE);
	assert_int_equal(fd, -1);
}

static void tool_does_not_wait_for_ever_to_be_accepted(void **state)
{
	struct server s;
	int fds[8];
	int count = 0;
	cc_err err = CC_OK;

	(void)state;
	serve(&s);
	while (err == CC_OK && count < 8) {
		err = chan_connect_path(s.path, 50, &fds[count]);
		if (err == CC_OK)
			count++;
	}
	assert_int_equal(err, CC_TIMEOUT);
	while (count > 0)
		close(fds[--count]);
	stop_serving(&s);
}

#define BOTH(test)                                                                                 \
	{#test " (libevent)", test, set_up_event, tear_down, NULL},                                \
	{                                                                                          \
#test " (libwebsockets)", test, set_up_lws, tear_down, NULL                        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(frame_arrives_whole),
		BOTH(greetings_cross_and_are_not_frames),
		BOTH(greeting_of_another_build_ends_the_channel),
		BOTH(frames_of_one_byte_up_to_the_limit_pass),
		BOTH(frame_over_the_limit_is_not_sent_and_the_channel_lives),
		BOTH(many_small_frames_keep_their_order),
		BOTH(frame_that_comes_byte_by_byte_is_put_together),
		BOTH(length_of_zero_ends_the_channel),
		BOTH(length_over_the_limit_ends_the_channel_before_the_bytes),
		BOTH(end_of_the_peer_is_an_orderly_end),
		BOTH(end_inside_a_frame_is_not_orderly),
		BOTH(frames_before_the_end_are_delivered),
		BOTH(peer_that_does_not_read_is_cut_off),
		BOTH(error_of_the_owner_ends_the_channel_after_its_last_words),
		BOTH(channel_may_be_freed_inside_its_frame),
		BOTH(channel_may_be_freed_inside_its_end),
		BOTH(paused_channel_keeps_its_frames_until_it_goes_on),
		BOTH(paused_channel_does_not_see_the_end_before_its_frames),
		BOTH(tool_speaks_with_a_channel),
		cmocka_unit_test(tool_does_not_wait_for_ever),
		cmocka_unit_test(tool_refuses_bad_lengths_and_sees_the_end),
		cmocka_unit_test(tool_is_told_when_nobody_listens),
		cmocka_unit_test(tool_does_not_wait_for_ever_to_be_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

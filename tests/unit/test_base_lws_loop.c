/*
 * What is particular to the loop inside libwebsockets: its own sockets and our watches share one
 * turn, watches are not counted as sockets, and the environment's proxies are forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/blob.h"
#include "base/lws_loop.h"

#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 200

struct rig {
	struct loop *loop;
	int ends[2];
	int calls;
	bool adopted_was_read;
	struct loop_watch *watches[MANY];
	int pairs[MANY][2];
};

static void read_one(void *arg, unsigned ready)
{
	int *pair = arg;
	char byte;

	assert_int_equal(ready, LOOP_READ);
	assert_int_equal(read(pair[0], &byte, 1), 1);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void proxies_of_the_environment_are_forgotten(void **state)
{
	struct loop *l = NULL;

	(void)state;
	setenv("http_proxy", "http://127.0.0.1:9", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:9", 1);
	setenv("no_proxy", "*", 1);
	assert_int_equal(lws_loop_new(16, &l), CC_OK);
	assert_null(getenv("http_proxy"));
	assert_null(getenv("HTTPS_PROXY"));
	assert_null(getenv("no_proxy"));
	assert_non_null(lws_loop_context(l));
	loop_free(l);
}

static void more_watches_than_lws_sockets_are_served(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	struct loop_timer *end = NULL;

	(void)state;
	assert_int_equal(lws_loop_new(16, &r->loop), CC_OK);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->pairs[i]), 0);
		assert_int_equal(loop_watch(r->loop, r->pairs[i][0], LOOP_READ, read_one,
					 r->pairs[i], &r->watches[i]),
			CC_OK);
		assert_int_equal(write(r->pairs[i][1], "x", 1), 1);
	}
	end = loop_timer_new(r->loop, stop, r->loop);
	loop_timer_set(end, 100);
	loop_run(r->loop);
	loop_timer_free(end);
	for (int i = 0; i < MANY; i++) {
		char byte;

		assert_int_equal(recv(r->pairs[i][0], &byte, 1, MSG_DONTWAIT), -1);
		loop_unwatch(r->watches[i]);
		close(r->pairs[i][0]);
		close(r->pairs[i][1]);
	}
	loop_free(r->loop);
	free(r);
}

static int on_own_socket(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	struct rig *r = NULL;

	(void)user;
	(void)in;
	if (reason != LWS_CALLBACK_RAW_RX)
		return 0;
	r = lws_get_protocol(wsi)->user;
	r->adopted_was_read = length == 2;
	loop_stop(r->loop);
	return 0;
}

static void always_ready(void *arg, unsigned ready)
{
	struct rig *r = arg;

	(void)ready;
	r->calls++;
}

static void busy_watch_does_not_starve_a_socket_of_lws(void **state)
{
	struct rig r = {0};
	struct loop_watch *w = NULL;
	struct lws_protocols protocols[2] = {
		{.name = "own", .callback = on_own_socket, .rx_buffer_size = 64, .user = &r}, {0}};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN, .vhost_name = "own", .protocols = protocols};
	struct lws_vhost *vhost = NULL;
	lws_sock_file_fd_type fd;
	int busy[2];

	(void)state;
	assert_int_equal(lws_loop_new(16, &r.loop), CC_OK);
	vhost = lws_create_vhost(lws_loop_context(r.loop), &info);
	assert_non_null(vhost);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r.ends), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, busy), 0);
	fd.sockfd = r.ends[0];
	assert_non_null(lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_SOCKET, fd, "own", NULL));
	assert_int_equal(loop_watch(r.loop, busy[0], LOOP_WRITE, always_ready, &r, &w), CC_OK);
	assert_int_equal(write(r.ends[1], "hi", 2), 2);
	loop_run(r.loop);
	assert_true(r.adopted_was_read);
	loop_unwatch(w);
	loop_free(r.loop); /* closes what lws adopted */
	close(r.ends[1]);
	close(busy[0]);
	close(busy[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proxies_of_the_environment_are_forgotten),
		cmocka_unit_test(more_watches_than_lws_sockets_are_served),
		cmocka_unit_test(busy_watch_does_not_starve_a_socket_of_lws),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

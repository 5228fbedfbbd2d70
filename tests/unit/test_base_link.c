/*
 * Links: packets and their descriptors arrive together or not at all, and none is left open.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/link.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

struct rig {
	int ends[2];
	int before;
	cc_blob packet;
	int fds[LINK_FDS_MAX];
	size_t count;
};

static void begin(struct rig *r)
{
	*r = (struct rig){.count = 99};
	r->before = open_descriptors();
	assert_int_equal(link_pair(r->ends), CC_OK);
}

static void finish(struct rig *r)
{
	cc_blob_free(&r->packet);
	close(r->ends[0]);
	if (r->ends[1] >= 0)
		close(r->ends[1]);
	assert_int_equal(open_descriptors(), r->before);
}

static cc_err receive(struct rig *r)
{
	return link_receive(r->ends[0], &r->packet, r->fds, &r->count);
}

static void packet_arrives_without_descriptors(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	assert_int_equal(link_send(r.ends[1], cc_view_text("hello"), NULL, 0), CC_OK);
	assert_int_equal(receive(&r), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&r.packet), cc_view_text("hello")));
	assert_int_equal(r.count, 0);
	finish(&r);
}

static void descriptors_arrive_in_order_and_close_on_exec(void **state)
{
	struct rig r;
	int pipes[LINK_FDS_MAX / 2][2];
	int fds[LINK_FDS_MAX];

	(void)state;
	begin(&r);
	for (int i = 0; i < LINK_FDS_MAX / 2; i++) {
		assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
		memcpy(&fds[i * 2], pipes[i], sizeof(pipes[i]));
	}
	assert_int_equal(link_send(r.ends[1], cc_view_text("x"), fds, LINK_FDS_MAX), CC_OK);
	assert_int_equal(receive(&r), CC_OK);
	assert_int_equal(r.count, LINK_FDS_MAX);
	for (int i = 0; i < LINK_FDS_MAX / 2; i++) {
		uint8_t byte = 0;
		uint8_t number = (uint8_t)i;

		assert_int_equal(write(r.fds[i * 2 + 1], &number, 1), 1);
		assert_int_equal(read(pipes[i][0], &byte, 1), 1);
		assert_int_equal(byte, i);
	}
	for (int i = 0; i < LINK_FDS_MAX; i++) {
		assert_true((fcntl(r.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
		close(r.fds[i]);
		close(fds[i]);
	}
	finish(&r);
}

static void largest_packet_passes_and_one_byte_more_is_refused(void **state)
{
	struct rig r;
	cc_blob big = cc_blob_new(LINK_PACKET_MAX + 1);

	(void)state;
	begin(&r);
	assert_int_equal(
		link_send(r.ends[1], cc_view_of(big.data, LINK_PACKET_MAX), NULL, 0), CC_OK);
	assert_int_equal(receive(&r), CC_OK);
	assert_int_equal(r.packet.size, LINK_PACKET_MAX);
	assert_int_equal(link_send(r.ends[1], cc_blob_view(&big), NULL, 0), CC_TOO_LARGE);
	assert_int_equal(link_send(r.ends[1], CC_VIEW_NONE, NULL, 0), CC_MALFORMED);
	cc_blob_free(&big);
	finish(&r);
}

/* What a peer that does not use link_send could do. */
static void send_raw(int to, size_t size, int fd, size_t fd_count)
{
	cc_blob bytes = cc_blob_new(size);
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = {0};
	struct iovec part = {bytes.data, bytes.size};
	struct msghdr m = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(fd_count * sizeof(int))};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
	for (size_t i = 0; i < fd_count; i++)
		memcpy(CMSG_DATA(h) + i * sizeof(int), &fd, sizeof(int));
	assert_int_equal(sendmsg(to, &m, 0), (ssize_t)size);
	cc_blob_free(&bytes);
}

static void truncated_packet_is_refused_and_its_descriptors_closed(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	send_raw(r.ends[1], LINK_PACKET_MAX + 1, STDIN_FILENO, 3);
	assert_int_equal(receive(&r), CC_TOO_LARGE);
	assert_null(r.packet.data);
	assert_int_equal(r.count, 99);
	finish(&r);
}

static void too_many_descriptors_are_refused_and_closed(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	send_raw(r.ends[1], 5, STDIN_FILENO, LINK_FDS_MAX + 4);
	assert_int_equal(receive(&r), CC_TOO_LARGE);
	/* and the next packet is whole */
	assert_int_equal(link_send(r.ends[1], cc_view_text("next"), NULL, 0), CC_OK);
	assert_int_equal(receive(&r), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&r.packet), cc_view_text("next")));
	finish(&r);
}

static void end_and_emptiness_are_told_apart(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	assert_int_equal(fcntl(r.ends[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(receive(&r), CC_AGAIN);
	assert_int_equal(link_send(r.ends[1], cc_view_text("last"), NULL, 0), CC_OK);
	close(r.ends[1]);
	r.ends[1] = -1;
	assert_int_equal(receive(&r), CC_OK);
	cc_blob_free(&r.packet);
	assert_int_equal(receive(&r), CC_CLOSED);
	assert_int_equal(link_send(r.ends[0], cc_view_text("x"), NULL, 0), CC_CLOSED);
	finish(&r);
}

static void full_link_says_again(void **state)
{
	struct rig r;
	cc_blob big = cc_blob_new(LINK_PACKET_MAX);
	cc_err err = CC_OK;

	(void)state;
	begin(&r);
	assert_int_equal(fcntl(r.ends[1], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 1000 && err == CC_OK; i++)
		err = link_send(r.ends[1], cc_blob_view(&big), NULL, 0);
	assert_int_equal(err, CC_AGAIN);
	cc_blob_free(&big);
	finish(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packet_arrives_without_descriptors),
		cmocka_unit_test(descriptors_arrive_in_order_and_close_on_exec),
		cmocka_unit_test(largest_packet_passes_and_one_byte_more_is_refused),
		cmocka_unit_test(truncated_packet_is_refused_and_its_descriptors_closed),
		cmocka_unit_test(too_many_descriptors_are_refused_and_closed),
		cmocka_unit_test(end_and_emptiness_are_told_apart),
		cmocka_unit_test(full_link_says_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The blocking side of channels, for command-line tools: connect, one frame out, one frame in, each
 * with a deadline.  The same frames as chan.c, without a loop.
 */
#include "base/chan.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static cc_err connect_failed(const char *path)
{
	switch (errno) {
	case EAGAIN:
	case EINPROGRESS:
		return cc_fail(CC_TIMEOUT, "%s: the connection was not taken in time", path);
	case ENOENT:
	case ECONNREFUSED:
		return cc_fail(
			CC_UNREACHABLE, "%s: nobody listens there; is the service running?", path);
	case EACCES:
	case EPERM:
		return cc_fail(CC_PERMISSION, "%s: not open to this user", path);
	default:
		return cc_fail_errno(path);
	}
}

cc_err chan_connect_path(const char *path, int64_t timeout_ms, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
	const struct timeval none = {0};
	size_t length = strlen(path);
	int fd = -1;
	cc_err err = CC_OK;

	ENSURE(length > 0 && length < sizeof(address.sun_path),
		cc_fail(CC_USAGE, "%s: a socket's path has 1 to %zu characters", path,
			sizeof(address.sun_path) - 1));
	memcpy(address.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ENSURE(fd >= 0, cc_fail_errno("socket"));
	/* A local connect that finds the backlog full cannot be polled; this is its time limit. */
	ENSURE(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0,
		cc_fail_errno("SO_SNDTIMEO"));
	ENSURE(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0,
		connect_failed(path));
	ENSURE(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none)) == 0,
		cc_fail_errno("SO_SNDTIMEO"));
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err wait_for(int fd, short what, int64_t deadline_ms)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = what};
		int64_t left = deadline_ms - clock_boottime_ms();
		int n;

		if (left <= 0)
			return cc_fail(CC_TIMEOUT, "no answer in time");
		n = poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);
		if (n > 0)
			return CC_OK;
		if (n < 0 && errno != EINTR)
			return cc_fail_errno("poll");
	}
}

static cc_err write_all(int fd, cc_view bytes, int64_t deadline_ms)
{
	size_t sent = 0;
	cc_err err = CC_OK;

	while (sent < bytes.size) {
		ssize_t n =
			send(fd, bytes.data + sent, bytes.size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		ENSURE(errno != EPIPE && errno != ECONNRESET,
			cc_fail(CC_CLOSED, "the other side closed"));
		ENSURE(errno == EAGAIN || errno == EINTR, cc_fail_errno("writing a frame"));
		TRY(wait_for(fd, POLLOUT, deadline_ms));
	}
out:
	return err;
}

static cc_err read_all(int fd, uint8_t *to, size_t size, int64_t deadline_ms)
{
	size_t have = 0;
	cc_err err = CC_OK;

	while (have < size) {
		ssize_t n = recv(fd, to + have, size - have, MSG_DONTWAIT);

		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		ENSURE(n != 0 && errno != ECONNRESET, cc_fail(CC_CLOSED, "the other side closed"));
		ENSURE(errno == EAGAIN || errno == EINTR, cc_fail_errno("reading a frame"));
		TRY(wait_for(fd, POLLIN, deadline_ms));
	}
out:
	return err;
}

cc_err chan_write_frame(int fd, cc_view frame, int64_t timeout_ms)
{
	int64_t deadline = clock_boottime_ms() + timeout_ms;
	cc_blob head = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(frame.size > 0 && frame.size <= CHAN_FRAME_MAX,
		cc_fail(CC_TOO_LARGE, "a frame of %zu bytes, the limit is %u", frame.size,
			CHAN_FRAME_MAX));
	cc_blob_append_u32(&head, (uint32_t)frame.size);
	TRY(write_all(fd, cc_blob_view(&head), deadline));
	TRY(write_all(fd, frame, deadline));
out:
	cc_blob_free(&head);
	return err;
}

cc_err chan_read_frame(int fd, size_t max, int64_t timeout_ms, cc_blob *ret)
{
	int64_t deadline = clock_boottime_ms() + timeout_ms;
	cc_blob frame = CC_BLOB_NONE;
	uint8_t head[4];
	size_t size;
	cc_err err = CC_OK;

	TRY(read_all(fd, head, sizeof(head), deadline));
	size = cc_get_u32(head);
	ENSURE(size > 0, cc_fail(CC_PROTOCOL, "a frame of length 0"));
	ENSURE(size <= max,
		cc_fail(CC_TOO_LARGE, "a frame of %zu bytes, the limit is %zu", size, max));
	frame = cc_blob_new(size);
	TRY(read_all(fd, frame.data, size, deadline));
	*ret = cc_blob_move(&frame);
out:
	if (frame.data != NULL)
		OPENSSL_cleanse(frame.data, frame.size);
	cc_blob_free(&frame);
	return err;
}

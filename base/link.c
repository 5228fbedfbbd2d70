/*
 * Links: one packet and its descriptors, out or in, by one system call.  What cannot be taken as a
 * whole is not taken at all, and no descriptor stays open behind the caller's back.
 */
#include "base/link.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(LINK_FDS_MAX * sizeof(int))];
};

cc_err link_pair(int ret_fds[2])
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
		return cc_fail_errno("socketpair");
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return CC_OK;
}

static cc_err link_failed(void)
{
	switch (errno) {
	case EAGAIN:
		return cc_fail(CC_AGAIN, "link: not now");
	case EPIPE:
	case ECONNRESET:
		return cc_fail(CC_CLOSED, "link: the other side closed");
	default:
		return cc_fail_errno("link");
	}
}

void link_close(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

cc_err link_send(int fd, cc_view packet, const int *fds, size_t fd_count)
{
	union control control = {0};
	/* iovec has no const; sendmsg does not write */
	struct iovec part = {(void *)(uintptr_t)packet.data, packet.size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;
	cc_err err = CC_OK;

	/* An empty packet would look like the end. */
	ENSURE(packet.size > 0, cc_fail(CC_MALFORMED, "link: an empty packet cannot be sent"));
	ENSURE(packet.size <= LINK_PACKET_MAX && fd_count <= LINK_FDS_MAX,
		cc_fail(CC_TOO_LARGE,
			"link: %zu bytes and %zu descriptors, the limits are %u and %d",
			packet.size, fd_count, LINK_PACKET_MAX, LINK_FDS_MAX));
	if (fd_count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	ENSURE(n >= 0, link_failed());
out:
	return err;
}

static size_t take_fds(struct msghdr *message, int fds[LINK_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		/* Room is for this many in all, so the kernel gives no more. */
		for (size_t i = 0; i < here && count < LINK_FDS_MAX; i++)
			memcpy(&fds[count++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	return count;
}

cc_err link_receive(int fd, cc_blob *ret, int ret_fds[LINK_FDS_MAX], size_t *ret_count)
{
	union control control = {0};
	cc_blob packet = cc_blob_new(LINK_PACKET_MAX);
	struct iovec part = {packet.data, packet.size};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	int fds[LINK_FDS_MAX];
	size_t count = 0;
	ssize_t n;
	cc_err err = CC_OK;

	do
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	ENSURE(n >= 0, link_failed());
	count = take_fds(&message, fds);
	ENSURE(n > 0, cc_fail(CC_CLOSED, "link: the other side closed"));
	ENSURE((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0,
		cc_fail(CC_TOO_LARGE, "link: a packet with more than %u bytes or %d descriptors",
			LINK_PACKET_MAX, LINK_FDS_MAX));
	*ret = cc_blob_copy(cc_view_of(packet.data, (size_t)n));
	memcpy(ret_fds, fds, count * sizeof(int));
	*ret_count = count;
	count = 0;
out:
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	OPENSSL_cleanse(packet.data, packet.size);
	cc_blob_free(&packet);
	return err;
}

/*
 * Two buffers and one poll.  An end on one side is passed on when what came before it was delivered,
 * or after FLUSH_MS: who does not read any more gets no more.
 */
#include "connector/dial_relay.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	ROOM = 64 * 1024,
	ACCEPT_MS = 10 * 1000,
	FLUSH_MS = 5 * 1000,
	LEAVE_MS = 500,
	NAME_BYTES = 16,
};

struct half {
	uint8_t data[ROOM];
	size_t from, to;
	bool ended; /* nothing more comes in */
};

struct relay {
	struct dial_tunnel *tunnel;
	int local, cancel_fd;
	struct half up, down; /* to the queue, from it */
	bool broken, leaving; /* it was given up */
	int64_t flush_until;  /* boottime; 0: neither side has ended */
};

cc_err dial_relay_listen(char ret_name[DIAL_NAME_SIZE], int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint8_t id[NAME_BYTES];
	char name[DIAL_NAME_SIZE];
	char *hex = NULL;
	int fd = -1;
	cc_err err = CC_OK;

	random_bytes(id, sizeof(id));
	hex = text_hex_new(cc_view_of(id, sizeof(id)));
	int n = snprintf(name, sizeof(name), "certconnector-%s", hex);
	memcpy(address.sun_path + 1, name, (size_t)n);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ENSURE(fd >= 0, cc_fail_errno("the relay's socket"));
	ENSURE(bind(fd, (const struct sockaddr *)&address,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0 &&
			listen(fd, 1) == 0,
		cc_fail_errno("the relay's socket"));
	memcpy(ret_name, name, (size_t)n + 1);
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	free(hex);
	return err;
}

static bool is_ours(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
}

/* -1: nobody came in time, or it was given up. */
static int accept_ours(int listener, int cancel_fd)
{
	int64_t end = clock_boottime_ms() + ACCEPT_MS;

	for (;;) {
		struct pollfd p[] = {
			{.fd = listener, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
		int64_t left = end - clock_boottime_ms();
		if (left <= 0 || (poll(p, 2, (int)left) < 0 && errno != EINTR) || p[1].revents != 0)
			return -1;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0 && is_ours(fd))
			return fd;
		if (fd >= 0)
			close(fd);
	}
}

/* ---- carrying ---- */

static bool take_from_local(struct relay *r)
{
	struct half *h = &r->up;
	if (h->ended || h->to == ROOM)
		return false;
	ssize_t n = recv(r->local, h->data + h->to, ROOM - h->to, 0);
	if (n > 0)
		h->to += (size_t)n;
	else if (n == 0)
		h->ended = true;
	else if (errno == EAGAIN && r->leaving)
		h->ended = true; /* all that was handed over is here */
	else if (errno != EAGAIN && errno != EINTR)
		r->broken = true;
	return n >= 0;
}

static bool take_from_tunnel(struct relay *r)
{
	struct half *h = &r->down;
	size_t n = 0;
	if (h->ended || h->to == ROOM)
		return false;
	cc_err err = dial_tunnel_read(r->tunnel, h->data + h->to, ROOM - h->to, &n);
	h->to += n;
	h->ended = err != CC_OK && err != CC_AGAIN;
	return err != CC_AGAIN;
}

static bool advance(struct half *h, size_t n)
{
	h->from += n;
	if (h->from == h->to)
		h->from = h->to = 0;
	return n > 0;
}

static bool give_to_tunnel(struct relay *r)
{
	struct half *h = &r->up;
	size_t n = 0;
	if (h->from == h->to)
		return false;
	cc_err err =
		dial_tunnel_write(r->tunnel, cc_view_of(h->data + h->from, h->to - h->from), &n);
	if (err != CC_OK && err != CC_AGAIN)
		r->broken = true;
	return advance(h, n);
}

static bool give_to_local(struct relay *r)
{
	struct half *h = &r->down;
	if (h->from == h->to)
		return false;
	ssize_t n = send(r->local, h->data + h->from, h->to - h->from, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		r->broken = true;
	return advance(h, n > 0 ? (size_t)n : 0);
}

/* A side that ended, and all that it had said is delivered. */
static bool is_over(struct relay *r)
{
	if (r->broken || (r->up.ended && r->up.from == r->up.to))
		return true;
	if (!r->leaving && r->down.ended && r->down.from == r->down.to)
		return true;
	if (!r->leaving && !r->up.ended && !r->down.ended)
		return false;
	if (r->flush_until == 0)
		r->flush_until = clock_boottime_ms() + FLUSH_MS;
	return clock_boottime_ms() >= r->flush_until;
}

/* Given up: what was handed over still goes out, nothing comes in. */
static void leave(struct relay *r)
{
	r->leaving = true;
	r->cancel_fd = -1;
	r->down.from = r->down.to = 0;
	r->down.ended = true;
	r->flush_until = clock_boottime_ms() + LEAVE_MS;
}

static void set_wanted(struct pollfd *p, int fd, const struct half *in, const struct half *out)
{
	p->events = 0;
	if (!in->ended && in->to < ROOM)
		p->events |= POLLIN;
	if (out->from < out->to)
		p->events |= POLLOUT;
	p->fd = p->events != 0 ? fd : -1; /* a hang-up is told unasked otherwise, again and again */
}

static void carry(struct relay *r)
{
	for (;;) {
		struct pollfd p[3] = {{.fd = r->cancel_fd, .events = POLLIN}};
		bool moved = take_from_local(r);
		moved |= give_to_tunnel(r);
		moved |= take_from_tunnel(r);
		moved |= give_to_local(r);
		if (is_over(r))
			return;
		set_wanted(&p[1], r->local, &r->up, &r->down);
		set_wanted(&p[2], dial_tunnel_fd(r->tunnel), &r->down, &r->up);
		int wait = moved ? 0 : r->flush_until != 0 ? LEAVE_MS : -1;
		if (poll(p, 3, wait) < 0 && errno != EINTR)
			return;
		if (p[0].revents != 0)
			leave(r);
	}
}

void dial_relay_run(struct dial_tunnel *t, int listener, int cancel_fd)
{
	struct relay *r = NULL;
	int local = accept_ours(listener, cancel_fd);

	close(listener);
	if (local < 0)
		return;
	r = cc_alloc(sizeof(*r));
	r->tunnel = t;
	r->local = local;
	r->cancel_fd = cancel_fd;
	carry(r);
	close(local);
	free(r);
}

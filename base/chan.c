/*
 * Channels in the loop: frames in, frames out, one end.  (The blocking helpers are in chan_tool.c.)
 *
 * Callbacks may free the channel, pause it or send on it.  So each way from the loop into this file
 * is a pair of enter and leave: the memory stays until leave, which also flushes what the callbacks
 * have queued, in one write.  Buffers may have held a password or a key: all are wiped.
 */
#include "base/chan.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEAD         4u                      /* the length in front of a frame */
#define IN_ROOM      (HEAD + CHAN_FRAME_MAX) /* one whole frame always fits */
#define SEND_AT_ONCE 64                      /* frames for one sendmsg */

struct out_frame {
	struct out_frame *next;
	size_t size, sent; /* both with the head */
	uint8_t bytes[];
};

struct chan {
	struct loop_watch *watch;
	struct loop_timer *soon; /* for what must not happen inside a call of the owner */
	int fd;
	const struct chan_events *events;
	void *arg;
	cc_err (*check_greeting)(void *arg, cc_view frame); /* NULL once it came, or for none */

	uint8_t *in; /* IN_ROOM bytes; pages that are never used are never touched */
	size_t in_size;

	struct out_frame *out_first, *out_last;
	size_t queued;

	unsigned depth; /* of enter */
	bool paused;
	bool overflow;  /* the peer does not read */
	bool write_end; /* the peer reads no more; there may be frames of it left to read */
	bool over;      /* `closed` was called */
	bool freed;     /* by the owner, inside a callback */
};

static void drop_first_out(struct chan *c)
{
	struct out_frame *o = c->out_first;

	c->queued -= o->size - o->sent;
	c->out_first = o->next;
	if (c->out_first == NULL)
		c->out_last = NULL;
	OPENSSL_cleanse(o->bytes, o->size);
	free(o);
}

static void drop_out(struct chan *c)
{
	while (c->out_first != NULL)
		drop_first_out(c);
}

static void note_sent(struct chan *c, size_t sent)
{
	while (sent > 0) {
		struct out_frame *o = c->out_first;
		size_t rest = o->size - o->sent;

		if (sent < rest) {
			o->sent += sent;
			c->queued -= sent;
			return;
		}
		sent -= rest;
		drop_first_out(c);
	}
}

/* Write what the socket takes now. */
static cc_err flush(struct chan *c)
{
	while (c->out_first != NULL) {
		struct iovec parts[SEND_AT_ONCE];
		struct msghdr message = {.msg_iov = parts};
		size_t count = 0;
		ssize_t n;

		for (struct out_frame *o = c->out_first; o != NULL && count < SEND_AT_ONCE;
			o = o->next)
			parts[count++] = (struct iovec){o->bytes + o->sent, o->size - o->sent};
		message.msg_iovlen = count;
		n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			note_sent(c, (size_t)n);
		} else if (errno == EAGAIN) {
			return CC_OK;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			/* Its last frames may still wait in the socket: the reading side finds the
			 * end behind them. */
			c->write_end = true;
			drop_out(c);
		} else if (errno != EINTR) {
			return cc_fail_errno("writing to a channel");
		}
	}
	return CC_OK;
}

static void update_want(struct chan *c)
{
	unsigned want = 0;

	if (c->watch == NULL)
		return;
	if (!c->paused)
		want |= LOOP_READ;
	if (c->out_first != NULL)
		want |= LOOP_WRITE;
	loop_watch_want(c->watch, want);
}

static void destroy(struct chan *c)
{
	loop_unwatch(c->watch);
	loop_timer_free(c->soon);
	close(c->fd);
	drop_out(c);
	OPENSSL_cleanse(c->in, c->in_size);
	free(c->in);
	free(c);
}

/* The one way to the end of a channel that its owner has not freed. */
static void end(struct chan *c, cc_err why)
{
	assert(c->depth > 0);
	if (c->over || c->freed)
		return;
	c->over = true;
	loop_unwatch(c->watch);
	c->watch = NULL;
	loop_timer_stop(c->soon);
	drop_out(c);
	/* The peer learns of it now, whenever the owner frees. */
	shutdown(c->fd, SHUT_RDWR);
	c->events->closed(c->arg, why);
}

static void enter(struct chan *c)
{
	c->depth++;
}

static void leave(struct chan *c)
{
	if (!c->over && !c->freed) {
		cc_err err = flush(c);

		if (err != CC_OK)
			end(c, err);
	}
	if (--c->depth > 0)
		return;
	if (c->freed)
		destroy(c);
	else
		update_want(c);
}

static cc_err hand_over(struct chan *c, cc_view frame)
{
	cc_err (*check)(void *, cc_view) = c->check_greeting;

	if (check == NULL)
		return c->events->frame(c->arg, frame);
	c->check_greeting = NULL;
	return check(c->arg, frame);
}

/* Hand over each whole frame of the buffer, unless a callback has had enough. */
static cc_err deliver(struct chan *c)
{
	size_t at = 0;
	cc_err err = CC_OK;

	while (!c->paused && !c->freed && c->in_size - at >= HEAD) {
		size_t size = cc_get_u32(c->in + at);

		ENSURE(size > 0, cc_fail(CC_PROTOCOL, "channel: a frame of length 0"));
		ENSURE(size <= CHAN_FRAME_MAX,
			cc_fail(CC_TOO_LARGE, "channel: a frame of %zu bytes, the limit is %u",
				size, CHAN_FRAME_MAX));
		if (c->in_size - at - HEAD < size)
			break;
		err = hand_over(c, cc_view_of(c->in + at + HEAD, size));
		at += HEAD + size;
		if (err != CC_OK)
			break;
	}
out:
	if (at > 0) {
		memmove(c->in, c->in + at, c->in_size - at);
		OPENSSL_cleanse(c->in + c->in_size - at, at);
		c->in_size -= at;
	}
	return err;
}

/* One read.  There is room: deliver leaves less than one whole frame. */
static cc_err fill(struct chan *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_size, IN_ROOM - c->in_size, MSG_DONTWAIT);

	if (n > 0) {
		c->in_size += (size_t)n;
		return CC_OK;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return CC_OK;
	if (n < 0 && errno != ECONNRESET)
		return cc_fail_errno("reading from a channel");
	if (c->in_size > 0)
		return cc_fail(CC_PROTOCOL, "channel: the peer ended inside a frame");
	return cc_fail(CC_CLOSED, "channel: the peer closed");
}

static cc_err read_frames(struct chan *c)
{
	cc_err err = CC_OK;

	TRY(deliver(c)); /* what was left when a callback paused */
	if (c->paused || c->freed)
		goto out;
	TRY(fill(c));
	TRY(deliver(c));
out:
	return err;
}

static void end_after_flush(struct chan *c, cc_err why)
{
	/* A callback may have queued the reason for the peer; one attempt, and `why` stays. */
	char *detail = cc_strdup(cc_err_detail(why));

	if (!c->freed)
		cc_ignore(flush(c), "the channel ends in any case");
	end(c, cc_fail(why, "%s", detail));
	free(detail);
}

static void ready_now(void *arg, unsigned ready)
{
	struct chan *c = arg;
	cc_err err = CC_OK;

	enter(c);
	if ((ready & LOOP_WRITE) != 0)
		TRY(flush(c));
	if ((ready & LOOP_READ) != 0)
		TRY(read_frames(c));
out:
	if (err != CC_OK)
		end_after_flush(c, err);
	leave(c);
}

/* The timer: a full queue, or frames that were kept during a pause. */
static void soon(void *arg)
{
	struct chan *c = arg;
	cc_err err = CC_OK;

	enter(c);
	ENSURE(!c->overflow,
		cc_fail(CC_BUSY, "channel: the peer left %zu bytes unread", c->queued));
	TRY(deliver(c));
out:
	if (err != CC_OK)
		end_after_flush(c, err);
	leave(c);
}

static void queue_frame(struct chan *c, cc_view frame)
{
	struct out_frame *o = cc_alloc(sizeof(*o) + HEAD + frame.size);

	o->size = HEAD + frame.size;
	o->bytes[0] = (uint8_t)(frame.size >> 24);
	o->bytes[1] = (uint8_t)(frame.size >> 16);
	o->bytes[2] = (uint8_t)(frame.size >> 8);
	o->bytes[3] = (uint8_t)frame.size;
	memcpy(o->bytes + HEAD, frame.data, frame.size);
	if (c->out_last != NULL)
		c->out_last->next = o;
	else
		c->out_first = o;
	c->out_last = o;
	c->queued += o->size;
}

cc_err chan_send(struct chan *c, cc_view frame)
{
	cc_err err = CC_OK;

	ENSURE(frame.size > 0, cc_fail(CC_MALFORMED, "channel: an empty frame cannot be sent"));
	ENSURE(frame.size <= CHAN_FRAME_MAX,
		cc_fail(CC_TOO_LARGE, "channel: a frame of %zu bytes, the limit is %u", frame.size,
			CHAN_FRAME_MAX));
	ENSURE(!c->over && !c->freed && !c->write_end, cc_fail(CC_CLOSED, "channel: it is over"));
	if (c->overflow || c->queued + HEAD + frame.size > CHAN_QUEUED_MAX) {
		c->overflow = true;
		loop_timer_set(c->soon, 0);
		return cc_fail(CC_BUSY, "channel: the peer left %zu bytes unread", c->queued);
	}
	queue_frame(c, frame);
	if (c->depth > 0)
		return CC_OK; /* leave sends it, with others */
	/* A failure shows again when the loop finds the socket writable, and ends the channel there. */
	cc_ignore(flush(c), "ends the channel from the loop");
	update_want(c);
out:
	return err;
}

cc_err chan_new(struct loop *l, int fd, const struct chan_events *events, void *arg,
	cc_view greeting, cc_err (*check_greeting)(void *arg, cc_view frame), struct chan **ret)
{
	struct chan *c = cc_alloc(sizeof(*c));
	int flags = fcntl(fd, F_GETFL);
	cc_err err = CC_OK;

	c->fd = fd;
	c->events = events;
	c->arg = arg;
	c->check_greeting = check_greeting;
	c->in = cc_alloc(IN_ROOM);
	c->soon = loop_timer_new(l, soon, c);
	ENSURE(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0,
		cc_fail_errno("a channel's descriptor"));
	TRY(loop_watch(l, fd, LOOP_READ, ready_now, c, &c->watch));
	if (check_greeting != NULL)
		TRY(chan_send(c, greeting));
	*ret = c;
	c = NULL;
out:
	if (c != NULL)
		destroy(c);
	return err;
}

void chan_free(struct chan *c)
{
	if (c == NULL)
		return;
	if (c->depth > 0)
		c->freed = true;
	else
		destroy(c);
}

size_t chan_queued(const struct chan *c)
{
	return c->queued;
}

void chan_pause(struct chan *c, bool paused)
{
	if (c->over || c->freed || c->paused == paused)
		return;
	c->paused = paused;
	if (c->depth == 0)
		update_want(c);
	if (!paused && c->in_size >= HEAD)
		loop_timer_set(c->soon, 0);
}

int chan_fd(const struct chan *c)
{
	return c->fd;
}

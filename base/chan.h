/*
 * Channel: frames over a stream socket between two of our own processes.
 *
 * A frame is a 4-byte big-endian length and one protobuf message.  Lives in the loop's thread.  The
 * first frame in each direction is the greeting (protocol version, build id, role), which the
 * channel itself sends and checks; frames before it, frames over the limit, and a length of 0 end
 * the channel.  Writes are queued up to `max_queued` bytes and never block; a peer that does not
 * read is cut off rather than waited for.
 *
 * Used for every conversation, for the administrator's sockets (both ends), and for control.
 */
#pragma once

#include "base/blob.h"
#include "base/loop.h"

#define CHAN_FRAME_MAX  (512u * 1024u)
#define CHAN_QUEUED_MAX (16u * 1024u * 1024u)

struct chan; /* opaque */

struct chan_events {
	/* One whole frame; the view is valid during the call.  An error ends the channel. */
	cc_err (*frame)(void *arg, cc_view frame);
	/* Over, once, always called by the loop and never from inside a function of this header;
	 * `why` is CC_CLOSED for an orderly end, CC_BUSY for a peer that did not read.  Frames that
	 * came before the end were delivered.  The channel still has to be freed. */
	void (*closed)(void *arg, cc_err why);
};

/* Takes over `fd` (a connected SOCK_STREAM socket; made non-blocking).  `greeting` is our own packed
 * greeting; `check_greeting` judges the peer's, NULL: none is sent or expected. */
cc_err chan_new(struct loop *l, int fd, const struct chan_events *events, void *arg,
	cc_view greeting, cc_err (*check_greeting)(void *arg, cc_view frame),
	struct chan **ret) CC_MUST_USE;
/* Accepts NULL; also from inside its own callbacks.  What still waits to be sent is dropped. */
void chan_free(struct chan *c);

/* Queue one frame, 1 to CHAN_FRAME_MAX bytes; they are copied, and the copy is wiped after sending.
 * CC_CLOSED when the channel is over, CC_BUSY when the queue is full: the channel ends then. */
cc_err chan_send(struct chan *c, cc_view frame) CC_MUST_USE;
size_t chan_queued(const struct chan *c); /* bytes that wait to be sent */
/* Stop and start reading: back-pressure. */
void chan_pause(struct chan *c, bool paused);
int chan_fd(const struct chan *c); /* for SO_PEERCRED */

/* Blocking helpers for tools: one frame out, one frame in, within `timeout_ms`, whatever the mode of
 * the descriptor.  CC_TIMEOUT, CC_CLOSED; CC_UNREACHABLE when nobody listens at `path`. */
cc_err chan_connect_path(const char *path, int64_t timeout_ms, int *ret_fd) CC_MUST_USE;
cc_err chan_write_frame(int fd, cc_view frame, int64_t timeout_ms) CC_MUST_USE;
cc_err chan_read_frame(int fd, size_t max, int64_t timeout_ms, cc_blob *ret) CC_MUST_USE;

/*
 * A peer of TCP that follows a script: reads, sends, stays silent, echoes or closes, as a test says.
 *
 * Any test.  It listens on 127.0.0.1, serves one connection after the other in a thread of its own, and
 * reports nothing: what it makes of a client is what the client says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum script_verb {
	SCRIPT_END,        /* close */
	SCRIPT_READ_HEAD,  /* up to an empty line */
	SCRIPT_READ,       /* `size` bytes */
	SCRIPT_SEND,       /* `size` bytes of `bytes`; size 0: a text */
	SCRIPT_SEND_SLOW,  /* the same, each byte a segment */
	SCRIPT_SEND_AGAIN, /* for ever, until the other side has enough */
	SCRIPT_ECHO,       /* until the other side ends */
	SCRIPT_SILENT,     /* read and say nothing until the other side ends */
};

struct script_step {
	enum script_verb verb;
	const char *bytes;
	size_t size;
};

struct script_peer; /* opaque */

/* The script must outlive it. */
struct script_peer *script_peer_new(const struct script_step *script);
uint16_t script_peer_port(const struct script_peer *p);
/* What the first request began with; at most 4095 bytes.  Valid until the peer is freed. */
const char *script_peer_head(struct script_peer *p);
void script_peer_free(struct script_peer *p); /* accepts NULL */

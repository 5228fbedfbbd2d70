/*
 * Codec: protobuf messages in and out, with the checks that protobuf-c leaves out.
 *
 * Any process, any thread.  Length is checked before anything is unpacked; unpacking allocates at
 * most 8 times the input plus 64 KiB, so a small message cannot claim a large amount of memory.
 *
 * codec_decode is for messages between processes and on the wire: unknown fields are ignored.
 * codec_decode_document is for signed documents, which must mean the same to every reader: an unknown
 * field, a singular field twice, two members of one oneof, an enum value that the descriptor lacks,
 * and bytes that do not re-encode to themselves are CC_MALFORMED.
 */
#pragma once

#include "base/blob.h"
#include <protobuf-c/protobuf-c.h>

#define CODEC_REPEATED_MAX 256

cc_err codec_decode(const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max,
	void *ret_message) CC_MUST_USE; /* a pointer to a message pointer; free with codec_free */
cc_err codec_decode_document(const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max,
	void *ret_message) CC_MUST_USE;
/* The same, and every byte that was allocated is wiped by codec_free_secret. */
cc_err codec_decode_secret(const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max,
	void *ret_message) CC_MUST_USE;

void codec_free(void *message); /* accepts NULL */
void codec_free_secret(void *message);

cc_blob codec_pack(const void *message);
cc_secret codec_pack_secret(const void *message);

/* Views and protobuf-c's own bytes. */
static inline cc_view codec_view(ProtobufCBinaryData b)
{
	return (cc_view){b.data, b.len};
}
/* Borrow: the message must not outlive the view and must not be freed by codec_free. */
static inline ProtobufCBinaryData codec_bytes(cc_view v)
{
	return (ProtobufCBinaryData){.len = v.size, .data = (uint8_t *)(uintptr_t)v.data};
}
ProtobufCBinaryData codec_text(const char *text); /* borrows; NULL is empty */

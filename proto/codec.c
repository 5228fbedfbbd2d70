/*
 * Codec: protobuf-c with limits.  Bytes are walked against the descriptor before anything is unpacked
 * (codec_walk.h), then unpacked through an allocator with a ceiling.
 *
 * The allocator of secret messages puts the block's size in front of it, since protobuf-c frees without
 * telling the size, and wipes every block as it is freed.
 */
#include "proto/codec.h"
#include "proto/codec_walk.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define ALLOC_FACTOR 8u
#define ALLOC_SLACK  (64u * 1024u)
#define BLOCK_HEAD   16u /* keeps the alignment of malloc */

struct budget {
	size_t left;
};

static bool take(struct budget *b, size_t size)
{
	if (size > b->left)
		return false;
	b->left -= size;
	return true;
}

static void *plain_alloc(void *data, size_t size)
{
	return take((struct budget *)data, size) ? malloc(size ? size : 1) : NULL;
}

static void plain_free(void *data, void *block)
{
	(void)data;
	free(block);
}

static void *secret_alloc(void *data, size_t size)
{
	uint8_t *block;

	if (!take((struct budget *)data, size))
		return NULL;
	block = (uint8_t *)malloc(BLOCK_HEAD + size);
	if (!block)
		return NULL;
	memcpy(block, &size, sizeof(size));
	return block + BLOCK_HEAD;
}

static void secret_free(void *data, void *block)
{
	uint8_t *start;
	size_t size;

	(void)data;
	if (!block)
		return;
	start = (uint8_t *)block - BLOCK_HEAD;
	memcpy(&size, start, sizeof(size));
	OPENSSL_cleanse(start, BLOCK_HEAD + size);
	free(start);
}

static cc_err unpack(
	const ProtobufCMessageDescriptor *type, cc_view bytes, bool secret, ProtobufCMessage **ret)
{
	struct budget budget = {ALLOC_FACTOR * bytes.size + ALLOC_SLACK};
	ProtobufCAllocator allocator = {
		.alloc = secret ? secret_alloc : plain_alloc,
		.free = secret ? secret_free : plain_free,
		.allocator_data = &budget,
	};
	ProtobufCMessage *message =
		protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.data);

	if (!message)
		return cc_fail(CC_MALFORMED, "%s: %zu bytes do not decode", type->name, bytes.size);
	*ret = message;
	return CC_OK;
}

static cc_err decode(const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max,
	enum codec_walk_mode mode, bool secret, ProtobufCMessage **ret)
{
	static const uint8_t nothing[1];
	cc_err err = CC_OK;

	ENSURE(bytes.size <= max, cc_fail(CC_TOO_LARGE, "%s: %zu bytes, at most %zu are taken",
					  type->name, bytes.size, max));
	if (!bytes.data)
		bytes = cc_view_of(nothing, 0);
	TRY(codec_walk(type, bytes, mode));
	TRY(unpack(type, bytes, secret, ret));
out:
	return err;
}

/* Through memcpy: the caller's pointer has the type of its message, not of the base. */
static void hand_over(ProtobufCMessage *message, void *ret_message)
{
	memcpy(ret_message, &message, sizeof(message));
}

cc_err codec_decode(
	const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max, void *ret_message)
{
	ProtobufCMessage *message = NULL;
	cc_err err = decode(type, bytes, max, CODEC_WALK_MESSAGE, false, &message);

	if (err == CC_OK)
		hand_over(message, ret_message);
	return err;
}

cc_err codec_decode_secret(
	const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max, void *ret_message)
{
	ProtobufCMessage *message = NULL;
	cc_err err = decode(type, bytes, max, CODEC_WALK_MESSAGE, true, &message);

	if (err == CC_OK)
		hand_over(message, ret_message);
	return err;
}

cc_err codec_decode_document(
	const ProtobufCMessageDescriptor *type, cc_view bytes, size_t max, void *ret_message)
{
	ProtobufCMessage *message = NULL;
	cc_blob again = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(decode(type, bytes, max, CODEC_WALK_DOCUMENT, false, &message));
	again = codec_pack(message);
	ENSURE(cc_view_equal(cc_blob_view(&again), bytes),
		cc_fail(CC_MALFORMED, "%s: not in the one encoding that documents have",
			type->name));
	hand_over(message, ret_message);
	message = NULL;
out:
	cc_blob_free(&again);
	codec_free(message);
	return err;
}

void codec_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked((ProtobufCMessage *)message, NULL);
}

void codec_free_secret(void *message)
{
	ProtobufCAllocator allocator = {.alloc = secret_alloc, .free = secret_free};

	if (message)
		protobuf_c_message_free_unpacked((ProtobufCMessage *)message, &allocator);
}

cc_blob codec_pack(const void *message)
{
	const ProtobufCMessage *m = (const ProtobufCMessage *)message;
	cc_blob out = cc_blob_new(protobuf_c_message_get_packed_size(m));
	size_t written = out.size ? protobuf_c_message_pack(m, out.data) : 0;

	assert(written == out.size);
	(void)written;
	return out;
}

cc_secret codec_pack_secret(const void *message)
{
	const ProtobufCMessage *m = (const ProtobufCMessage *)message;
	cc_secret out = cc_secret_new(protobuf_c_message_get_packed_size(m));
	size_t written = out.size ? protobuf_c_message_pack(m, out.data) : 0;

	assert(written == out.size);
	(void)written;
	return out;
}

ProtobufCBinaryData codec_text(const char *text)
{
	return codec_bytes(cc_view_text(text));
}

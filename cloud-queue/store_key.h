/*
 * Keys of the embedded store: parts put together so that they sort as the parts do.
 *
 * Any thread, plain values.  Numbers are big-endian; a name is its length in one byte and its bytes,
 * so no name is the beginning of another.  Lengths were checked when the operation came in, so a key
 * that does not fit is our own bug.
 */
#pragma once

#include "base/blob.h"

#define STORE_DBKEY_MAX 480 /* LMDB takes 511 */

struct store_dbkey {
	uint8_t data[STORE_DBKEY_MAX];
	size_t size;
};

struct store_dbkey store_key_name(cc_view name);              /* a key that begins with a name */
struct store_dbkey store_key_job(cc_view tenant, cc_view id); /* tenant and job id */
void store_key_add_name(struct store_dbkey *k, cc_view name);
void store_key_add(struct store_dbkey *k, cc_view bytes);
void store_key_add_u8(struct store_dbkey *k, uint8_t value);
void store_key_add_u32(struct store_dbkey *k, uint32_t value);
void store_key_add_u64(struct store_dbkey *k, uint64_t value);
void store_key_add_last(struct store_dbkey *k); /* sorts after every key with this beginning */

static inline cc_view store_key_view(const struct store_dbkey *k)
{
	return (cc_view){k->data, k->size};
}

/* Take a part off the front of `rest`.  CC_CORRUPT when it is too short. */
cc_err store_key_take_name(cc_view *rest, cc_view *ret) CC_MUST_USE;
cc_err store_key_take(cc_view *rest, size_t size, cc_view *ret) CC_MUST_USE;
cc_err store_key_take_u8(cc_view *rest, uint8_t *ret) CC_MUST_USE;
cc_err store_key_take_u32(cc_view *rest, uint32_t *ret) CC_MUST_USE;
cc_err store_key_take_u64(cc_view *rest, uint64_t *ret) CC_MUST_USE;

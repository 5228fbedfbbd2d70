/*
 * Keys of the embedded store: putting parts together and taking them apart.
 */
#include "cloud-queue/store_key.h"

#include <assert.h>
#include <string.h>

void store_key_add(struct store_dbkey *k, cc_view bytes)
{
	assert(bytes.size <= sizeof(k->data) - k->size);
	if (bytes.size > 0)
		memcpy(k->data + k->size, bytes.data, bytes.size);
	k->size += bytes.size;
}

void store_key_add_u8(struct store_dbkey *k, uint8_t value)
{
	store_key_add(k, cc_view_of(&value, 1));
}

void store_key_add_u32(struct store_dbkey *k, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		store_key_add_u8(k, (uint8_t)(value >> shift));
}

void store_key_add_u64(struct store_dbkey *k, uint64_t value)
{
	store_key_add_u32(k, (uint32_t)(value >> 32));
	store_key_add_u32(k, (uint32_t)value);
}

void store_key_add_name(struct store_dbkey *k, cc_view name)
{
	assert(name.size <= 255);
	store_key_add_u8(k, (uint8_t)name.size);
	store_key_add(k, name);
}

void store_key_add_last(struct store_dbkey *k)
{
	for (int i = 0; i < 24 && k->size < sizeof(k->data); i++)
		store_key_add_u8(k, 0xff);
}

struct store_dbkey store_key_name(cc_view name)
{
	struct store_dbkey k = {.size = 0};
	store_key_add_name(&k, name);
	return k;
}

struct store_dbkey store_key_job(cc_view tenant, cc_view id)
{
	struct store_dbkey k = store_key_name(tenant);
	store_key_add(&k, id);
	return k;
}

cc_err store_key_take(cc_view *rest, size_t size, cc_view *ret)
{
	if (rest->size < size)
		return cc_fail(CC_CORRUPT, "store: a key is too short");
	*ret = (cc_view){rest->data, size};
	rest->data += size;
	rest->size -= size;
	return CC_OK;
}

cc_err store_key_take_u8(cc_view *rest, uint8_t *ret)
{
	cc_view part = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(store_key_take(rest, 1, &part));
	*ret = part.data[0];
out:
	return err;
}

cc_err store_key_take_u32(cc_view *rest, uint32_t *ret)
{
	cc_view part = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(store_key_take(rest, 4, &part));
	*ret = cc_get_u32(part.data);
out:
	return err;
}

cc_err store_key_take_u64(cc_view *rest, uint64_t *ret)
{
	cc_view part = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(store_key_take(rest, 8, &part));
	*ret = cc_get_u64(part.data);
out:
	return err;
}

cc_err store_key_take_name(cc_view *rest, cc_view *ret)
{
	uint8_t size;
	cc_err err = CC_OK;

	TRY(store_key_take_u8(rest, &size));
	TRY(store_key_take(rest, size, ret));
out:
	return err;
}

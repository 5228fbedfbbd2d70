/*
 * The embedded store: rows in and out.  A value that does not unpack is damage, never a guess.
 */
#include "cloud-queue/store_lmdb.h"

#include <string.h>

cc_err store_row_unpack(
	struct store_tx *x, const ProtobufCMessageDescriptor *type, cc_view value, void *ret)
{
	ProtobufCAllocator allocator = store_mem_allocator(x->mem);
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &allocator, value.size, value.data);

	if (m == NULL)
		return cc_fail(CC_CORRUPT, "store: a %s does not unpack", type->short_name);
	memcpy(ret, &m, sizeof(m)); /* a pointer to some message, whatever its own type is */
	return CC_OK;
}

static cc_err find(
	struct store_tx *x, enum store_table t, cc_view key, bool *ret_found, cc_view *ret)
{
	MDB_val k = {.mv_size = key.size, .mv_data = (void *)(uintptr_t)key.data};
	MDB_val v = {0};
	int rc = mdb_get(x->txn, db_dbi(x->s->db, t), &k, &v);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return db_error(x->s->db, rc, "get");
	*ret_found = rc == 0;
	*ret = cc_view_of(v.mv_data, v.mv_size);
	return CC_OK;
}

cc_err store_row_find(struct store_tx *x, enum store_table t, const struct store_dbkey *key,
	const ProtobufCMessageDescriptor *type, void *ret)
{
	cc_view value = CC_VIEW_NONE;
	bool found = false;
	cc_err err = CC_OK;

	TRY(find(x, t, store_key_view(key), &found, &value));
	if (found)
		TRY(store_row_unpack(x, type, value, ret));
	else
		memcpy(ret, &(void *){NULL}, sizeof(void *));
out:
	return err;
}

cc_err store_row_find_bytes(
	struct store_tx *x, enum store_table t, const struct store_dbkey *key, cc_view *ret)
{
	cc_view value = CC_VIEW_NONE;
	bool found = false;
	cc_err err = CC_OK;

	TRY(find(x, t, store_key_view(key), &found, &value));
	*ret = found ? store_mem_copy(x->mem, value) : CC_VIEW_NONE;
out:
	return err;
}

cc_err store_row_put_bytes(
	struct store_tx *x, enum store_table t, const struct store_dbkey *key, cc_view value)
{
	return db_put(x->s->db, x->txn, t, store_key_view(key), value);
}

cc_err store_row_put(
	struct store_tx *x, enum store_table t, const struct store_dbkey *key, const void *message)
{
	const ProtobufCMessage *m = message;
	size_t size = protobuf_c_message_get_packed_size(m);
	uint8_t *packed = store_mem_get(x->mem, size);

	protobuf_c_message_pack(m, packed);
	return db_put(x->s->db, x->txn, t, store_key_view(key), cc_view_of(packed, size));
}

cc_err store_row_delete(struct store_tx *x, enum store_table t, const struct store_dbkey *key)
{
	return db_delete(x->s->db, x->txn, t, store_key_view(key));
}

cc_err store_row_find_u64(struct store_tx *x, const char *meta, uint64_t *ret)
{
	struct store_dbkey key = store_key_name(cc_view_text(meta));
	cc_view value;
	cc_err err = CC_OK;

	TRY(store_row_find_bytes(x, T_META, &key, &value));
	ENSURE(value.size == 0 || value.size == 8, cc_fail(CC_CORRUPT, "store: meta %s", meta));
	*ret = value.size == 0 ? 0 : cc_get_u64(value.data);
out:
	return err;
}

cc_err store_row_put_u64(struct store_tx *x, const char *meta, uint64_t value)
{
	struct store_dbkey key = store_key_name(cc_view_text(meta));
	struct store_dbkey bytes = {.size = 0};

	store_key_add_u64(&bytes, value);
	return store_row_put_bytes(x, T_META, &key, store_key_view(&bytes));
}

cc_err store_row_scan(struct store_tx *x, enum store_table t, const struct store_dbkey *prefix,
	const struct store_dbkey *from, size_t limit, struct store_row **ret, size_t *ret_count)
{
	struct db_cursor c = {0};
	struct store_row *rows = NULL;
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(db_scan(x->s->db, x->txn, t, store_key_view(prefix),
		from == NULL ? CC_VIEW_NONE : store_key_view(from), &c));
	while (count < limit && db_next(&c, &err)) {
		rows = store_mem_grow(x->mem, rows, count, sizeof(*rows));
		rows[count].key = store_mem_copy(x->mem, c.key);
		rows[count].value = store_mem_copy(x->mem, c.value);
		count++;
	}
	TRY(err);
	*ret = rows;
	*ret_count = count;
out:
	db_scan_end(&c);
	return err;
}

cc_err store_row_each(struct store_tx *x, enum store_table t,
	const ProtobufCMessageDescriptor *type,
	bool (*change)(const struct store_tx *x, void *message))
{
	struct store_dbkey all = {.size = 0}, key;
	struct store_row *rows = NULL;
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(store_row_scan(x, t, &all, NULL, SIZE_MAX, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		void *message = NULL;
		TRY(store_row_unpack(x, type, rows[i].value, &message));
		if (!change(x, message))
			continue;
		key.size = 0;
		store_key_add(&key, rows[i].key);
		TRY(store_row_put(x, t, &key, message));
	}
out:
	return err;
}

const cc_view *store_row_views(struct store_tx *x, const ProtobufCBinaryData *items, size_t count)
{
	cc_view *views = store_mem_get(x->mem, count * sizeof(*views));
	for (size_t i = 0; i < count; i++)
		views[i] = store_row_view(items[i]);
	return views;
}

ProtobufCBinaryData *store_row_binaries(struct store_tx *x, const cc_view *items, size_t count)
{
	ProtobufCBinaryData *copy = store_mem_get(x->mem, count * sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		copy[i] = store_row_borrow(items[i]);
	return copy;
}

size_t store_row_limit(size_t asked)
{
	if (asked == 0)
		return 1;
	return asked > STORE_LIST_MAX ? STORE_LIST_MAX : asked;
}

/*
 * The embedded store: idempotency keys of requests that nobody signed.
 *
 * The row is written in the transaction of the operation that it stands for, and only when that did
 * something: so a key is never spent on a request that was refused, and never lost by one that was
 * not.  Two rows in one table: 'k'‖tenant‖key is what is asked for, 't'‖until‖tenant‖key is what
 * sweep takes from the front.
 */
#include "cloud-queue/store_lmdb.h"

#define KEPT_MS (7 * 86400 * INT64_C(1000))

static struct store_dbkey row_key(cc_view tenant, cc_view key)
{
	struct store_dbkey k = {.size = 0};

	store_key_add_u8(&k, 'k');
	store_key_add_name(&k, tenant);
	store_key_add_name(&k, key);
	return k;
}

static struct store_dbkey timer_key(int64_t until_ms, cc_view tenant, cc_view key)
{
	struct store_dbkey k = {.size = 0};

	store_key_add_u8(&k, 't');
	store_key_add_u64(&k, (uint64_t)until_ms);
	store_key_add_name(&k, tenant);
	store_key_add_name(&k, key);
	return k;
}

cc_err store_repeat_judge(
	struct store_tx *x, cc_view tenant, const struct store_repeat *r, enum store_result *ret)
{
	struct store_dbkey key = row_key(tenant, r->key);
	Queue__RepeatRow *row;
	cc_err err = CC_OK;

	*ret = STORE_RESULT_NONE;
	if (r->key.size == 0)
		return CC_OK;
	TRY(store_row_find(x, T_REPEAT, &key, &queue__repeat_row__descriptor, &row));
	if (row != NULL && row->until_ms > x->now)
		*ret = cc_view_equal(store_row_view(row->request_sha256), r->request_sha256)
			       ? STORE_SAME
			       : STORE_KEY_TAKEN;
out:
	return err;
}

cc_err store_repeat_note(struct store_tx *x, cc_view tenant, const struct store_repeat *r)
{
	struct store_dbkey key = row_key(tenant, r->key);
	struct store_dbkey timer = timer_key(x->now + KEPT_MS, tenant, r->key);
	Queue__RepeatRow row = QUEUE__REPEAT_ROW__INIT;
	Queue__RepeatRow *old;
	cc_err err = CC_OK;

	if (r->key.size == 0)
		return CC_OK;
	TRY(store_row_find(x, T_REPEAT, &key, &queue__repeat_row__descriptor, &old));
	if (old != NULL) { /* its time is over, or sweep would have it */
		struct store_dbkey old_timer = timer_key(old->until_ms, tenant, r->key);
		TRY(store_row_delete(x, T_REPEAT, &old_timer));
	}
	row.request_sha256 = store_row_borrow(r->request_sha256);
	row.until_ms = x->now + KEPT_MS;
	TRY(store_row_put(x, T_REPEAT, &key, &row));
	TRY(store_row_put_bytes(x, T_REPEAT, &timer, cc_view_text("t")));
out:
	return err;
}

cc_err store_repeat_sweep(struct store_tx *x, size_t limit, bool *ret_more)
{
	struct store_dbkey timers = {.size = 0};
	struct store_row *rows;
	size_t count;
	cc_err err = CC_OK;

	store_key_add_u8(&timers, 't');
	TRY(store_row_scan(x, T_REPEAT, &timers, NULL, limit, &rows, &count));
	for (size_t i = 0; i < count; i++) {
		cc_view rest = cc_view_part(rows[i].key, timers.size, rows[i].key.size);
		cc_view tenant, name;
		struct store_dbkey key;
		uint64_t until;
		TRY(store_key_take_u64(&rest, &until));
		if (until > (uint64_t)x->now)
			return CC_OK;
		TRY(store_key_take_name(&rest, &tenant));
		TRY(store_key_take_name(&rest, &name));
		key = row_key(tenant, name);
		TRY(store_row_delete(x, T_REPEAT, &key));
		key = timer_key((int64_t)until, tenant, name);
		TRY(store_row_delete(x, T_REPEAT, &key));
	}
	*ret_more = count == limit;
out:
	return err;
}

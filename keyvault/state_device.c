/*
 * State, the device table: which key belongs to a device, seen when and believed why.
 *
 * A row is named by tenant and device id; the user is what the first job said.  In `pinned` mode the
 * first key holds: another key for a known device, and the first device of a user whose imported keys
 * are at stake, need an operator's word (state_waiting.c), or are refused where policy knows no operator.
 * In `operator` mode the first key needs it as well, and so does an imported key on a device that is known as
 * another user's, once for each user, device and key.  The other modes record what they believed, so that an
 * administrator sees it and can block it.
 *
 * An approved key takes the place of the known one in the commit that serves its job, not when it is
 * approved: until then the device that is there keeps what it has, and an approval that nobody comes for
 * changes nothing.
 */
#include "keyvault/state_int.h"
#include "proto/codec.h"

#define DAY_S 86400

static void device_key(const struct state_change *change, uint8_t ret[SHA256_SIZE])
{
	HASH_ITEMS(ret, cc_blob_view(&change->tenant), cc_blob_view(&change->device.device_id));
}

static void user_key(const struct state_change *change, uint8_t ret[SHA256_SIZE])
{
	HASH_ITEMS(ret, cc_blob_view(&change->tenant), cc_blob_view(&change->device.user_id));
}

static void guest_key(const struct state_change *change, uint8_t ret[SHA256_SIZE])
{
	HASH_ITEMS(ret, cc_blob_view(&change->tenant), cc_blob_view(&change->device.user_id),
		cc_blob_view(&change->device.device_id),
		cc_view_of(change->device.spki_sha256, SHA256_SIZE));
}

cc_err state_device_get(
	const struct db *d, MDB_txn *txn, const struct state_change *change, Vault__Device **ret)
{
	uint8_t key[SHA256_SIZE];

	device_key(change, key);
	return state_row_get(d, txn, STATE_DB_DEVICE, cc_view_of(key, sizeof(key)),
		&vault__device__descriptor, ret);
}

static cc_err get_user(
	const struct db *d, MDB_txn *txn, const struct state_change *change, Vault__UserRow **ret)
{
	uint8_t key[SHA256_SIZE];

	*ret = NULL;
	if (change->device.user_id.size == 0)
		return CC_OK;
	user_key(change, key);
	return state_row_get(d, txn, STATE_DB_USER, cc_view_of(key, sizeof(key)),
		&vault__user_row__descriptor, ret);
}

static bool same_key(const Vault__Device *row, const struct state_change *change)
{
	return cc_view_equal(
		codec_view(row->spki_sha256), cc_view_of(change->device.spki_sha256, SHA256_SIZE));
}

static cc_err is_blocked(
	const struct db *d, MDB_txn *txn, const struct state_change *change, bool *ret)
{
	cc_view value = CC_VIEW_NONE;
	cc_err err = db_get(d, txn, STATE_DB_BLOCKED,
		cc_view_of(change->device.spki_sha256, SHA256_SIZE), &value);

	if (err != CC_OK && err != CC_NOT_FOUND)
		return err;
	*ret = err == CC_OK;
	return CC_OK;
}

static void refuse(struct state_change *change, const char *words)
{
	change->verdict = REASON_DEVICE_KEY;
	change->words = words;
}

/* Something that only an operator can allow. */
static void ask_operator(struct state_change *change, Vault__WaitReason why, const char *words)
{
	if (!change->device.may_wait) {
		refuse(change, words);
		return;
	}
	change->waits = why;
	change->words = words;
}

cc_err state_device_judge_block(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__Device *row = NULL;
	bool blocked = false;
	cc_err err = CC_OK;

	TRY(is_blocked(d, txn, change, &blocked));
	TRY(state_device_get(d, txn, change, &row));
	if (blocked || (row != NULL && row->blocked))
		refuse(change, "device key: it is blocked");
out:
	codec_free(row);
	return err;
}

/* The first device of a user with imported keys, even where it is another user's already. */
static cc_err judge_owner(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__UserRow *user = NULL;
	cc_err err = CC_OK;

	TRY(get_user(d, txn, change, &user));
	bool imported = change->device.imported || (user != NULL && user->imported);
	if (imported && (user == NULL || user->devices == 0))
		ask_operator(change, VAULT__WAIT_REASON__WAIT_FIRST_DEVICE,
			"device key: the first one of a user who has imported keys needs an "
			"operator's word");
out:
	codec_free(user);
	return err;
}

/* Whoever signs jobs can name any user's record for a device that was allowed to somebody else. */
static cc_err judge_guest(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	uint8_t key[SHA256_SIZE];
	cc_view value = CC_VIEW_NONE;

	guest_key(change, key);
	cc_err err = db_get(d, txn, STATE_DB_GUEST, cc_view_of(key, sizeof(key)), &value);
	if (err != CC_NOT_FOUND)
		return err;
	ask_operator(change, VAULT__WAIT_REASON__WAIT_NEW_DEVICE,
		"device key: the device is known as another user's, and policy leaves it to an "
		"operator");
	return CC_OK;
}

/* First keys: so many a day.  A device without a user counts for the tenant alone. */
static cc_err judge_limits(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	uint32_t day = (uint32_t)(change->now_s / DAY_S);
	cc_view user_id = cc_blob_view(&change->device.user_id);
	uint32_t of_user = 0, of_tenant = 0;
	cc_err err = CC_OK;

	TRY(state_counter_get(d, txn, 'u', day, user_id, &of_user));
	TRY(state_counter_get(d, txn, 't', day, cc_blob_view(&change->tenant), &of_tenant));
	if ((user_id.size > 0 && of_user >= change->device.per_user_per_day) ||
		of_tenant >= change->device.per_tenant_per_day)
		refuse(change, "device key: too many first ones today");
out:
	return err;
}

static bool same_user(const Vault__Device *row, const struct state_change *change)
{
	return cc_view_equal(codec_view(row->user_id), cc_blob_view(&change->device.user_id));
}

/* Blocks have been judged before. */
cc_err state_device_judge(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__Device *row = NULL;
	cc_err err = CC_OK;

	if (!change->device.pinned)
		return CC_OK;
	if (change->device.device_id.size == 0) { /* nothing to pin it to */
		refuse(change, "device key: it cannot be pinned, since the job names no device");
		return CC_OK;
	}
	TRY(state_device_get(d, txn, change, &row));
	if (row != NULL && !same_key(row, change))
		ask_operator(change, VAULT__WAIT_REASON__WAIT_OTHER_KEY,
			"device key: another one is known for this device");
	else if (row == NULL && change->device.asks_first)
		ask_operator(change, VAULT__WAIT_REASON__WAIT_NEW_DEVICE,
			"device key: the device is not known, and policy leaves it to an operator");
	else if (row != NULL && !same_user(row, change) && change->device.imported &&
		 change->device.asks_first)
		TRY(judge_guest(d, txn, change));
	else if (row == NULL || !same_user(row, change))
		TRY(judge_owner(d, txn, change));
	/* an operator's word goes before the limits, which are for what nobody looks at */
	if (change->verdict == REASON_NONE && row == NULL && change->waits == 0)
		TRY(judge_limits(d, txn, change));
out:
	codec_free(row);
	return err;
}

static cc_err note_user(
	const struct db *d, MDB_txn *txn, const struct state_change *change, bool first)
{
	Vault__UserRow fresh = VAULT__USER_ROW__INIT, *row = NULL;
	uint8_t key[SHA256_SIZE];
	cc_err err = CC_OK;

	if (change->device.user_id.size == 0)
		return CC_OK;
	TRY(get_user(d, txn, change, &row));
	if (row != NULL) {
		fresh.devices = row->devices;
		fresh.imported = row->imported;
	}
	if (row != NULL && !first && fresh.imported >= change->device.imported)
		goto out;
	fresh.devices += first ? 1 : 0;
	fresh.imported = fresh.imported || change->device.imported;
	user_key(change, key);
	TRY(state_row_put(d, txn, STATE_DB_USER, cc_view_of(key, sizeof(key)), &fresh));
out:
	codec_free(row);
	return err;
}

static cc_err put_device(const struct db *d, MDB_txn *txn, const struct state_change *change,
	bool has_key, bool blocked)
{
	Vault__Device row = VAULT__DEVICE__INIT;
	uint8_t key[SHA256_SIZE];

	row.tenant = codec_bytes(cc_blob_view(&change->tenant));
	row.user_id = codec_bytes(cc_blob_view(&change->device.user_id));
	row.device_id = codec_bytes(cc_blob_view(&change->device.device_id));
	if (has_key)
		row.spki_sha256 = codec_bytes(cc_view_of(change->device.spki_sha256, SHA256_SIZE));
	row.first_seen_s = change->now_s;
	row.source = codec_text(change->approved ? "approved" : change->device.source);
	row.blocked = blocked;
	device_key(change, key);
	return state_row_put(d, txn, STATE_DB_DEVICE, cc_view_of(key, sizeof(key)), &row);
}

static cc_err put_guest(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	uint8_t key[SHA256_SIZE];

	guest_key(change, key);
	return db_put(d, txn, STATE_DB_GUEST, cc_view_of(key, sizeof(key)), cc_view_text("guest"));
}

cc_err state_device_record(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	uint32_t day = (uint32_t)(change->now_s / DAY_S);
	Vault__Device *row = NULL;
	cc_err err = CC_OK;

	if (change->device.device_id.size > 0)
		TRY(state_device_get(d, txn, change, &row));
	bool known = change->device.device_id.size == 0 || (row != NULL && same_key(row, change));
	bool is_users_first = change->approved && (row == NULL || !same_user(row, change));
	TRY(note_user(d, txn, change, (row == NULL && !known) || is_users_first));
	if (known && is_users_first)
		TRY(put_guest(d, txn, change));
	if (known)
		goto out;
	TRY(put_device(d, txn, change, true, false));
	change->device_is_new = true;
	if (change->device.pinned) {
		TRY(state_counter_add(d, txn, 'u', day, cc_blob_view(&change->device.user_id)));
		TRY(state_counter_add(d, txn, 't', day, cc_blob_view(&change->tenant)));
	}
out:
	codec_free(row);
	return err;
}

/* The device's row, made when there is none, and its key, whatever other name it comes under. */
cc_err state_device_block(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	uint8_t key[SHA256_SIZE];
	Vault__Device *row = NULL;
	cc_err err = CC_OK;

	TRY(state_device_get(d, txn, change, &row));
	if (row == NULL) {
		TRY(put_device(d, txn, change, false, true));
		goto out;
	}
	row->blocked = true;
	device_key(change, key);
	TRY(state_row_put(d, txn, STATE_DB_DEVICE, cc_view_of(key, sizeof(key)), row));
	if (row->spki_sha256.len == SHA256_SIZE)
		TRY(db_put(d, txn, STATE_DB_BLOCKED, codec_view(row->spki_sha256),
			cc_view_text("blocked")));
out:
	codec_free(row);
	return err;
}

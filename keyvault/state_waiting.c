/*
 * State, the questions to the operator: a job whose device key only a person can allow waits here, by its
 * id, and what was said of it.
 *
 * An approval is for this job's very bytes, until its not_after, and only while what the operator was shown
 * still holds: where another key or another user has become the device's since, the question is asked anew.
 * It is used up by the commit that serves the job.  A denial stays for as long as the job could come.
 */
#include "base/hash.h"
#include "keyvault/state_int.h"
#include "proto/codec.h"
#include <string.h>

static void waiting_key(const struct state_change *change, uint8_t ret[STATE_TAKEN_KEY_SIZE])
{
	state_taken_key(
		cc_blob_view(&change->tenant), cc_view_of(change->job_id, JOB_ID_SIZE), ret);
}

static cc_err get_row(const struct db *d, MDB_txn *txn, const struct state_change *change,
	Vault__WaitingJob **ret)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];

	waiting_key(change, key);
	return state_row_get(d, txn, STATE_DB_WAITING, cc_view_of(key, sizeof(key)),
		&vault__waiting_job__descriptor, ret);
}

static cc_err put_row(const struct db *d, MDB_txn *txn, const struct state_change *change,
	const Vault__WaitingJob *row)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];
	cc_blob at = CC_BLOB_NONE;
	cc_err err = CC_OK;

	waiting_key(change, key);
	TRY(state_row_put(d, txn, STATE_DB_WAITING, cc_view_of(key, sizeof(key)), row));
	cc_blob_append_u64(&at, (uint64_t)row->not_after_s);
	cc_blob_append(&at, cc_view_of(key, sizeof(key)));
	TRY(db_put(d, txn, STATE_DB_WAITING_AT, cc_blob_view(&at), CC_VIEW_NONE));
out:
	cc_blob_free(&at);
	return err;
}

static bool is_undecided(const Vault__WaitingJob *row, int64_t now_s)
{
	return row->decision == VAULT__WAIT_DECISION__WAIT_UNDECIDED && row->not_after_s >= now_s;
}

/* ---- a job comes ---- */

/* Those that are decided take no room: each of them was a person's work.  Those that are past take some of the
 * keyvault's until they are gone, so that jobs of a short life cannot fill the state. */
static cc_err judge_room(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	struct db_cursor cursor = {0};
	Vault__WaitingJob *row = NULL;
	size_t all = 0, of_tenant = 0;
	cc_err err = CC_OK;

	TRY(db_scan(d, txn, STATE_DB_WAITING, CC_VIEW_NONE, CC_VIEW_NONE, &cursor));
	while (db_next(&cursor, &err)) {
		TRY(codec_decode(
			&vault__waiting_job__descriptor, cursor.value, STATE_ROW_MAX, &row));
		all += row->decision == VAULT__WAIT_DECISION__WAIT_UNDECIDED;
		of_tenant += is_undecided(row, change->now_s) &&
			     cc_view_equal(codec_view(row->tenant), cc_blob_view(&change->tenant));
		codec_free(row);
		row = NULL;
	}
	if (all >= STATE_WAITING_MAX || of_tenant >= STATE_WAITING_PER_TENANT) {
		change->verdict = REASON_WAITING_FULL;
		change->words = "device key: it needs an operator's word, and too many jobs wait "
				"for one";
	}
out:
	codec_free(row);
	db_scan_end(&cursor);
	return err;
}

/* Is the question still the one that the operator was shown? */
static bool is_same_question(
	const Vault__WaitingJob *row, const Vault__Device *known, const struct state_change *change)
{
	cc_view key = known != NULL ? codec_view(known->spki_sha256) : CC_VIEW_NONE;
	cc_view user = known != NULL ? codec_view(known->user_id) : CC_VIEW_NONE;

	return row->reason == change->waits &&
	       cc_view_equal(codec_view(row->known_spki_sha256), key) &&
	       cc_view_equal(codec_view(row->known_user_id), user);
}

static void deny(struct state_change *change, const Vault__WaitingJob *row)
{
	change->verdict = REASON_DENIED;
	cc_blob_printf(&change->said, "an operator (uid %u) has denied it: ", row->decided_uid);
	cc_blob_append(&change->said, codec_view(row->decided_reason));
}

static void judge_answer(
	struct state_change *change, const Vault__WaitingJob *row, const Vault__Device *known)
{
	bool same = is_same_question(row, known, change);

	if (same && row->decision == VAULT__WAIT_DECISION__WAIT_APPROVED &&
		change->now_s <= row->not_after_s) {
		change->approved = true;
		change->words = NULL;
	} else {
		change->verdict = REASON_WAITS;
		change->asked = !same;
	}
}

cc_err state_waiting_judge(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__WaitingJob *row = NULL;
	Vault__Device *known = NULL;
	cc_err err = CC_OK;

	TRY(get_row(d, txn, change, &row));
	change->has_question = row != NULL;
	if (row != NULL && !cc_view_equal(codec_view(row->job_sha256),
				   cc_view_of(change->job_sha256, SHA256_SIZE))) {
		change->verdict = REASON_CONFLICT;
		change->words = "another job waits for an operator under this id";
	} else if (row != NULL && row->decision == VAULT__WAIT_DECISION__WAIT_DENIED) {
		deny(change, row);
	} else if (change->waits != VAULT__WAIT_REASON__WAIT_UNSPECIFIED && row != NULL) {
		TRY(state_device_get(d, txn, change, &known));
		judge_answer(change, row, known);
	} else if (change->waits != VAULT__WAIT_REASON__WAIT_UNSPECIFIED) {
		change->verdict = REASON_WAITS;
		change->asked = true;
		TRY(judge_room(d, txn, change));
		change->asked = change->verdict == REASON_WAITS;
	}
out:
	codec_free(known);
	codec_free(row);
	return err;
}

/* An approval names it: a job may have ended, and another have come under its id, since the operator looked. */
static void digest_question(const Vault__WaitingJob *row, uint8_t ret[SHA256_SIZE])
{
	cc_blob packed = codec_pack(row);

	hash_sha256(cc_blob_view(&packed), ret);
	cc_blob_free(&packed);
}

cc_err state_waiting_ask(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__WaitingJob row = VAULT__WAITING_JOB__INIT;
	Vault__Device *known = NULL;
	uint8_t question[SHA256_SIZE];
	cc_err err = CC_OK;

	TRY(state_device_get(d, txn, change, &known));
	row.tenant = codec_bytes(cc_blob_view(&change->tenant));
	row.job_id = codec_bytes(cc_view_of(change->job_id, JOB_ID_SIZE));
	row.job_sha256 = codec_bytes(cc_view_of(change->job_sha256, SHA256_SIZE));
	row.kind = codec_text(change->device.imported ? "rewrap" : "issue");
	row.what = codec_bytes(cc_blob_view(&change->what));
	row.user_id = codec_bytes(cc_blob_view(&change->device.user_id));
	row.device_id = codec_bytes(cc_blob_view(&change->device.device_id));
	row.spki_sha256 = codec_bytes(cc_view_of(change->device.spki_sha256, SHA256_SIZE));
	if (known != NULL) {
		row.known_spki_sha256 = known->spki_sha256;
		row.known_user_id = known->user_id;
	}
	if (known != NULL && known->spki_sha256.len == SHA256_SIZE) {
		memcpy(change->known_spki, known->spki_sha256.data, SHA256_SIZE);
		change->has_known = true;
	}
	row.reason = change->waits;
	row.asked_s = change->now_s;
	row.not_after_s = change->not_after_s;
	digest_question(&row, question);
	row.question_sha256 = codec_bytes(cc_view_of(question, sizeof(question)));
	TRY(put_row(d, txn, change, &row));
out:
	codec_free(known);
	return err;
}

cc_err state_waiting_end(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];
	Vault__WaitingJob *row = NULL;
	cc_blob at = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(get_row(d, txn, change, &row));
	if (row == NULL)
		goto out;
	waiting_key(change, key);
	cc_blob_append_u64(&at, (uint64_t)row->not_after_s);
	cc_blob_append(&at, cc_view_of(key, sizeof(key)));
	TRY(db_delete(d, txn, STATE_DB_WAITING, cc_view_of(key, sizeof(key))));
	TRY(db_delete(d, txn, STATE_DB_WAITING_AT, cc_blob_view(&at)));
out:
	cc_blob_free(&at);
	codec_free(row);
	return err;
}

/* ---- an operator's word ---- */

/* What the decision record shall say beside the operator's uid. */
static void note_job(struct state_change *change, const Vault__WaitingJob *row)
{
	memcpy(change->job_sha256, row->job_sha256.data, SHA256_SIZE);
	memcpy(change->decision.spki_sha256, row->spki_sha256.data, SHA256_SIZE);
	change->decision.has_spki = true;
	cc_blob_free(&change->decision.subject);
	change->decision.subject = cc_blob_copy(codec_view(row->device_id));
}

/* An approval can be taken back until the job is served; a denial was told to the job's maker. */
cc_err state_waiting_judge_ruling(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	Vault__WaitingJob *row = NULL;
	cc_err err = CC_OK;

	TRY(get_row(d, txn, change, &row));
	if (row == NULL || row->not_after_s < change->now_s) {
		change->verdict = REASON_NOT_WAITING;
		change->words = "no such job waits";
		goto out;
	}
	ENSURE(row->job_sha256.len == SHA256_SIZE && row->spki_sha256.len == SHA256_SIZE &&
			row->question_sha256.len == SHA256_SIZE,
		cc_fail(CC_CORRUPT, "%s: a row of a job that waits", db_dir(d)));
	bool denied = row->decision == VAULT__WAIT_DECISION__WAIT_DENIED;
	bool approved = row->decision == VAULT__WAIT_DECISION__WAIT_APPROVED;
	if (denied || (approved && change->rules == STATE_RULES_APPROVE)) {
		change->verdict = REASON_DECIDED;
		change->words =
			denied ? "the job is denied already" : "the job is approved already";
	} else if (change->rules == STATE_RULES_APPROVE &&
		   !cc_view_equal(codec_view(row->question_sha256),
			   cc_view_of(change->rules_question, SHA256_SIZE))) {
		change->verdict = REASON_OTHER_QUESTION;
		change->words = "what waits under this id is not what was shown: list it again";
	}
	note_job(change, row);
out:
	codec_free(row);
	return err;
}

cc_err state_waiting_rule(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	Vault__WaitingJob *row = NULL, fresh;
	cc_err err = CC_OK;

	TRY(get_row(d, txn, change, &row));
	ENSURE(row, cc_fail(CC_INTERNAL, "the job that was judged is not there"));
	fresh = *row;
	fresh.decision = change->rules == STATE_RULES_APPROVE ? VAULT__WAIT_DECISION__WAIT_APPROVED
							      : VAULT__WAIT_DECISION__WAIT_DENIED;
	fresh.decided_s = change->now_s;
	fresh.decided_uid = change->rules_uid;
	fresh.decided_reason = codec_bytes(cc_blob_view(&change->rules_reason));
	TRY(put_row(d, txn, change, &fresh));
out:
	codec_free(row);
	return err;
}

/* ---- reads, any thread ---- */

struct listing {
	const struct db *db;
	state_each_fn each;
	void *arg;
};

static cc_err take_end(void *arg, MDB_txn *txn, cc_view key, cc_view value, bool *ret_counts)
{
	struct listing *l = arg;
	cc_view row = CC_VIEW_NONE;
	cc_err err = CC_OK;

	(void)value;
	(void)ret_counts;
	ENSURE(key.size == 8 + STATE_TAKEN_KEY_SIZE,
		cc_fail(CC_CORRUPT, "%s: a key of a job that waits", db_dir(l->db)));
	TRY(db_get(l->db, txn, STATE_DB_WAITING, cc_view_part(key, 8, STATE_TAKEN_KEY_SIZE), &row));
	TRY(l->each(l->arg, 0, row));
out:
	return err;
}

cc_err state_list_waiting(const struct state *s, cc_view after, int64_t now_s, size_t limit,
	state_each_fn each, void *arg, cc_blob *ret_next)
{
	struct listing l = {s->db, each, arg};
	cc_blob now = CC_BLOB_NONE;

	cc_blob_append_u64(&now, (uint64_t)now_s);
	cc_err err = state_walk_page(s, STATE_DB_WAITING_AT,
		after.size > 0 ? after : cc_blob_view(&now), limit, take_end, &l, ret_next);
	cc_blob_free(&now);
	return err;
}

struct counting {
	int64_t now_s;
	size_t count;
};

static cc_err count_one(void *arg, uint64_t number, cc_view packed)
{
	struct counting *c = arg;
	Vault__WaitingJob *row = NULL;
	cc_err err = codec_decode(&vault__waiting_job__descriptor, packed, STATE_ROW_MAX, &row);

	(void)number;
	if (err == CC_OK)
		c->count += is_undecided(row, c->now_s);
	codec_free(row);
	return err;
}

cc_err state_count_waiting(const struct state *s, int64_t now_s, size_t *ret)
{
	struct counting c = {.now_s = now_s};
	cc_blob next = CC_BLOB_NONE;
	cc_err err = state_list_waiting(s, CC_VIEW_NONE, now_s, SIZE_MAX, count_one, &c, &next);

	cc_blob_free(&next);
	if (err == CC_OK)
		*ret = c.count;
	return err;
}

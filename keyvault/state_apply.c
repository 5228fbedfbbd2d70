/*
 * State, the steps of a change: first everything that may say no, each with a verdict of its own, then
 * all that is written.  A change that was refused writes its decision record and nothing else, so that
 * a refusal is accounted for as well; one that waits for an operator writes the question beside it.
 *
 * Runs in the committer's thread and may run more than once for a change (base/committer.h): results
 * are reset at the start.
 */
#include "keyvault/state_int.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <string.h>

#define HOUR_S 3600
#define DAY_S  86400
#define AHEAD                                                                                      \
	(UINT64_C(2) << 20) /* for what jobs that were taken still write: some thousand ends */

static cc_view job_id_of(const struct state_change *change)
{
	return cc_view_of(change->job_id, JOB_ID_SIZE);
}

/* ---- what may say no ---- */

static void judge_clock(const Vault__StateMeta *meta, struct state_change *change)
{
	if (change->judges_clock && change->now_s < meta->latest_s - STATE_CLOCK_BACK_S)
		change->verdict = REASON_CLOCK;
}

/* Nothing is decided that could not be recorded: the connector has to take the records first. */
static void judge_backlog(const Vault__StateMeta *meta, struct state_change *change)
{
	if (change->decides && meta->unconfirmed >= STATE_DECISIONS_MAX)
		change->verdict = REASON_BUSY;
}

static cc_err judge_signer(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	cc_view key = cc_view_of(change->signer, SHA256_SIZE);
	cc_view value = CC_VIEW_NONE;
	cc_err err = CC_OK;

	if (!change->has_signer)
		return CC_OK;
	err = db_get(d, txn, STATE_DB_SIGNER, key, &value);
	if (err == CC_NOT_FOUND)
		return CC_OK;
	if (err == CC_OK && value.size != 8)
		err = cc_fail(
			CC_CORRUPT, "%s: a signer's revision of %zu bytes", db_dir(d), value.size);
	if (err == CC_OK && change->signer_revision < cc_get_u64(value.data))
		change->verdict = REASON_SIGNER;
	return err;
}

/* *ret_known: this job was taken before, and with these bytes. */
static cc_err judge_taken(
	const struct db *d, MDB_txn *txn, struct state_change *change, bool *ret_known)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];
	Vault__TakenJob *row = NULL;
	cc_err err = CC_OK;

	if (change->take == STATE_TAKE_NONE)
		return CC_OK;
	state_taken_key(cc_blob_view(&change->tenant), job_id_of(change), key);
	TRY(state_row_get(d, txn, STATE_DB_TAKEN, cc_view_of(key, sizeof(key)),
		&vault__taken_job__descriptor, &row));
	if (row == NULL)
		goto out;
	if (!cc_view_equal(
		    codec_view(row->job_sha256), cc_view_of(change->job_sha256, SHA256_SIZE)))
		change->verdict = REASON_CONFLICT;
	else if (change->take == STATE_TAKE_NEW)
		change->verdict = REASON_AGAIN;
	*ret_known = true;
out:
	codec_free(row);
	return err;
}

/* What was delivered is no orphan, and an orphan is not delivered.  *ret_known: it was given up before. */
static cc_err judge_issued(
	const struct db *d, MDB_txn *txn, struct state_change *change, bool *ret_known)
{
	uint8_t key[SHA256_SIZE];
	Vault__IssuedRow *row = NULL;
	cc_err err = CC_OK;

	if (!change->has_issued)
		return CC_OK;
	HASH_ITEMS(key, codec_view(change->issued.issuer), codec_view(change->issued.serial));
	TRY(state_row_get(d, txn, STATE_DB_ISSUED, cc_view_of(key, sizeof(key)),
		&vault__issued_row__descriptor, &row));
	if (row == NULL)
		goto out;
	if (row->orphan != change->issued.orphan)
		change->verdict = change->issued.orphan ? REASON_POLICY : REASON_CERTIFICATE;
	*ret_known = row->orphan;
out:
	codec_free(row);
	return err;
}

static cc_err judge_rate(const struct db *d, MDB_txn *txn, struct state_change *change)
{
	uint32_t of_hour = 0, of_day = 0;
	cc_err err = CC_OK;

	if (change->rate == NULL)
		return CC_OK;
	TRY(state_counter_get(d, txn, 'h', (uint32_t)(change->now_s / HOUR_S),
		cc_view_text(change->rate), &of_hour));
	TRY(state_counter_get(d, txn, 'd', (uint32_t)(change->now_s / DAY_S),
		cc_view_text(change->rate), &of_day));
	if ((change->per_hour != 0 && of_hour >= change->per_hour) ||
		(change->per_day != 0 && of_day >= change->per_day))
		change->verdict = REASON_RATE;
out:
	return err;
}

static cc_err judge(const struct db *d, MDB_txn *txn, const Vault__StateMeta *meta,
	struct state_change *change, bool *ret_known)
{
	cc_err err = CC_OK;

	judge_clock(meta, change);
	if (change->verdict == REASON_NONE)
		judge_backlog(meta, change);
	if (change->verdict == REASON_NONE)
		TRY(judge_signer(d, txn, change));
	if (change->verdict == REASON_NONE)
		TRY(judge_taken(d, txn, change, ret_known));
	if (change->verdict == REASON_NONE && (change->has_device || change->checks_block))
		TRY(state_device_judge_block(d, txn, change));
	if (change->verdict == REASON_NONE && change->has_device)
		TRY(state_device_judge(d, txn, change));
	if (change->verdict == REASON_NONE && change->has_device && change->has_job)
		TRY(state_waiting_judge(d, txn, change));
	if (change->verdict == REASON_NONE && change->rules != STATE_RULES_NOT)
		TRY(state_waiting_judge_ruling(d, txn, change));
	if (change->verdict == REASON_NONE)
		TRY(judge_issued(d, txn, change, ret_known));
	if (change->verdict == REASON_NONE && !*ret_known)
		TRY(judge_rate(d, txn, change));
out:
	return err;
}

/* ---- what is written ---- */

static cc_err write_signer(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	cc_blob value = CC_BLOB_NONE;
	cc_err err = CC_OK;

	if (!change->has_signer)
		return CC_OK;
	cc_blob_append_u64(&value, change->signer_revision);
	err = db_put(d, txn, STATE_DB_SIGNER, cc_view_of(change->signer, SHA256_SIZE),
		cc_blob_view(&value));
	cc_blob_free(&value);
	return err;
}

static cc_err write_rate(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	cc_err err = CC_OK;

	if (change->rate == NULL)
		return CC_OK;
	TRY(state_counter_add(
		d, txn, 'h', (uint32_t)(change->now_s / HOUR_S), cc_view_text(change->rate)));
	TRY(state_counter_add(
		d, txn, 'd', (uint32_t)(change->now_s / DAY_S), cc_view_text(change->rate)));
out:
	return err;
}

static cc_err write_taken(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	uint8_t key[STATE_TAKEN_KEY_SIZE];
	cc_blob at = CC_BLOB_NONE;
	cc_err err = CC_OK;

	state_taken_key(cc_blob_view(&change->tenant), job_id_of(change), key);
	TRY(state_row_put(d, txn, STATE_DB_TAKEN, cc_view_of(key, sizeof(key)), &change->taken));
	cc_blob_append_u64(&at, (uint64_t)change->taken.not_after_s);
	cc_blob_append(&at, cc_view_of(key, sizeof(key)));
	TRY(db_put(d, txn, STATE_DB_TAKEN_AT, cc_blob_view(&at), CC_VIEW_NONE));
	TRY(write_rate(d, txn, change));
out:
	cc_blob_free(&at);
	return err;
}

static cc_err write_issued(const struct db *d, MDB_txn *txn, const struct state_change *change)
{
	uint8_t key[SHA256_SIZE];

	if (!change->has_issued)
		return CC_OK;
	HASH_ITEMS(key, codec_view(change->issued.issuer), codec_view(change->issued.serial));
	return state_row_put(
		d, txn, STATE_DB_ISSUED, cc_view_of(key, sizeof(key)), &change->issued);
}

static cc_err write_confirm(
	const struct db *d, MDB_txn *txn, Vault__StateMeta *meta, const struct state_change *change)
{
	cc_blob key = CC_BLOB_NONE;
	cc_err err = CC_OK;
	uint64_t first = meta->decisions - meta->unconfirmed + 1;
	uint64_t last = change->confirm < meta->decisions ? change->confirm : meta->decisions;

	for (uint64_t n = first; n <= last; n++) {
		cc_blob_clear(&key);
		cc_blob_append_u64(&key, n);
		TRY(db_delete(d, txn, STATE_DB_DECISION, cc_blob_view(&key)));
		meta->unconfirmed--;
	}
out:
	cc_blob_free(&key);
	return err;
}

/* Back to a time that was passed already: what was lowered stands in the decision record. */
static void write_clock(Vault__StateMeta *meta, struct state_change *change)
{
	char before[RFC3339_SIZE], now[RFC3339_SIZE];
	char *words;

	if (!change->accepts_clock || meta->latest_s <= change->now_s)
		return;
	text_rfc3339(meta->latest_s, before);
	text_rfc3339(change->now_s, now);
	words = cc_asprintf("latest time %s lowered to %s", before, now);
	cc_blob_free(&change->decision.subject);
	change->decision.subject = cc_blob_copy(cc_view_text(words));
	free(words);
	meta->latest_s = change->now_s;
}

static cc_err write_all(const struct db *d, MDB_txn *txn, Vault__StateMeta *meta,
	struct state_change *change, bool known)
{
	cc_err err = CC_OK;

	TRY(write_signer(d, txn, change));
	if (change->take != STATE_TAKE_NONE && !known)
		TRY(write_taken(d, txn, change));
	if (change->take == STATE_TAKE_NONE && !known)
		TRY(write_rate(d, txn, change));
	if (change->has_device)
		TRY(state_device_record(d, txn, change));
	if (change->has_question)
		TRY(state_waiting_end(d, txn, change));
	if (change->rules != STATE_RULES_NOT)
		TRY(state_waiting_rule(d, txn, change));
	TRY(write_issued(d, txn, change));
	if (change->ticket_number != 0)
		TRY(state_salt_touch(d, txn, change->ticket_number, change->finish_by_s));
	if (change->blocks)
		TRY(state_device_block(d, txn, change));
	write_clock(meta, change);
	if (change->tends)
		TRY(state_tend(d, txn, change));
	if (change->confirm != 0)
		TRY(write_confirm(d, txn, meta, change));
out:
	return err;
}

/* ---- the decision record ---- */

static cc_blob pack_decision(const struct state_change *change, enum reason reason)
{
	Vault__Decision decision = VAULT__DECISION__INIT;
	const struct state_decision *from = &change->decision;
	const uint8_t *spki = change->asked ? change->device.spki_sha256 : from->spki_sha256;

	decision.time_s = change->now_s;
	decision.operation = codec_text(from->operation);
	decision.outcome = codec_text(reason == REASON_NONE ? "done" : reason_code(reason));
	decision.tenant = codec_bytes(cc_blob_view(&change->tenant));
	if (change->has_job) {
		decision.job_id = codec_bytes(job_id_of(change));
		decision.job_sha256 = codec_bytes(cc_view_of(change->job_sha256, SHA256_SIZE));
	}
	if (from->has_spki || change->asked)
		decision.spki_sha256 = codec_bytes(cc_view_of(spki, SHA256_SIZE));
	if (from->has_certificate)
		decision.certificate_sha256 =
			codec_bytes(cc_view_of(from->certificate_sha256, SHA256_SIZE));
	decision.event = reason_event(reason);
	decision.uid = from->uid;
	decision.subject = codec_bytes(cc_blob_view(&from->subject));
	return codec_pack(&decision);
}

/* Counter, previous record and decision under the audit key: the chain cannot be rewritten by
 * whoever keeps the records. */
static void decision_mac(const cc_secret *key, uint64_t counter, cc_view previous, cc_view decision,
	uint8_t ret[SHA256_SIZE])
{
	cc_blob input = CC_BLOB_NONE;

	cc_blob_append_u64(&input, counter);
	cc_blob_append(&input, previous);
	cc_blob_append(&input, decision);
	hash_hmac_sha256(cc_secret_view(key), cc_blob_view(&input), ret);
	cc_blob_free(&input);
}

static cc_err write_decision(const struct db *d, MDB_txn *txn, Vault__StateMeta *meta,
	struct state_change *change, enum reason reason)
{
	static const uint8_t nothing[SHA256_SIZE];
	Vault__DecisionRecord record = VAULT__DECISION_RECORD__INIT;
	cc_blob decision = pack_decision(change, reason);
	cc_view previous = meta->head_sha256.len == SHA256_SIZE ? codec_view(meta->head_sha256)
								: cc_view_of(nothing, SHA256_SIZE);
	uint8_t mac[SHA256_SIZE], head[SHA256_SIZE];
	cc_blob key = CC_BLOB_NONE, packed = CC_BLOB_NONE;
	cc_err err = CC_OK;

	record.counter = meta->decisions + 1;
	record.previous_sha256 = codec_bytes(previous);
	record.decision = codec_bytes(cc_blob_view(&decision));
	decision_mac(
		&change->state->audit_key, record.counter, previous, cc_blob_view(&decision), mac);
	record.mac = codec_bytes(cc_view_of(mac, sizeof(mac)));
	packed = codec_pack(&record);
	hash_sha256(cc_blob_view(&packed), head);
	cc_blob_append_u64(&key, record.counter);
	TRY(db_put_new(d, txn, STATE_DB_DECISION, cc_blob_view(&key), cc_blob_view(&packed)));
	meta->decisions++;
	meta->unconfirmed++;
	if (meta->head_sha256.len != SHA256_SIZE) {
		free(meta->head_sha256.data);
		meta->head_sha256.data = cc_alloc(SHA256_SIZE);
		meta->head_sha256.len = SHA256_SIZE;
	}
	memcpy(meta->head_sha256.data, head, SHA256_SIZE);
	change->counter = record.counter;
	change->record = cc_blob_move(&packed);
out:
	cc_blob_free(&packed);
	cc_blob_free(&key);
	cc_blob_free(&decision);
	return err;
}

static void reset_results(struct state_change *change)
{
	change->verdict = REASON_NONE;
	change->words = NULL;
	cc_blob_free(&change->said);
	change->device_is_new = false;
	change->waits = VAULT__WAIT_REASON__WAIT_UNSPECIFIED;
	change->asked = false;
	change->approved = false;
	change->has_question = false;
	change->has_known = false;
	change->counter = 0;
	cc_blob_free(&change->record);
}

cc_err state_apply(struct db *d, MDB_txn *txn, void *arg)
{
	struct state_change *change = arg;
	Vault__StateMeta *meta = NULL;
	bool known = false;
	cc_err err = CC_OK;

	reset_results(change);
	TRY(state_meta_get(d, txn, &meta));
	TRY(judge(d, txn, meta, change, &known));
	bool is_taken = change->verdict == REASON_NONE && change->take != STATE_TAKE_NONE && !known;
	if (is_taken || change->asked)
		TRY(db_reserve(d, 0, AHEAD));
	if (change->verdict == REASON_NONE)
		TRY(write_all(d, txn, meta, change, known));
	else if (change->asked)
		TRY(state_waiting_ask(d, txn, change));
	enum reason outcome =
		change->verdict != REASON_NONE ? change->verdict : change->decision.reason;
	/* A job that waits comes again and again: the question is one decision. */
	bool waits_on = outcome == REASON_WAITS && !change->asked;
	if (change->decides && reason_is_decision(outcome) && !waits_on)
		TRY(write_decision(d, txn, meta, change, outcome));
	if (change->now_s > meta->latest_s)
		meta->latest_s = change->now_s;
	TRY(state_meta_put(d, txn, meta));
out:
	codec_free(meta);
	return err;
}

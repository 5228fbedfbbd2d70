/*
 * The control socket's operations on jobs: look, take over, bury, replay, cancel, and the rows for a
 * checker of invariants.
 */
#include "base/text.h"
#include "cloud-queue/control_int.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"

#define CHECK_PAGE 100u
#define OPERATOR   "control"

/* ---- jobs ---- */

static const char *store_state_name(enum store_state state)
{
	static const char *const names[STORE_STATE_COUNT] = {
		"", "READY", "LEASED", "CLAIMED", "PARKED", "HELD", "DONE", "DEAD", "CANCELLED"};

	return (size_t)state < STORE_STATE_COUNT ? names[state] : "";
}

static json_t *job_row(const struct store_job *job)
{
	json_t *to = queue_json_job(job);

	json_object_set_new(to, "store_state", json_string(store_state_name(job->state)));
	json_object_set_new(to, "epoch", json_integer(job->epoch));
	json_object_set_new(to, "run", json_integer(job->run));
	if (job->certificate.sha256.size)
		json_object_set_new(
			to, "certificate_sha256", queue_json_hex(job->certificate.sha256));
	return to;
}

/* False: it was answered. */
static bool take_job(struct control_op *op)
{
	if (text_from_job_id(control_op_text(op, "job"), op->job_id) == CC_OK)
		return true;
	control_op_fail(op, "malformed", "job: job_...");
	return false;
}

static cc_view job_of(const struct control_op *op)
{
	return cc_view_of(op->job_id, sizeof(op->job_id));
}

static void on_show(void *arg, const struct store_fetch_out *out)
{
	struct control_op *op = arg;

	if (out->err != CC_OK || out->result != STORE_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	json_object_set_new(op->answer, "job", job_row(&out->job));
	control_op_done(op);
}

void control_job_show(struct control_op *op)
{
	if (take_job(op))
		store_fetch(op->queue->store,
			&(struct store_fetch_in){
				.tenant = control_op_text(op, "tenant"), .job_id = job_of(op)},
			on_show, op);
}

static void answer_result(struct control_op *op, cc_err err, enum store_result result)
{
	if (err == CC_OK && result == STORE_OK)
		control_op_done(op);
	else
		control_op_refuse(op, err, result);
}

static void on_takeover(void *arg, const struct store_takeover_out *out)
{
	answer_result(arg, out->err, out->result);
}

void control_job_takeover(struct control_op *op)
{
	if (take_job(op))
		store_takeover(op->queue->store,
			&(struct store_takeover_in){.tenant = control_op_text(op, "tenant"),
				.job_id = job_of(op),
				.by = cc_view_text(OPERATOR)},
			on_takeover, op);
}

static void on_bury(void *arg, const struct store_bury_out *out)
{
	answer_result(arg, out->err, out->result);
}

void control_job_bury(struct control_op *op)
{
	if (take_job(op))
		store_bury(op->queue->store,
			&(struct store_bury_in){.tenant = control_op_text(op, "tenant"),
				.job_id = job_of(op),
				.by = cc_view_text(OPERATOR)},
			on_bury, op);
}

static void on_replay(void *arg, const struct store_replay_out *out)
{
	struct control_op *op = arg;

	if (out->err == CC_OK && out->result == STORE_REFUSED)
		control_op_fail(op, "refused", out->why ? out->why : "");
	else
		answer_result(op, out->err, out->result);
}

void control_job_replay(struct control_op *op)
{
	if (take_job(op))
		store_replay(op->queue->store,
			&(struct store_replay_in){.tenant = control_op_text(op, "tenant"),
				.job_id = job_of(op),
				.by = cc_view_text(OPERATOR)},
			on_replay, op);
}

static void on_cancel(void *arg, const struct store_cancel_out *out)
{
	answer_result(arg, out->err, out->result);
}

void control_job_cancel(struct control_op *op)
{
	if (take_job(op))
		store_cancel(op->queue->store,
			&(struct store_cancel_in){.tenant = control_op_text(op, "tenant"),
				.job_id = job_of(op),
				.by_operator = true},
			on_cancel, op);
}

/* ---- check ---- */

static json_t *claim_row(const struct store_check_claim *claim)
{
	static const char *const names[] = {
		"unsettled", "winner", "not_issued", "orphan_revoked", "orphan_kept", "in_doubt"};

	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:s, s:b, s:o}", "epoch",
		(json_int_t)claim->epoch, "ca", queue_json_text(claim->ca), "csr_sha256",
		queue_json_hex(claim->csr_sha256), "spki_sha256",
		queue_json_hex(claim->spki_sha256), "txid", queue_json_hex(claim->txid),
		"settlement", claim->settlement <= STORE_IN_DOUBT ? names[claim->settlement] : "",
		"was_in_doubt", claim->was_in_doubt, "certificate_sha256",
		queue_json_hex(claim->cert_sha256));
}

static json_t *attempt_row(const struct store_check_attempt *attempt)
{
	json_t *claims = json_array();

	for (size_t i = 0; i < attempt->claim_count; i++)
		json_array_append_new(claims, claim_row(&attempt->claims[i]));
	return json_pack("{s:I, s:I, s:o, s:s, s:o}", "epoch", (json_int_t)attempt->epoch, "run",
		(json_int_t)attempt->run, "connector", queue_json_text(attempt->connector), "end",
		attempt->end, "claims", claims);
}

static void on_check(void *arg, const struct store_check_out *out)
{
	struct control_op *op = arg;
	json_t *rows;

	if (out->err != CC_OK) {
		control_op_refuse(op, out->err, out->result);
		return;
	}
	rows = json_array();
	for (size_t i = 0; i < out->count; i++) {
		json_t *row = job_row(&out->rows[i].job);
		json_t *attempts = json_array();

		for (size_t n = 0; n < out->rows[i].attempt_count; n++)
			json_array_append_new(attempts, attempt_row(&out->rows[i].attempts[n]));
		json_object_set_new(row, "rows", attempts);
		json_array_append_new(rows, row);
	}
	json_object_set_new(op->answer, "rows", rows);
	if (out->next)
		json_object_set_new(
			op->answer, "cursor", json_sprintf("%llu", (unsigned long long)out->next));
	control_op_done(op);
}

void control_check(struct control_op *op)
{
	struct store_check_in in = {.tenant = control_op_text(op, "tenant"), .limit = CHECK_PAGE};
	cc_view cursor = control_op_text(op, "cursor");

	if (cursor.size && text_to_u64(cursor, 0, UINT64_MAX, &in.after) != CC_OK)
		control_op_fail(op, "malformed", "cursor");
	else
		store_check(op->queue->store, &in, on_check, op);
}

/*
 * ORPHAN: a certificate of ours that the queue has no use for.
 *
 * It is revoked only when the queue has named another winner twice, orphan_grace apart, in one generation of
 * its store, the keyvault approves (it does not for what was sealed for a device), and not too many go in
 * an hour.  It is kept and reported when the job is over and nothing, or nothing that may be revoked, is in
 * its place.  The queue is asked by the result of the claim's epoch: a SUCCESS it can still take, and to a
 * FAILURE it says whether the job is over.  While the job is not over, the certificate is nobody's orphan
 * yet: it waits, and it is what the job gets should it come again (intake.c).
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "connector/steps.h"
#include "proto/dsse.h"
#include <stdlib.h>
#include <string.h>

enum { ORDERS_REFUSED_MAX = 2 };

/* ---- ends ---- */

static void keep(struct flow *f, struct job *job, cc_view why)
{
	log_event(EV_ORPHAN_KEPT, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_HEX("serial", cc_blob_view(&job->certificate.serial)), LV_VIEW("reason", why),
		LV_TEXT("correlation", job->correlation));
	flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT);
}

static void take_revoked(struct flow *f, struct job *job)
{
	log_event(EV_ORPHAN_REVOKED, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("certificate", cc_blob_view(&job->certificate.sha256)),
		LV_HEX("serial", cc_blob_view(&job->certificate.serial)),
		LV_HEX("winner", cc_blob_view(&job->winner_sha256)),
		LV_TEXT("correlation", job->correlation));
	flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_ORPHAN_REVOKED);
}

/* ---- the revocation ---- */

static bool is_orphan(const struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN);
}

static void take_ca_answer(struct flow *f, struct job *job, const Ca__CaAnswer *answer)
{
	switch (answer->result) {
	case CA__CA_RESULT__CA_DONE:
		take_revoked(f, job);
		break;
	case CA__CA_RESULT__CA_REJECTED:
	case CA__CA_RESULT__CA_NOT_SUPPORTED:
		keep(f, job, codec_view(answer->reason));
		break;
	case CA__CA_RESULT__CA_ORDER_REFUSED:
		if (++job->orders_refused >= ORDERS_REFUSED_MAX)
			keep(f, job, codec_view(answer->reason));
		else
			flow_retry(f, job, 0);
		break;
	default: /* it could not be asked, or did not answer */
		flow_retry(f, job, 0);
		break;
	}
}

static void on_revoked(void *arg, cc_err err, const Ca__CaAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	crashpoint_pass(CRASH_CONNECTOR_AFTER_REVOKE);
	if (job == NULL || !is_orphan(job))
		return;
	if (err != CC_OK)
		flow_retry(f, job, 0);
	else
		take_ca_answer(f, job, answer);
}

static void on_decided(struct flow *f, struct job *job, cc_err err)
{
	struct ca_client *ca = ca_clients_find(f->cas, job_ca(job));
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	struct flow_ref *ref = flow_ref_new(f, job);
	crashpoint_pass(CRASH_CONNECTOR_BEFORE_REVOKE);
	err = ca == NULL ? CC_UNREACHABLE
			 : ca_client_revoke(ca, cc_blob_view(&job->order), on_revoked, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

/* It has not judged: this says nothing of the certificate. */
static bool is_passing(Vault__VaultStatus status)
{
	return status == VAULT__VAULT_STATUS__VAULT_BUSY ||
	       status == VAULT__VAULT_STATUS__VAULT_FAILED ||
	       status == VAULT__VAULT_STATUS__VAULT_NOT_ENROLLED;
}

static void on_approved(void *arg, cc_err err, const Vault__VaultAnswer *answer)
{
	struct flow *f = NULL;
	struct job *job = flow_ref_end(arg, &f);
	if (job == NULL || !is_orphan(job))
		return;
	if (err != CC_OK || is_passing(answer->status)) {
		flow_retry(f, job, err == CC_OK ? answer->retry_after_ms : 0);
	} else if (answer->status == VAULT__VAULT_STATUS__VAULT_OK &&
		   answer->answer_case == VAULT__VAULT_ANSWER__ANSWER_ORDER) {
		cc_blob_free(&job->order);
		job->order = codec_pack(answer->order);
		job->revoking = true;
		struct journal_change *c = flow_change(f); /* the decision's record first */
		flow_put_record(c, job);
		flow_commit(f, job, c, on_decided);
	} else {
		keep(f, job, codec_view(answer->detail));
	}
}

static void approve(struct flow *f, struct job *job)
{
	struct flow_ref *ref = NULL;
	cc_err err = flow_load(f, job, JOURNAL_TICKET, &job->ticket);
	if (err == CC_OK)
		err = flow_load(f, job, JOURNAL_CHAIN, &job->chain);
	if (err == CC_NOT_FOUND) {
		keep(f, job, cc_view_text("its chain was too large to be kept"));
		return;
	}
	if (err != CC_OK) {
		f->events->fatal(f->arg, err);
		return;
	}
	ref = flow_ref_new(f, job);
	err = vault_client_approve_orphan(f->vault, cc_blob_view(&job->ticket), job_ca(job),
		cc_blob_view(&job->chain), on_approved, ref);
	if (err != CC_OK) {
		flow_ref_cancel(ref);
		flow_retry(f, job, 0);
	}
}

static void on_counted(struct flow *f, struct job *job, cc_err err)
{
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else if (is_orphan(job))
		approve(f, job);
}

/* Counted on the disk first: a restart does not begin the hour anew. */
static void revoke(struct flow *f, struct job *job)
{
	struct journal_change *c = NULL;
	int64_t left_ms = 0;
	if (job->orphan_counted) {
		approve(f, job);
	} else if (journal_orphans(f->journal, &left_ms) >= f->settings.orphan_max_per_hour) {
		flow_retry(f, job, left_ms);
	} else {
		job->orphan_counted = true;
		c = flow_change(f);
		journal_change_orphan(c);
		flow_commit(f, job, c, on_counted);
	}
}

/* ---- the queue's word ---- */

static bool is_mine(const struct job *job, const Certq__CertificateId *winner)
{
	return cc_view_equal(
		codec_view(winner->cert_sha256), cc_blob_view(&job->certificate.sha256));
}

static void take_first(struct flow *f, struct job *job, const Certq__CertificateId *winner)
{
	struct journal_change *c = flow_change(f);
	flow_set_winner(f, job, winner);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
}

/* The job goes on: with another, or soon with us again.  Past the time in which anybody can bring a result, what
 * became of the certificate is not known. */
static void wait_for_end(struct flow *f, struct job *job)
{
	job->sent = false;
	if (clock_realtime_ms() >= job->not_after_s * 1000 + FLOW_HOLD_MS) {
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_IN_DOUBT);
		return;
	}
	job_forget_blobs(job);
	flow_retry(f, job, 0);
}

/* An answer to the question: who won?  A certificate that has won under another claim of ours is that one's, and
 * this one has made nothing: each certificate stands at one claim. */
static void take_winner(struct flow *f, struct job *job, const Certq__CertificateId *winner)
{
	bool first = job->winner_sha256.size == 0 ||
		     job->winner_generation != journal_generation(f->journal);
	job->sent = false;
	if (winner == NULL)
		keep(f, job, cc_view_text("the queue names no certificate in its place"));
	else if (is_mine(job, winner) && job->success)
		flow_end(f, job, job_kind_text(job->kind));
	else if (is_mine(job, winner))
		flow_settle(f, job, CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	else if (first)
		take_first(f, job, winner);
	else
		revoke(f, job);
}

void flow_take_orphan_ack(struct flow *f, struct job *job, const Certq__ResultAck *ack)
{
	switch (ack->verdict) {
	case CERTQ__RESULT_VERDICT__RESULT_STORED:
	case CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME:
		if (job->success)
			flow_end(f, job, job_kind_text(job->kind));
		else
			keep(f, job, cc_view_text("its job has failed"));
		break;
	case CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE:
		take_winner(f, job, ack->winner);
		break;
	case CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER:
		job->sent = false;
		flow_retry(f, job, ack->retry_after_ms);
		break;
	case CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH:
	case CERTQ__RESULT_VERDICT__RESULT_INVALID:
		wait_for_end(f, job);
		break;
	default: /* dead, cancelled, not known: nobody is in its place */
		take_winner(f, job, NULL);
		break;
	}
}

/* A certificate that came late has no result of its claim's epoch. */
static void record_question(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	flow_put_question(c, job);
	flow_commit_step(f, job, c);
}

static void ask(struct flow *f, struct job *job)
{
	Certq__Result *result = NULL;
	cc_err err = flow_load(f, job, JOURNAL_RESULT, &job->result);
	if (err == CC_OK)
		err = codec_decode(&certq__result__descriptor, cc_blob_view(&job->result),
			WIRE_MESSAGE_MAX, &result);
	if (err == CC_NOT_FOUND || (err == CC_OK && result->epoch != job->epoch))
		record_question(f, job);
	else if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else if (session_send_result(f->session, result))
		flow_wait_answer(f, job);
	codec_free(result);
}

static void wait_for_grace(struct flow *f, struct job *job, int64_t now)
{
	job_forget_blobs(job);
	scheduler_set(f->scheduler, job, job->orphan_due - now);
}

void step_orphan(struct flow *f, struct job *job)
{
	int64_t now = clock_boottime_ms();
	if (!f->resumed || job->sent || !session_can_send(f->session))
		return;
	if (text_equal(cc_view_text(job->code), FLOW_KEY_MISMATCH)) /* never touched */
		keep(f, job, cc_view_text("its key is not the job's"));
	else if (job->revoking)
		approve(f, job); /* the queue might take the certificate after all */
	else if (job->winner_sha256.size > 0 && job->orphan_due > now)
		wait_for_grace(f, job, now);
	else if (!flow_has_room_for_result(f))
		flow_retry(f, job, 0);
	else
		ask(f, job);
}

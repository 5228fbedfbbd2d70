/*
 * What the queue's store, which went back in time, says of our jobs: a result that it has lost is sent again, as it
 * was or as RESULT_EXPIRED, and a claim that it has under another epoch is ours under that one.
 *
 * It says so in answer to an offer (flow_offer.c), or at any time of a job that it did not know and that is
 * submitted again.  Everything is on disk before it is said; nothing is issued or revoked.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include <string.h>

/* ---- a result that the store has lost ---- */

static cc_view fixed(ProtobufCBinaryData bytes, size_t size)
{
	static const uint8_t none[32];
	return bytes.len == size ? codec_view(bytes) : cc_view_of(none, size);
}

/* The exact bytes, under the epoch that the store has for it now. */
static cc_err put_bytes(struct journal_change *c, cc_view id, cc_view bytes, uint32_t epoch)
{
	Certq__Result *result = NULL;
	cc_blob packed = CC_BLOB_NONE;
	cc_err err = CC_OK;
	TRY(codec_decode(&certq__result__descriptor, bytes, WIRE_MESSAGE_MAX, &result));
	if (result->epoch != epoch) {
		result->epoch = epoch;
		packed = codec_pack(result);
		journal_change_blob(c, id, JOURNAL_RESULT, cc_blob_view(&packed));
	}
out:
	cc_blob_free(&packed);
	codec_free(result);
	return err;
}

static cc_err keep_bytes(struct flow *f, struct journal_change *c, cc_view id, uint32_t epoch)
{
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = journal_get_blob(f->journal, id, JOURNAL_RESULT, &bytes);
	if (err == CC_OK)
		err = put_bytes(c, id, cc_blob_view(&bytes), epoch);
	cc_blob_free(&bytes);
	return err;
}

static void put_failure(struct journal_change *c, cc_view id, const char *code, Journal__OpenJob *r)
{
	Certq__Result result = CERTQ__RESULT__INIT;
	Certq__CertificateId certificate = CERTQ__CERTIFICATE_ID__INIT;
	cc_blob packed = CC_BLOB_NONE;
	r->success = false;
	r->code = codec_text(code);
	certificate.cert_sha256 = r->cert_sha256;
	certificate.issuer = r->issuer;
	certificate.serial = r->serial;
	result.job_id = codec_bytes(id);
	result.epoch = r->epoch;
	result.code = r->code;
	result.certificate = &certificate;
	result.settle = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	packed = codec_pack(&result);
	journal_change_blob(c, id, JOURNAL_RESULT, cc_blob_view(&packed));
	cc_blob_free(&packed);
}

static void fill_record(const Journal__DoneJob *done, uint32_t epoch, Journal__OpenJob *r)
{
	journal__open_job__init(r);
	r->state = JOURNAL__JOB_STATE__STATE_RESULT;
	r->kind = done->kind;
	r->epoch = epoch;
	r->run = done->run;
	r->ca = text_is_name(codec_view(done->ca)) ? done->ca : codec_text("unknown");
	r->txid = codec_bytes(fixed(done->txid, 16));
	r->csr_sha256 = codec_bytes(fixed(done->csr_sha256, 32));
	r->spki_sha256 = codec_bytes(fixed(done->spki_sha256, 32));
	r->created_ms = done->time_ms;
	r->correlation_id = done->correlation_id;
	r->cert_sha256 = done->cert_sha256;
	r->issuer = done->issuer;
	r->serial = done->serial;
	r->success = true;
	r->stored = true;
	r->not_after_s = done->not_after_s;
	r->body_sha256 = done->body_sha256;
	r->hold_until_ms = clock_realtime_ms() + FLOW_HOLD_MS;
	r->n_cas = 1;
	r->cas = &r->ca;
}

cc_err flow_send_again(struct flow *f, cc_view id, const Journal__DoneJob *done, uint32_t epoch)
{
	struct journal_change *c = NULL;
	struct job *job = NULL;
	Journal__OpenJob record;
	cc_err err = CC_OK;
	if (jobs_find(f->jobs, id) != NULL)
		return CC_OK; /* it is open again, and speaks for itself */
	c = flow_change(f);
	fill_record(done, epoch, &record);
	err = done->state == JOURNAL__JOB_STATE__STATE_DONE ? keep_bytes(f, c, id, epoch)
							    : CC_NOT_FOUND;
	if (err == CC_NOT_FOUND || err == CC_MALFORMED)
		put_failure(c, id, "result_expired", &record);
	else
		TRY(err);
	err = CC_OK;
	job = jobs_add(f->jobs, id);
	TRY(job_from_record(job, &record));
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_RESULT);
	journal_change_reopen(c, id, &record);
	flow_commit_step(f, job, c);
	c = NULL;
out:
	journal_change_free(c);
	return err;
}

void flow_fail_stored(struct flow *f, struct job *job, const char *code)
{
	struct journal_change *c = flow_change(f);
	Journal__OpenJob record = JOURNAL__OPEN_JOB__INIT;
	record.epoch = job->epoch;
	record.cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	record.issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	record.serial = codec_bytes(cc_blob_view(&job->certificate.serial));
	put_failure(c, job_id_view(job), code, &record);
	job->success = false;
	job_set_code(job, cc_view_text(code), 0);
	job_forget_blobs(job);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
}

/* ---- a claim that the store has under another epoch ---- */

static void renumber_earlier(struct job *job, uint32_t was, uint32_t epoch)
{
	for (size_t i = 0; i < job->earlier_count; i++) {
		if (job->earlier[i].epoch == was) {
			job->earlier[i].epoch = epoch;
			job->earlier[i].told = false;
		}
	}
}

/* The store has one claim for both, as the same was asked of the same CA: it is settled by what is newer here. */
static void merge_claims(struct job *job)
{
	for (size_t i = job->earlier_count; i > 0; i--) {
		const struct job_claim *claim = &job->earlier[i - 1];
		bool twice = claim->epoch == job->epoch && text_equal(job_ca(job), claim->ca);
		for (size_t k = i; k < job->earlier_count && !twice; k++)
			twice = claim->epoch == job->earlier[k].epoch &&
				strcmp(claim->ca, job->earlier[k].ca) == 0;
		if (twice)
			job_drop_earlier(job, i - 1);
	}
}

/* Not held any more.  That the queue did not know it is kept: what it has under this id may be another job, and
 * then it does not take the result (result_ack.c). */
static void end_hold(const struct flow *f, struct job *job)
{
	if (job->hold_generation != 0)
		job->hold_generation = journal_generation(f->journal);
}

/* What is under way for the job goes on, and speaks of the new epoch when it is done. */
static cc_err renumber_present(
	struct flow *f, struct job *job, struct journal_change *c, uint32_t epoch)
{
	cc_err err = CC_NOT_FOUND;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN))
		err = flow_load(f, job, JOURNAL_RESULT, &job->result);
	if (err == CC_OK)
		err = put_bytes(c, job_id_view(job), cc_blob_view(&job->result), epoch);
	if (err != CC_OK && err != CC_NOT_FOUND) /* an orphan may have none */
		return err;
	cc_blob_free(&job->result); /* as the journal has it from now on */
	job->epoch = epoch;
	end_hold(f, job);
	job->sent = false; /* an answer to what went out under the old one is not taken */
	return CC_OK;
}

/* Its end is on its way to the disk, and no record of it may follow. */
static bool is_over(const struct job *job)
{
	return flow_is(job, JOURNAL__JOB_STATE__STATE_DONE) ||
	       flow_is(job, JOURNAL__JOB_STATE__STATE_FAILED);
}

cc_err flow_renumber(struct flow *f, cc_view id, uint32_t was, uint32_t epoch)
{
	struct job *job = jobs_find(f->jobs, id);
	struct journal_change *c = NULL;
	cc_err err = CC_OK;
	if (job == NULL || !job->durable || was == epoch || is_over(job))
		return CC_OK;
	c = flow_change(f);
	if (job->epoch == was)
		TRY(renumber_present(f, job, c, epoch));
	else
		renumber_earlier(job, was, epoch);
	merge_claims(job);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
	c = NULL;
out:
	journal_change_free(c);
	return err;
}

/* ---- a job that the store did not know is submitted again ---- */

/* Its result is here and open: under the epoch of today, without waiting for another generation.  A certificate that
 * came late has none; then the failure by which the queue is asked about it has that epoch (step_orphan.c). */
static cc_err send_held(struct flow *f, struct job *job, uint32_t epoch)
{
	struct journal_change *c = NULL;
	cc_err err = CC_OK;
	if (job->holds > 0) /* it is just being held: its step comes after that */
		end_hold(f, job);
	if (job->sent || job->holds > 0)
		return CC_OK;
	c = flow_change(f);
	err = keep_bytes(f, c, job_id_view(job), epoch);
	if (err == CC_NOT_FOUND)
		err = CC_OK;
	TRY(err);
	scheduler_clear(f->scheduler, job);
	job_forget_blobs(job);
	job->epoch = epoch;
	end_hold(f, job);
	if (!job->revoking) /* nobody has won in its place: it is asked about now, a winner twice again */
		cc_blob_free(&job->winner_sha256);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
	c = NULL;
out:
	journal_change_free(c);
	return err;
}

/* Over: the result again, or that it is not kept; of an end without one the store is to know that too. */
static cc_err send_done(struct flow *f, cc_view id, uint32_t epoch)
{
	Journal__DoneJob none = JOURNAL__DONE_JOB__INIT, *done = NULL;
	cc_err err = journal_get_done(f->journal, id, &done);
	none.kind = codec_text(job_kind_text(JOB_KIND_ISSUE));
	none.time_ms = clock_realtime_ms();
	if (err == CC_OK)
		err = flow_send_again(f, id, done, epoch);
	else if (err == CC_NOT_FOUND)
		err = flow_send_again(f, id, &none, epoch);
	codec_free(done);
	return err;
}

static cc_err take_recall(struct flow *f, const Certq__OfferAnswer *a)
{
	struct job *job = jobs_find(f->jobs, codec_view(a->job_id));
	if (job == NULL)
		return a->verdict == CERTQ__OFFER_VERDICT__OFFER_SEND
			       ? send_done(f, codec_view(a->job_id), a->epoch)
			       : CC_OK;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
		flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN))
		return send_held(f, job, a->epoch);
	/* its own state says what is next; of several claims it is not known which one is meant */
	return a->verdict == CERTQ__OFFER_VERDICT__OFFER_SAME && job->earlier_count == 0
		       ? flow_renumber(f, job_id_view(job), job->epoch, a->epoch)
		       : CC_OK;
}

void flow_take_recalls(struct flow *f, const Certq__OfferAck *ack)
{
	cc_err err = CC_OK;
	for (size_t i = 0; i < ack->n_answers && err == CC_OK; i++)
		err = take_recall(f, ack->answers[i]);
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
}

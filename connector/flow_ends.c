/*
 * How a job ends: a result to be sent, a settlement, an orphan that is kept, or given back.
 *
 * A job that has no claim ends in memory (READY_TO_SEND), since the queue can give it again; one that
 * has a claim is recorded first (RESULT, SETTLING, ORPHAN).
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "base/hash.h"
#include "connector/steps.h"
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static const int64_t header_keep_ms = INT64_C(7) * 86400 * 1000;

/* ---- results ---- */

/* The result is in job->result.  Persist before you speak. */
static void record_result(struct flow *f, struct job *job)
{
	struct journal_change *c = flow_change(f);
	bool claimed = job->durable;
	flow_resolve_earlier(job);
	flow_set_state(f, job,
		claimed ? JOURNAL__JOB_STATE__STATE_RESULT
			: JOURNAL__JOB_STATE__STATE_READY_TO_SEND);
	if (claimed) {
		job->hold_until_ms = clock_realtime_ms() + FLOW_HOLD_MS;
		flow_put_record(c, job);
		journal_change_blob(
			c, job_id_view(job), JOURNAL_RESULT, cc_blob_view(&job->result));
		if (job->settle == CERTQ__SETTLEMENT__SETTLE_IN_DOUBT && job->doubtful)
			flow_put_doubt(c, job);
		else
			flow_put_claim_known(c, job);
	}
	job_forget_delivery(job);
	flow_commit_step(f, job, c);
}

void flow_put_certificate(const struct job *job, Certq__CertificateId *to)
{
	certq__certificate_id__init(to);
	to->cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	to->issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	to->serial = codec_bytes(cc_blob_view(&job->certificate.serial));
}

static void pack_result(struct job *job, Certq__Result *r, const Certq__ResultBundle *bundle)
{
	uint8_t digest[SHA256_SIZE];
	Certq__CertificateId certificate = CERTQ__CERTIFICATE_ID__INIT;
	Certq__ResultBundle copy = CERTQ__RESULT_BUNDLE__INIT;
	r->job_id = codec_bytes(job_id_view(job));
	r->epoch = job->epoch;
	if (job->certificate.sha256.size > 0) {
		flow_put_certificate(job, &certificate);
		r->certificate = &certificate;
	}
	if (bundle != NULL) {
		cc_blob packed = codec_pack(bundle);
		copy = *bundle;
		hash_sha256(cc_blob_view(&packed), digest);
		cc_blob_free(&packed);
		r->bundle = &copy;
		r->digest = codec_bytes(cc_view_of(digest, sizeof digest));
	}
	cc_blob_free(&job->result);
	job->result = codec_pack(r);
}

void flow_succeed(struct flow *f, struct job *job, const Certq__ResultBundle *bundle)
{
	Certq__Result r = CERTQ__RESULT__INIT;
	r.success = true;
	job->success = true;
	pack_result(job, &r, bundle);
	record_result(f, job);
}

/* What is known of the claim of a job that fails. */
static Certq__Settlement settlement_of(const struct job *job)
{
	if (!job->durable)
		return CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	if (job->certificate.sha256.size > 0 || job->doubtful || job->risked)
		return CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	return CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
}

void flow_fail(struct flow *f, struct job *job, const struct flow_failure *why)
{
	Certq__Result r = CERTQ__RESULT__INIT;
	job->success = false;
	job_set_code(job, why->code, why->event);
	log_event(job->kind == JOB_KIND_REWRAP   ? EV_PFX_REQUEST_FAILURE
		  : job->kind == JOB_KIND_REVOKE ? EV_REVOKE_REQUEST_FAILURE
						 : EV_PKCS_REQUEST_FAILURE,
		LV_JOB(job_id_view(job)), LV_TEXT("code", job->code), LV_U64("about", why->event),
		LV_VIEW("reason", why->detail), LV_VIEW("ca", job_ca(job)),
		LV_TEXT("correlation", job->correlation));
	r.code = codec_text(job->code);
	r.event = why->event;
	r.retryable = why->retryable;
	if (f->list != NULL && f->list->report_full_detail && text_is_clean(why->detail, 1024))
		r.detail = codec_bytes(why->detail);
	r.settle = settlement_of(job);
	job->settle = r.settle;
	pack_result(job, &r, why->refusal);
	record_result(f, job);
}

/* ---- given back ---- */

void flow_give_back(struct flow *f, struct job *job, Certq__NackReason reason, int64_t delay_ms,
	bool count_attempt, bool exclude_me)
{
	certq__nack__init(&job->nack);
	job->nack.reason = reason;
	job->nack.epoch = job->epoch;
	job->nack.retry_delay_ms = (uint32_t)delay_ms;
	job->nack.count_attempt = count_attempt;
	job->nack.exclude_me = exclude_me;
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_RECEIVED);
	job->durable = false;
	leases_set(f->leases, job, 0);
	log_event(EV_JOB_GIVEN_BACK, LV_JOB(job_id_view(job)), LV_I64("reason", reason),
		LV_I64("delay_ms", delay_ms), LV_TEXT("correlation", job->correlation));
	f->outcomes[FLOW_GIVEN_BACK]++;
	/* a call that is under way does not matter any more */
	if (f->session == NULL || !session_can_send(f->session))
		flow_drop(f, job);
	else
		step_give_back(f, job);
}

/* ---- the claim's end ---- */

void flow_put_doubt(struct journal_change *c, const struct job *job)
{
	Journal__Doubt doubt = JOURNAL__DOUBT__INIT;
	log_event(EV_CLAIM_IN_DOUBT, LV_JOB(job_id_view(job)), LV_VIEW("ca", job_ca(job)),
		LV_HEX("spki", cc_view_of(job->spki_sha256, sizeof job->spki_sha256)),
		LV_HEX("csr", cc_view_of(job->csr_sha256, sizeof job->csr_sha256)),
		LV_TEXT("correlation", job->correlation));
	doubt.ca = codec_bytes(job_ca(job));
	doubt.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	doubt.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	doubt.from_ms = job->created_ms;
	doubt.to_ms = clock_realtime_ms();
	journal_change_doubt(c, job_id_view(job), &doubt);
}

void flow_put_claim_known(struct journal_change *c, const struct job *job)
{
	if (!job->risked)
		journal_change_no_doubt(c, job_id_view(job), job_ca(job));
}

void flow_settle(struct flow *f, struct job *job, Certq__Settlement outcome)
{
	struct journal_change *c = flow_change(f);
	if (outcome == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED ||
		(outcome == CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED && job->risked))
		outcome = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_SETTLING);
	leases_set(f->leases, job, 0);
	job->settle = outcome;
	flow_resolve_earlier(job);
	flow_put_record(c, job);
	if (outcome == CERTQ__SETTLEMENT__SETTLE_IN_DOUBT)
		flow_put_doubt(c, job);
	else
		flow_put_claim_known(c, job);
	flow_commit_step(f, job, c);
}

void flow_resolve(struct flow *f, struct job *job, const char *code)
{
	struct journal_change *c = flow_change(f);
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_SETTLING);
	flow_set_deadline(job, clock_realtime_ms() + f->settings.watch_ms);
	leases_set(f->leases, job, 0);
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	job_set_code(job, cc_view_text(code), EV_PKCS_ISSUED_FAILURE);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
}

void flow_claim_failed(struct flow *f, struct job *job, const struct flow_failure *why)
{
	bool told = flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH) ||
		    (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) && !job->kept);
	if (told)
		flow_settle(f, job,
			job->doubtful ? CERTQ__SETTLEMENT__SETTLE_IN_DOUBT
				      : CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
	else
		flow_fail(f, job, why);
}

void flow_end_in_doubt(struct flow *f, struct job *job)
{
	struct flow_failure why = {
		.code = cc_view_text(job->code[0] != '\0' ? job->code : FLOW_IN_DOUBT),
		.event = EV_CLAIM_IN_DOUBT,
		.detail = cc_view_text("the CA cannot tell what became of the request")};
	job->doubtful = true;
	flow_claim_failed(f, job, &why);
}

void flow_set_winner(struct flow *f, struct job *job, const Certq__CertificateId *winner)
{
	cc_blob_free(&job->winner_sha256);
	job->winner_sha256 = cc_blob_copy(codec_view(winner->cert_sha256));
	job->winner_told_ms = clock_realtime_ms();
	job->winner_generation = journal_generation(f->journal);
	job->orphan_due = clock_boottime_ms() + f->settings.orphan_grace_ms;
}

void flow_orphan(struct flow *f, struct job *job, const Certq__CertificateId *winner)
{
	struct journal_change *c = flow_change(f);
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_ORPHAN);
	job->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	if (winner != NULL)
		flow_set_winner(f, job, winner);
	flow_put_record(c, job);
	flow_commit_step(f, job, c);
}

void flow_put_question(struct journal_change *c, struct job *job)
{
	Certq__Result r = CERTQ__RESULT__INIT;
	job->success = false;
	r.code = codec_text(job->code[0] != '\0' ? job->code : FLOW_CLAIM_LOST);
	r.event = EV_PKCS_ISSUED_FAILURE;
	r.retryable = true;
	r.settle = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	pack_result(job, &r, NULL);
	flow_put_record(c, job);
	journal_change_blob(c, job_id_view(job), JOURNAL_RESULT, cc_blob_view(&job->result));
}

/* ---- over ---- */

static void on_ended(struct flow *f, struct job *job, cc_err err)
{
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		flow_drop(f, job);
}

static void count_end(struct flow *f, const struct job *job)
{
	static const enum flow_outcome good[] = {
		[JOB_KIND_ISSUE] = FLOW_ISSUED,
		[JOB_KIND_REWRAP] = FLOW_REWRAPPED,
		[JOB_KIND_CHAIN] = FLOW_CHAIN,
		[JOB_KIND_REVOKE] = FLOW_REVOKED,
	};
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING))
		f->outcomes[FLOW_LOST]++;
	else
		f->outcomes[job->success ? good[job->kind] : FLOW_FAILED]++;
}

static event_id end_event(const struct job *job)
{
	if (job->success && job->kind == JOB_KIND_ISSUE)
		return EV_PKCS_REQUEST_SUCCESS;
	if (job->success && job->kind == JOB_KIND_REWRAP)
		return EV_PFX_REQUEST_SUCCESS;
	if (job->success && job->kind == JOB_KIND_REVOKE)
		return EV_REVOKE_REQUEST_SUCCESS;
	return EV_JOB_ENDED;
}

void flow_end(struct flow *f, struct job *job, const char *outcome)
{
	uint8_t digest[SHA256_SIZE];
	Journal__DoneJob done = JOURNAL__DONE_JOB__INIT;
	int64_t own_end = 0;
	cc_err err = CC_OK;
	if (flow_waits_for_earlier(f, job, outcome))
		return;
	log_event(end_event(job), LV_JOB(job_id_view(job)), LV_TEXT("outcome", outcome),
		LV_TEXT("code", job->code), LV_TEXT("kind", job_kind_text(job->kind)),
		LV_VIEW("ca", job_ca(job)), LV_TEXT("correlation", job->correlation));
	count_end(f, job);
	if (!job->durable) {
		flow_drop(f, job);
		return;
	}
	/* the keyvault has taken this job, so its end can be believed */
	own_end = job->not_after_s * 1000;
	err = flow_load(f, job, JOURNAL_RESULT, &job->result);
	if (err != CC_OK && err != CC_NOT_FOUND) {
		f->events->fatal(f->arg, err);
		return;
	}
	flow_set_state(f, job,
		job->success ? JOURNAL__JOB_STATE__STATE_DONE : JOURNAL__JOB_STATE__STATE_FAILED);
	hash_sha256(cc_blob_view(&job->result), digest);
	done.state = job->state;
	done.epoch = job->epoch;
	done.run = job->run;
	done.kind = codec_text(job_kind_text(job->kind));
	done.outcome = codec_text(outcome);
	done.ca = codec_bytes(job_ca(job));
	done.cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	done.result_sha256 = codec_bytes(cc_view_of(digest, sizeof digest));
	done.issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	done.serial = codec_bytes(cc_blob_view(&job->certificate.serial));
	done.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	done.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	done.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	done.body_sha256 = codec_bytes(cc_blob_view(&job->body_sha256));
	done.correlation_id = codec_text(job->correlation);
	done.not_after_s = job->not_after_s;
	done.time_ms = clock_realtime_ms();
	done.keep_until_ms = done.time_ms + header_keep_ms;
	if (done.keep_until_ms < own_end)
		done.keep_until_ms = own_end;
	struct journal_change *c = flow_change(f);
	journal_change_done(c, job_id_view(job), &done);
	flow_commit(f, job, c, on_ended);
}

/* ---- certificates: public data only ---- */

static cc_err set_leaf(X509 *cert, cc_view der, struct job *job)
{
	uint8_t digest[SHA256_SIZE];
	unsigned char *issuer = NULL;
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	ASN1_INTEGER *copy = NULL;
	unsigned char *number = NULL, *at = NULL;
	int issuer_size = i2d_X509_NAME(X509_get_issuer_name(cert), &issuer), number_size = 0;
	long head = 0;
	int tag = 0, class = 0;
	const unsigned char *content = NULL;
	cc_err err = CC_OK;
	ENSURE(issuer_size > 0, cc_fail_openssl("a certificate's issuer"));
	ENSURE(issuer_size <= FLOW_ISSUER_MAX,
		cc_fail(CC_TOO_LARGE,
			"the issuer of the CA's certificate has %d bytes, %d are allowed",
			issuer_size, FLOW_ISSUER_MAX));
	/* the content octets as they are in the DER, a leading zero included */
	copy = ASN1_INTEGER_dup(serial);
	number_size = copy == NULL ? -1 : i2d_ASN1_INTEGER(copy, NULL);
	ENSURE(number_size > 2, cc_fail_openssl("a certificate's serial number"));
	ENSURE(number_size <= 2 + FLOW_SERIAL_MAX,
		cc_fail(CC_TOO_LARGE,
			"the serial number of the CA's certificate has %d bytes, %d are allowed",
			number_size - 2, FLOW_SERIAL_MAX));
	number = cc_alloc((size_t)number_size);
	at = number;
	i2d_ASN1_INTEGER(copy, &at);
	content = number;
	ENSURE(ASN1_get_object(&content, &head, &tag, &class, number_size) == 0,
		cc_fail_openssl("a certificate's serial number"));
	hash_sha256(der, digest);
	job_set_certificate(job, cc_view_of(digest, sizeof digest),
		cc_view_of(issuer, (size_t)issuer_size), cc_view_of(content, (size_t)head));
out:
	ASN1_INTEGER_free(copy);
	OPENSSL_free(issuer);
	free(number);
	return err;
}

static cc_err check_leaf_key(X509 *cert, const struct job *job)
{
	uint8_t digest[SHA256_SIZE];
	unsigned char *spki = NULL;
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);
	if (size <= 0)
		return cc_fail_openssl("a certificate's key");
	hash_sha256(cc_view_of(spki, (size_t)size), digest);
	OPENSSL_free(spki);
	if (!cc_view_equal(cc_view_of(digest, sizeof digest),
		    cc_view_of(job->spki_sha256, sizeof job->spki_sha256)))
		return cc_fail(CC_MISMATCH, "the CA's certificate is for another key");
	return CC_OK;
}

cc_err flow_read_leaf(cc_view der, struct job *job)
{
	const unsigned char *at = der.data;
	X509 *cert = NULL;
	cc_err err = CC_OK;
	ENSURE(der.size > 0 && der.size <= 48 * 1024,
		cc_fail(CC_MALFORMED, "the CA's certificate has %zu bytes", der.size));
	cert = d2i_X509(NULL, &at, (long)der.size);
	ENSURE(cert != NULL && at == der.data + der.size,
		cc_fail_openssl("the CA's certificate does not decode"));
	TRY(set_leaf(cert, der, job));
	TRY(check_leaf_key(cert, job));
out:
	X509_free(cert);
	return err;
}

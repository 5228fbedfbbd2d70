/*
 * Results: what a connector brings is checked against the job and the connector's registered
 * result key before the store takes it.  Without that signature a SUCCESS with a certificate, a
 * password or a chain is nothing; a failure that the keyvault did not see is the connector's word.
 */
#include "base/crashpoint.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/gateway_int.h"
#include "cloud-queue/queue_int.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <openssl/err.h>
#include <openssl/x509.h>

#define RETRY_MS   2000u
#define ISSUER_MAX 1024u
#define SERIAL_MAX 32u
#define CODE_MAX   64u
#define DETAIL_MAX 1024u

bool gateway_result_certificate_ok(const Certq__CertificateId *c)
{
	return !c || (c->cert_sha256.len == SHA256_SIZE && c->issuer.len <= ISSUER_MAX &&
			     c->serial.len <= SERIAL_MAX);
}

struct store_certificate gateway_result_certificate(const Certq__CertificateId *c)
{
	struct store_certificate to = {{0}, {0}, {0}};

	if (c) {
		to.sha256 = codec_view(c->cert_sha256);
		to.issuer = codec_view(c->issuer);
		to.serial = codec_view(c->serial);
	}
	return to;
}

/* ---- the answer ---- */

static void send_ack(struct gateway_session *s, const Certq__Result *r,
	Certq__ResultVerdict verdict, const struct store_certificate *winner)
{
	Certq__Envelope envelope = CERTQ__ENVELOPE__INIT;
	Certq__ResultAck ack = CERTQ__RESULT_ACK__INIT;
	Certq__CertificateId room;

	ack.job_id = r->job_id;
	ack.epoch = r->epoch;
	ack.verdict = verdict;
	if (winner)
		ack.winner = gateway_message_winner(winner, &room);
	if (verdict == CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER)
		ack.retry_after_ms = RETRY_MS;
	envelope.body_case = CERTQ__ENVELOPE__BODY_RESULT_ACK;
	envelope.result_ack = &ack;
	crashpoint_pass(CRASH_QUEUE_BEFORE_RESULT_ACK);
	gateway_session_send(s, &envelope);
}

static void refuse(struct gateway_session *s, const Certq__Result *r, cc_err err)
{
	log_event(EV_RESULT_REFUSED, LV_JOB(codec_view(r->job_id)),
		LV_TEXT("tenant", s->who.tenant), LV_TEXT("connector", s->who.name), LV_ERR(err));
	send_ack(s, r, CERTQ__RESULT_VERDICT__RESULT_INVALID, NULL);
}

static Certq__ResultVerdict verdict_of(const struct store_complete_out *out)
{
	if (out->err != CC_OK)
		return CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER;
	switch (out->result) {
	case STORE_ON_HOLD:
		return CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER;
	case STORE_STORED:
		return CERTQ__RESULT_VERDICT__RESULT_STORED;
	case STORE_DUPLICATE_SAME:
		return CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME;
	case STORE_ALREADY_DONE:
		return CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE;
	case STORE_ALREADY_DEAD:
		return CERTQ__RESULT_VERDICT__RESULT_ALREADY_DEAD;
	case STORE_CANCELLED:
		return CERTQ__RESULT_VERDICT__RESULT_CANCELLED;
	case STORE_STALE_EPOCH:
		return CERTQ__RESULT_VERDICT__RESULT_STALE_EPOCH;
	case STORE_UNKNOWN_JOB:
		return CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB;
	case STORE_UNKNOWN_ATTEMPT:
		return CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_ATTEMPT;
	default:
		return CERTQ__RESULT_VERDICT__RESULT_INVALID;
	}
}

static void on_completed(void *arg, const struct store_complete_out *out)
{
	struct gateway_op *op = arg;

	if (gateway_op_alive(op) &&
		!(out->err == CC_OK && gateway_message_superseded(op->session, out->result)))
		send_ack(op->session, op->envelope->result, verdict_of(out), &out->winner);
	gateway_op_end(op);
}

/* ---- what is checked ---- */

/* What the connector says; a signed result replaces the parts that it vouches for. */
static struct store_complete_in completion_of(const struct gateway_op *op)
{
	const struct gateway_session *s = op->session;
	const Certq__Result *r = op->envelope->result;

	return (struct store_complete_in){.tenant = cc_view_text(s->who.tenant),
		.connector = cc_view_text(s->who.name),
		.transport_sha256 = cc_view_of(s->who.certificate_sha256, SHA256_SIZE),
		.job_id = codec_view(r->job_id),
		.epoch = r->epoch,
		.success = r->success,
		.certificate = gateway_result_certificate(r->certificate),
		.error_code = codec_view(r->code),
		.error_detail = codec_view(r->detail),
		.error_event = r->event,
		.retryable = r->retryable,
		.settle = (enum store_settlement)r->settle};
}

/* Ends `op`. */
static void complete(struct gateway_op *op, const struct store_complete_in *in)
{
	store_complete(op->session->gateway->queue->store, in, on_completed, op);
}

static Certq__Outcome wanted_outcome(const Certq__Result *r, enum store_kind kind)
{
	if (!r->success)
		return CERTQ__OUTCOME__OUTCOME_REFUSED;
	switch (kind) {
	case STORE_ISSUE:
		return CERTQ__OUTCOME__OUTCOME_ISSUED;
	case STORE_REWRAP:
		return CERTQ__OUTCOME__OUTCOME_REWRAPPED;
	case STORE_CHAIN:
		return CERTQ__OUTCOME__OUTCOME_CHAIN;
	default:
		return CERTQ__OUTCOME__OUTCOME_UNSPECIFIED; /* no document has it */
	}
}

/* The clear copy of the certificate's digest is what winners are compared by: it must be true. */
static cc_err check_certificate(const Certq__Result *r, const Certq__ResultDocument *document)
{
	uint8_t digest[SHA256_SIZE];
	cc_err err = CC_OK;

	if (document->outcome != CERTQ__OUTCOME__OUTCOME_ISSUED)
		return CC_OK;
	hash_sha256(codec_view(document->certificate), digest);
	ENSURE(document->certificate.len > 0 && r->certificate &&
			cc_view_equal(codec_view(r->certificate->cert_sha256),
				cc_view_of(digest, sizeof(digest))),
		cc_fail(CC_MISMATCH,
			"the certificate in clear is not the one in the signed result"));
out:
	return err;
}

/* Issuer and serial as the certificate itself has them: what producers revoke by is not the
 * connector's word. */
static cc_err read_names(cc_view der, cc_blob *ret_issuer, cc_blob *ret_serial)
{
	const unsigned char *at = der.data;
	X509 *x = d2i_X509(NULL, &at, (long)der.size);
	unsigned char *issuer = NULL, *serial = NULL;
	int issuer_size, serial_size;
	cc_err err = CC_OK;

	ENSURE(x && at == der.data + der.size,
		cc_fail(CC_MALFORMED, "the signed result's certificate is not one"));
	issuer_size = i2d_X509_NAME(X509_get_issuer_name(x), &issuer);
	serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &serial);
	ENSURE(issuer_size > 0 && (size_t)issuer_size <= ISSUER_MAX && serial_size > 2 &&
			(size_t)serial_size <= SERIAL_MAX + 2,
		cc_fail(CC_TOO_LARGE, "issuer or serial of the signed result's certificate"));
	*ret_issuer = cc_blob_copy(cc_view_of(issuer, (size_t)issuer_size));
	/* without tag and length, which is one byte here */
	*ret_serial = cc_blob_copy(cc_view_of(serial + 2, (size_t)serial_size - 2));
out:
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	X509_free(x);
	ERR_clear_error();
	return err;
}

static cc_err check_bundle(const struct gateway_session *s, const Certq__Result *r,
	const struct store_fetch_out *job, Certq__ResultDocument **ret)
{
	Certq__ResultDocument *document = NULL;
	cc_err err = CC_OK;

	ENSURE(!r->success || job->job.kind != STORE_REVOKE,
		cc_fail(CC_MISMATCH, "a revocation that succeeded has nothing to sign"));
	TRY(result_verify(cc_blob_view(&s->result_spki), cc_view_text(s->who.tenant),
		codec_view(r->job_id), job->job.body_sha256, r->bundle,
		job->job.kind == STORE_REWRAP ? job->pfx : codec_view(r->bundle->pfx), &document));
	ENSURE(document->outcome == wanted_outcome(r, job->job.kind),
		cc_fail(CC_MISMATCH, "the signed outcome is not what the message says"));
	TRY(check_certificate(r, document));
	*ret = document;
	document = NULL;
out:
	codec_free(document);
	return err;
}

static void take_bundle(struct gateway_op *op, const struct store_fetch_out *job)
{
	const Certq__Result *r = op->envelope->result;
	struct store_complete_in in = completion_of(op);
	Certq__ResultDocument *document = NULL;
	cc_blob packed = CC_BLOB_NONE;
	cc_blob issuer = CC_BLOB_NONE;
	cc_blob serial = CC_BLOB_NONE;
	uint8_t digest[SHA256_SIZE];
	cc_err err = CC_OK;

	packed = codec_pack(r->bundle);
	hash_sha256(cc_blob_view(&packed), digest);
	ENSURE(r->digest.len == 0 ||
			cc_view_equal(codec_view(r->digest), cc_view_of(digest, sizeof(digest))),
		cc_fail(CC_MISMATCH, "the digest is not the bundle's"));
	TRY(check_bundle(op->session, r, job, &document));
	in.certificate = (struct store_certificate){{0}, {0}, {0}};
	if (document->outcome == CERTQ__OUTCOME__OUTCOME_ISSUED) {
		TRY(read_names(codec_view(document->certificate), &issuer, &serial));
		in.certificate = (struct store_certificate){codec_view(r->certificate->cert_sha256),
			cc_blob_view(&issuer), cc_blob_view(&serial)};
	}
	in.bundle = cc_blob_view(&packed);
	in.digest = cc_view_of(digest, sizeof(digest));
	if (document->code.len > 0)
		in.error_code = codec_view(document->code);
	if (document->event > 0)
		in.error_event = document->event;
	complete(op, &in);
out:
	if (err != CC_OK) {
		refuse(op->session, r, err);
		gateway_op_end(op);
	}
	codec_free(document);
	cc_blob_free(&packed);
	cc_blob_free(&issuer);
	cc_blob_free(&serial);
}

static void take_plain(struct gateway_op *op, enum store_kind kind)
{
	const Certq__Result *r = op->envelope->result;
	struct store_complete_in in = completion_of(op);
	const uint8_t none[SHA256_SIZE] = {0};

	if (r->success && kind != STORE_REVOKE) {
		refuse(op->session, r,
			cc_fail(CC_BAD_SIGNATURE, "a success without a signed result"));
		gateway_op_end(op);
		return;
	}
	in.digest = r->digest.len == SHA256_SIZE ? codec_view(r->digest)
						 : cc_view_of(none, sizeof(none));
	complete(op, &in);
}

static void on_fetched(void *arg, const struct store_fetch_out *out)
{
	struct gateway_op *op = arg;
	struct gateway_session *s = op->session;
	const Certq__Result *r = op->envelope->result;

	if (out->err == CC_OK && out->result == STORE_OK) {
		if (r->bundle)
			take_bundle(op, out);
		else
			take_plain(op, out->job.kind);
		return;
	}
	if (gateway_op_alive(op))
		send_ack(s, r,
			out->err == CC_OK ? CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB
					  : CERTQ__RESULT_VERDICT__RESULT_RETRY_LATER,
			NULL);
	gateway_op_end(op);
}

static bool result_ok(const Certq__Result *r)
{
	return r->job_id.len == JOB_ID_SIZE && text_is_clean(codec_view(r->code), CODE_MAX) &&
	       text_is_clean(codec_view(r->detail), DETAIL_MAX) &&
	       gateway_result_certificate_ok(r->certificate) &&
	       (r->digest.len == 0 || r->digest.len == SHA256_SIZE) &&
	       r->settle >= CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED &&
	       r->settle <= CERTQ__SETTLEMENT__SETTLE_IN_DOUBT &&
	       r->settle != CERTQ__SETTLEMENT__SETTLE_WINNER;
}

/* Also when the connection goes away meanwhile: a result that came is taken. */
void gateway_result_handle(struct gateway_session *s, Certq__Envelope *envelope)
{
	const Certq__Result *r = envelope->result;
	struct store_fetch_in in = {.tenant = cc_view_text(s->who.tenant),
		.job_id = codec_view(r->job_id),
		.want_document = true};

	if (!result_ok(r)) {
		gateway_session_fail(s, CERTQ__ERROR_CODE__ERROR_MALFORMED, "Result");
		codec_free(envelope);
		return;
	}
	if (gateway_session_busy(s))
		on_fetched(
			gateway_op_begin(s, envelope), &(struct store_fetch_out){.err = CC_BUSY});
	else
		store_fetch(
			s->gateway->queue->store, &in, on_fetched, gateway_op_begin(s, envelope));
}

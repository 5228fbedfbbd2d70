/*
 * A job's way through the gateway: credit, claim, result, giving back, reconnecting, the end.
 */
#include "tests/support/queue_peer.h"

/* ---- a job's way ---- */

static void jobs_come_only_for_credit_and_then_at_once(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope *first, *second;

	peer_make(&p, q, "job-1");
	peer_connect(&p);
	peer_submit(q, "credit-1");
	peer_submit(q, "credit-2");
	peer_assert_silent(&p);
	first = peer_take_job(&p, 1);
	peer_assert_silent(&p);
	second = peer_take_job(&p, 2);
	assert_false(
		cc_view_equal(codec_view(first->job->job_id), codec_view(second->job->job_id)));
	peer_assert_state(q, first->job, "leased");
	peer_say_credit(&p, 3, false);
	peer_submit(q, "credit-3"); /* a waiting credit is served as soon as work comes */
	codec_free(first);
	codec_free(second);
	first = peer_hear(&p, CERTQ__ENVELOPE__BODY_JOB);
	codec_free(first);
	peer_clear(&p);
}

/* The serial's content octets, in hex; free. */
static char *serial_of(const struct peer_answer *a)
{
	X509 *x = qrig_read_der(cc_blob_view(&a->certificate));
	unsigned char *der = NULL;
	int size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &der);
	char *text;

	assert_true(size > 2);
	text = text_hex_new(cc_view_of(der + 2, (size_t)size - 2));
	OPENSSL_free(der);
	X509_free(x);
	return text;
}

static void a_job_is_claimed_and_its_signed_result_is_stored(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	json_t *job, *result;
	cc_blob pfx = CC_BLOB_NONE;
	char *serial;

	peer_make(&p, q, "job-2");
	peer_connect(&p);
	peer_submit(q, "life-1");
	e = peer_take_job(&p, 1);
	assert_int_equal(peer_claim(&p, e->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	peer_answer_make(&a, &p, e->job);
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	assert_int_equal(peer_say_result(&p, &a, p.keys.result),
		CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME);
	job = peer_look(q, e->job->job_id, "?wait=5");
	result = json_object_get(job, "result");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "done");
	assert_string_equal(json_string_value(json_object_get(job, "connector")), "job-2");
	assert_string_equal(json_string_value(json_object_get(result, "type")), "issue");
	assert_string_equal(json_string_value(json_object_get(result, "pfx_profile")), "modern");
	serial = serial_of(&a); /* the certificate's own, whatever the connector says beside it */
	assert_string_equal(json_string_value(json_object_get(result, "serial")), serial);
	free(serial);
	assert_string_equal(json_string_value(json_object_get(result, "ca_profile")), "corp-user");
	assert_true(json_is_true(json_object_get(result, "attested")));
	assert_true(json_is_string(json_object_get(result, "not_after")));
	assert_int_equal(
		text_from_base64(
			cc_view_text(json_string_value(json_object_get(result, "pfx"))), 64, &pfx),
		CC_OK);
	assert_true(text_equal(cc_blob_view(&pfx), "the pfx"));
	json_decref(job);
	cc_blob_free(&pfx);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_result_in_protobuf_is_the_bundle_byte_for_byte(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	char text[JOB_TEXT_SIZE];
	char *request;
	struct tls_client *c;
	struct tls_client_reply r;
	Certq__ResultBundle *bundle = NULL;

	peer_make(&p, q, "job-3");
	peer_connect(&p);
	peer_submit(q, "bytes-1");
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	text_job_id(codec_view(e->job->job_id), text);
	request = cc_asprintf("GET " PEER_JOBS "/%s/result HTTP/1.1\r\nHost: x\r\n"
			      "Accept: application/x-protobuf\r\nAuthorization: Bearer %s\r\n\r\n",
		text, q->token);
	c = tls_client_open(q->producer_port, NULL);
	r = tls_client_ask(c, cc_view_text(request));
	assert_int_equal(r.status, 200);
	assert_true(tls_client_reply_has(&r, "content-type: application/x-protobuf"));
	assert_int_equal(codec_decode(&certq__result_bundle__descriptor, cc_blob_view(&r.body),
				 65536, &bundle),
		CC_OK);
	assert_true(text_equal(codec_view(bundle->sealed_password), "the sealed password"));
	assert_true(cc_view_equal(codec_view(bundle->result->body), cc_blob_view(&a.body)));
	codec_free(bundle);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	free(request);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_result_that_does_not_verify_is_invalid(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	EVP_PKEY *stranger = fixture_key("ed25519");

	peer_make(&p, q, "job-4");
	peer_connect(&p);
	peer_submit(q, "forged-1");
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	assert_int_equal(peer_say_result(&p, &a, stranger), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.bundle.pfx = codec_text("another pfx");
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.bundle.pfx = codec_text("the pfx");
	a.doc.outcome = CERTQ__OUTCOME__OUTCOME_REFUSED;
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.doc.outcome = CERTQ__OUTCOME__OUTCOME_ISSUED;
	a.cert_sha256[0] ^= 1; /* the certificate in clear is a lie */
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.cert_sha256[0] ^= 1;
	a.result.bundle = NULL; /* a success that nobody signed */
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	peer_assert_state(q, e->job, "leased");
	a.result.bundle = &a.bundle;
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	EVP_PKEY_free(stranger);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_refusal_of_the_keyvault_fails_the_job_with_its_code(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	json_t *job, *error;

	peer_make(&p, q, "job-5");
	peer_connect(&p);
	peer_submit(q, "refused-1");
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	a.doc.outcome = CERTQ__OUTCOME__OUTCOME_REFUSED;
	a.doc.certificate = (ProtobufCBinaryData){0};
	a.doc.device_spki = a.doc.certificate;
	a.doc.pfx_sha256 = a.doc.certificate;
	a.doc.sealed_sha256 = a.doc.certificate;
	a.doc.seal = CERTQ__SEAL__SEAL_UNSPECIFIED;
	a.doc.pfx_profile = CERTQ__PFX_PROFILE__PFX_UNSPECIFIED;
	a.doc.code = codec_text("policy_denied");
	a.doc.event = 5102;
	a.bundle.pfx = a.doc.certificate;
	a.bundle.sealed_password = a.doc.certificate;
	a.result.success = false;
	a.result.certificate = NULL;
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	job = peer_look(q, e->job->job_id, "");
	error = json_object_get(job, "error");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "failed");
	assert_string_equal(json_string_value(json_object_get(error, "code")), "policy_denied");
	assert_int_equal(json_integer_value(json_object_get(error, "event")), 5102);
	assert_true(json_is_string(json_object_get(error, "next_step")));
	assert_true(json_is_true(json_object_get(json_object_get(job, "result"), "attested")));
	json_decref(job);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_revocation_is_done_on_the_connectors_word(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	struct fixture_job j;
	Certq__Envelope *e;
	json_t *job, *result;

	peer_make(&p, q, "job-revoke");
	peer_connect(&p);
	fixture_revoke(&j, &q->tenant, "revoke-1", "corp-user");
	peer_submit_document(q, fixture_sign(&q->tenant, &j, NULL));
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	a.result.certificate = NULL; /* a bundle has no place in it, whoever signs */
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.result.bundle = NULL;
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_STORED);
	assert_int_equal(
		peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_DUPLICATE_SAME);
	job = peer_look(q, e->job->job_id, "");
	result = json_object_get(job, "result");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "done");
	assert_string_equal(json_string_value(json_object_get(job, "kind")), "revoke");
	assert_string_equal(json_string_value(json_object_get(result, "type")), "revoke");
	assert_string_equal(json_string_value(json_object_get(result, "ca_profile")), "corp-user");
	assert_true(json_is_false(json_object_get(result, "attested")));
	json_decref(job);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_revocation_may_fail_without_a_claim_to_settle(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	struct fixture_job j;
	Certq__Envelope *e;
	json_t *job, *error;

	peer_make(&p, q, "job-revoke-2");
	peer_connect(&p);
	fixture_revoke(&j, &q->tenant, "revoke-2", "corp-user");
	peer_submit_document(q, fixture_sign(&q->tenant, &j, NULL));
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	a.result.success = false;
	a.result.bundle = NULL;
	a.result.certificate = NULL;
	a.result.code = codec_text("ca_rejected");
	a.result.event = 6003;
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_STORED);
	job = peer_look(q, e->job->job_id, "");
	error = json_object_get(job, "error");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "failed");
	assert_string_equal(json_string_value(json_object_get(error, "code")), "ca_rejected");
	assert_null(json_object_get(job, "result"));
	json_decref(job);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void an_unsigned_failure_is_the_connectors_word(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	json_t *job;

	peer_make(&p, q, "job-6");
	peer_connect(&p);
	peer_submit(q, "failed-1");
	e = peer_take_job(&p, 1);
	assert_int_equal(peer_claim(&p, e->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	peer_answer_make(&a, &p, e->job);
	a.result.success = false;
	a.result.bundle = NULL;
	a.result.certificate = NULL;
	a.result.code = codec_text("ca_rejected");
	a.result.event = 1052;
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_INVALID);
	a.result.settle = CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED;
	assert_int_equal(peer_say_result(&p, &a, NULL), CERTQ__RESULT_VERDICT__RESULT_STORED);
	job = peer_look(q, e->job->job_id, "");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "failed");
	assert_null(json_object_get(job, "result"));
	json_decref(job);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void a_result_of_an_unknown_job_or_attempt_is_told_so(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *e;
	uint8_t id[16] = {9};

	peer_make(&p, q, "job-7");
	peer_connect(&p);
	peer_submit(q, "unknown-1");
	e = peer_take_job(&p, 1);
	peer_answer_make(&a, &p, e->job);
	a.result.epoch = e->job->epoch + 7;
	assert_int_equal(peer_say_result(&p, &a, p.keys.result),
		CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_ATTEMPT);
	a.result.job_id = codec_bytes(cc_view_of(id, 16));
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_UNKNOWN_JOB);
	a.result.job_id = e->job->job_id;
	a.result.epoch = e->job->epoch;
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	peer_answer_clear(&a);
	codec_free(e);
	peer_clear(&p);
}

static void say_nack(struct peer *p, const Certq__Job *job, Certq__NackReason reason, bool exclude)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Nack nack = CERTQ__NACK__INIT;

	nack.job_id = job->job_id;
	nack.epoch = job->epoch;
	nack.reason = reason;
	nack.exclude_me = exclude;
	e.body_case = CERTQ__ENVELOPE__BODY_NACK;
	e.nack = &nack;
	assert_true(ws_client_say(&p->w, &e));
}

static void a_job_that_is_given_back_comes_again_with_a_higher_epoch(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *first, *ack, *second;

	peer_make(&p, q, "job-8");
	peer_connect(&p);
	peer_submit(q, "nack-1");
	first = peer_take_job(&p, 1);
	peer_say_credit(&p, 2, false);
	say_nack(&p, first->job, CERTQ__NACK_REASON__NACK_BUSY, false);
	ack = peer_hear(&p, CERTQ__ENVELOPE__BODY_NACK_ACK);
	assert_int_equal(ack->nack_ack->verdict, CERTQ__NACK_VERDICT__NACK_ACK_OK);
	codec_free(ack);
	second = peer_hear(&p, CERTQ__ENVELOPE__BODY_JOB);
	assert_true(cc_view_equal(codec_view(first->job->job_id), codec_view(second->job->job_id)));
	assert_true(second->job->epoch > first->job->epoch);
	say_nack(&p, first->job, CERTQ__NACK_REASON__NACK_BUSY, false);
	ack = peer_hear(&p, CERTQ__ENVELOPE__BODY_NACK_ACK);
	assert_int_equal(ack->nack_ack->verdict, CERTQ__NACK_VERDICT__NACK_ACK_STALE_EPOCH);
	codec_free(ack);
	peer_answer_make(&a, &p, first->job); /* first valid SUCCESS wins, whatever its epoch */
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	peer_answer_clear(&a);
	codec_free(first);
	codec_free(second);
	peer_clear(&p);
}

/* What the store cannot take at once is to be asked again later. */
static void a_burst_is_answered_whole(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	uint8_t id[16] = {7};
	Certq__Job job = CERTQ__JOB__INIT;

	peer_make(&p, q, "job-14");
	peer_connect(&p);
	job.job_id = codec_bytes(cc_view_of(id, 16));
	job.epoch = 1;
	for (int i = 0; i < 1000; i++)
		peer_say_claim(&p, &job);
	for (int i = 0; i < 1000; i++) {
		Certq__Envelope *e = peer_hear(&p, CERTQ__ENVELOPE__BODY_CLAIM_ACKS);

		Certq__ClaimVerdict v = e->claim_acks->acks[0]->verdict;

		if (v == CERTQ__CLAIM_VERDICT__CLAIM_RETRY_LATER)
			assert_true(e->claim_acks->acks[0]->retry_after_ms > 0);
		else
			assert_int_equal(v, CERTQ__CLAIM_VERDICT__CLAIM_LOST);
		codec_free(e);
	}
	peer_clear(&p);
}

static void a_message_of_256_items_is_answered_whole(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Claims claims = CERTQ__CLAIMS__INIT;
	Certq__Claim rows[256];
	Certq__Claim *list[256];
	uint8_t bytes[32] = {0}, ids[256][16] = {{0}};
	size_t answered = 0;

	peer_make(&p, q, "job-13");
	peer_connect(&p);
	for (size_t i = 0; i < 256; i++) {
		ids[i][0] = (uint8_t)i;
		certq__claim__init(&rows[i]);
		rows[i].job_id = codec_bytes(cc_view_of(ids[i], 16));
		rows[i].epoch = 1;
		rows[i].ca = codec_text("corp-ca");
		rows[i].csr_sha256 = codec_bytes(cc_view_of(bytes, 32));
		rows[i].spki_sha256 = codec_bytes(cc_view_of(bytes, 32));
		rows[i].txid = codec_bytes(cc_view_of(bytes, 16));
		list[i] = &rows[i];
	}
	claims.n_claims = 256;
	claims.claims = list;
	e.body_case = CERTQ__ENVELOPE__BODY_CLAIMS;
	e.claims = &claims;
	assert_true(ws_client_say(&p.w, &e));
	while (answered < 256) {
		Certq__Envelope *acks = peer_hear(&p, CERTQ__ENVELOPE__BODY_CLAIM_ACKS);

		for (size_t i = 0; i < acks->claim_acks->n_acks; i++, answered++) {
			const Certq__ClaimAck *ack = acks->claim_acks->acks[i];

			assert_int_equal(ack->job_id.data[0], answered);
			assert_int_equal(ack->verdict, CERTQ__CLAIM_VERDICT__CLAIM_LOST);
		}
		codec_free(acks);
	}
	peer_clear(&p);
}

static void a_lease_is_extended_and_a_job_is_parked(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__LeaseExtend extend = CERTQ__LEASE_EXTEND__INIT;
	Certq__Lease lease = CERTQ__LEASE__INIT;
	Certq__Lease *leases[] = {&lease};
	Certq__Park park = CERTQ__PARK__INIT;
	Certq__Envelope *job, *ack;

	peer_make(&p, q, "job-9");
	peer_connect(&p);
	peer_submit(q, "park-1");
	job = peer_take_job(&p, 1);
	lease.job_id = job->job->job_id;
	lease.epoch = job->job->epoch;
	extend.n_leases = 1;
	extend.leases = leases;
	e.body_case = CERTQ__ENVELOPE__BODY_LEASE_EXTEND;
	e.lease_extend = &extend;
	assert_true(ws_client_say(&p.w, &e));
	ack = peer_hear(&p, CERTQ__ENVELOPE__BODY_LEASE_EXTEND_ACK);
	assert_int_equal(ack->lease_extend_ack->n_verdicts, 1);
	assert_int_equal(
		ack->lease_extend_ack->verdicts[0]->verdict, CERTQ__JOB_VERDICT__VERDICT_KEEP);
	assert_int_equal(ack->lease_extend_ack->verdicts[0]->lease_ms, 120000);
	codec_free(ack);
	assert_int_equal(peer_claim(&p, job->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	park.job_id = job->job->job_id;
	park.epoch = job->job->epoch;
	park.deadline_ms = 7ull * 86400 * 1000;
	park.ref = codec_text("request 4711");
	e.body_case = CERTQ__ENVELOPE__BODY_PARK;
	e.park = &park;
	assert_true(ws_client_say(&p.w, &e));
	ack = peer_hear(&p, CERTQ__ENVELOPE__BODY_PARK_ACK);
	assert_int_equal(ack->park_ack->verdict, CERTQ__JOB_VERDICT__VERDICT_KEEP);
	codec_free(ack);
	peer_assert_state(q, job->job, "pending_ca");
	codec_free(job);
	peer_clear(&p);
}

static void a_cancelled_job_is_told_to_its_holder(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	Certq__Envelope *job, *gone;
	char text[JOB_TEXT_SIZE];
	char *request;

	peer_make(&p, q, "job-10");
	peer_connect(&p);
	peer_submit(q, "gone-1");
	job = peer_take_job(&p, 1);
	text_job_id(codec_view(job->job->job_id), text);
	request =
		cc_asprintf("{\"op\":\"job_cancel\",\"tenant\":\"contoso\",\"job\":\"%s\"}", text);
	qrig_control_ok(q, request);
	gone = peer_hear(&p, CERTQ__ENVELOPE__BODY_JOB_GONE);
	assert_int_equal(gone->job_gone->verdict, CERTQ__JOB_VERDICT__VERDICT_CANCELLED);
	assert_true(
		cc_view_equal(codec_view(gone->job_gone->job_id), codec_view(job->job->job_id)));
	codec_free(gone);
	codec_free(job);
	free(request);
	peer_clear(&p);
}

static void after_a_reconnect_held_jobs_are_kept_and_others_come_again(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *kept, *lost, *verdicts, *again;

	peer_make(&p, q, "job-11");
	peer_connect(&p);
	peer_submit(q, "held-1");
	kept = peer_take_job(&p, 1);
	assert_int_equal(peer_claim(&p, kept->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	peer_submit(q, "held-2");
	lost = peer_take_job(&p, 2);
	assert_true(peer_dial(&p)); /* the connection broke */
	assert_true(peer_say_hello(&p, 1));
	peer_hear_hello_ack(&p);
	peer_say_held(&p, codec_view(kept->job->job_id), kept->job->epoch, true);
	verdicts = peer_hear(&p, CERTQ__ENVELOPE__BODY_HELD_VERDICTS);
	assert_int_equal(verdicts->held_verdicts->n_verdicts, 1);
	assert_int_equal(
		verdicts->held_verdicts->verdicts[0]->verdict, CERTQ__JOB_VERDICT__VERDICT_KEEP);
	codec_free(verdicts);
	peer_say_resume_end(&p, 1);
	codec_free(peer_hear(&p, CERTQ__ENVELOPE__BODY_RESUME_END));
	peer_say_capabilities(&p);
	again = peer_take_job(&p, 1); /* a new session counts its deliveries from 0 */
	assert_true(cc_view_equal(codec_view(again->job->job_id), codec_view(lost->job->job_id)));
	assert_true(again->job->epoch > lost->job->epoch);
	peer_answer_make(&a, &p, kept->job);
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	peer_answer_clear(&a);
	codec_free(kept);
	codec_free(lost);
	codec_free(again);
	peer_clear(&p);
}

static void a_rewrap_comes_with_its_record_and_is_answered_from_the_copy(void **state)
{
	static const char thumbprint[] = "0123456789abcdef0123456789abcdef01234567";
	struct qrig *q = *state;
	struct peer p;
	struct fixture_job j;
	struct peer_answer a;
	Certq__Envelope *e;
	json_t *job, *result;
	uint8_t key_id[SHA256_SIZE];
	char *key, *body;

	peer_make(&p, q, "job-12");
	dsse_key_id(cc_blob_view(&p.keys.result_spki), key_id);
	key = text_hex_new(cc_view_of(key_id, sizeof(key_id)));
	body = cc_asprintf("{\"id\":\"u1-%s\",\"intendedPurpose\":\"smimeEncryption\","
			   "\"userPrincipalName\":\"alice@contoso.com\",\"paddingScheme\":5,"
			   "\"binding\":1,\"keyId\":\"%s\",\"encryptedPfxBlob\":\"dGhlIHBmeA==\","
			   "\"encryptedPfxPassword\":\"c2VjcmV0\"}",
		thumbprint, key);
	assert_int_equal(qrig_ask(q, "POST", "/v1/tenants/contoso/user-pfx", body, NULL), 201);
	fixture_rewrap(&j, &q->tenant, "rw-1", cc_view_text("the pfx"),
		cc_blob_view(&q->tenant.signer_spki));
	fixture_rewrap_add(&j, cc_view_of(key_id, sizeof(key_id)), cc_view_text("secret"));
	j.rewrap.record_id = codec_text("u1-0123456789abcdef0123456789abcdef01234567");
	peer_submit_document(q, fixture_sign(&q->tenant, &j, NULL));
	peer_connect(&p);
	e = peer_take_job(&p, 1);
	assert_true(text_equal(codec_view(e->job->pfx), "the pfx"));
	assert_int_equal(e->job->n_passwords, 1);
	assert_true(text_equal(codec_view(e->job->passwords[0]), "secret"));
	peer_answer_make(&a, &p, e->job);
	a.doc.outcome = CERTQ__OUTCOME__OUTCOME_REWRAPPED;
	a.doc.certificate = (ProtobufCBinaryData){0};
	a.bundle.pfx = (ProtobufCBinaryData){0}; /* the queue has it */
	a.result.certificate = NULL;
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	job = peer_look(q, e->job->job_id, "");
	result = json_object_get(job, "result");
	assert_string_equal(json_string_value(json_object_get(result, "pfx")), "dGhlIHBmeA==");
	assert_string_equal(json_string_value(json_object_get(result, "type")), "rewrap");
	json_decref(job);
	assert_int_equal(qrig_ask(q, "GET", "/v1/tenants/contoso/import-keys", NULL, &job), 200);
	assert_true(json_array_size(json_object_get(job, "keys")) >= 1);
	json_decref(job);
	peer_answer_clear(&a);
	codec_free(e);
	free(key);
	free(body);
	peer_clear(&p);
}

/* ---- the end ---- */

static void on_sigterm_connectors_are_drained_before_they_are_closed(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *job, *drain;

	peer_make(&p, q, "end-1");
	peer_connect(&p);
	peer_submit(q, "drain-1");
	peer_submit(q, "drain-2");
	job = peer_take_job(&p, 1);
	kill(q->pid, SIGTERM);
	drain = peer_hear(&p, CERTQ__ENVELOPE__BODY_DRAIN);
	assert_true(drain->drain->grace_ms > 0);
	assert_true(drain->drain->retry_after_ms > 0);
	codec_free(drain);
	peer_say_credit(&p, 5, false); /* a draining queue gives no more jobs */
	peer_answer_make(&a, &p, job->job);
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	assert_int_equal(qrig_ask(q, "GET", "/v1/health", NULL, NULL), 503);
	peer_say_credit(&p, 5, true);
	peer_hear_close(&p, 1001);
	peer_answer_clear(&a);
	codec_free(job);
	peer_clear(&p);
	assert_int_equal(qrig_stop(q), 0);
	qrig_start(q); /* and what was stored is there again */
}

static void on_sigterm_a_connector_that_does_not_answer_is_closed_after_the_grace(void **state)
{
	struct qrig *q = qrig_new("drain_grace: 1s\n");
	struct peer p;
	int64_t began;

	(void)state;
	peer_make(&p, q, "end-3");
	peer_connect(&p);
	peer_submit(q, "drain-3");
	codec_free(peer_take_job(&p, 1));
	began = clock_boottime_ms();
	kill(q->pid, SIGTERM);
	codec_free(peer_hear(&p, CERTQ__ENVELOPE__BODY_DRAIN));
	peer_hear_close(&p, 1001);
	peer_clear(&p);
	assert_int_equal(qrig_stop(q), 0);
	assert_true(clock_boottime_ms() - began < 15000);
	qrig_free(q);
}

static void after_a_restart_of_the_queue_the_session_goes_on(void **state)
{
	struct qrig *q = *state;
	struct peer p;
	struct peer_answer a;
	Certq__Envelope *job;

	peer_make(&p, q, "end-2");
	peer_connect(&p);
	peer_submit(q, "restart-1");
	job = peer_take_job(&p, 1);
	kill(q->pid, SIGKILL);
	assert_int_equal(waitpid(q->pid, NULL, 0), q->pid);
	qrig_start(q);
	assert_true(peer_dial(&p));
	assert_true(peer_say_hello(&p, 1));
	peer_hear_hello_ack(&p);
	peer_say_held(&p, codec_view(job->job->job_id), job->job->epoch, false);
	codec_free(peer_hear(&p, CERTQ__ENVELOPE__BODY_HELD_VERDICTS));
	peer_say_resume_end(&p, 1);
	codec_free(peer_hear(&p, CERTQ__ENVELOPE__BODY_RESUME_END));
	peer_answer_make(&a, &p, job->job);
	assert_int_equal(
		peer_say_result(&p, &a, p.keys.result), CERTQ__RESULT_VERDICT__RESULT_STORED);
	peer_answer_clear(&a);
	codec_free(job);
	peer_clear(&p);
}

/* Jobs that a test leaves behind would be leased by the next one. */
static int cancel_leftovers(void **state)
{
	struct qrig *q = *state;
	json_t *answer = qrig_control(q, "{\"op\":\"check\",\"tenant\":\"contoso\"}");
	size_t i;
	json_t *row;

	json_array_foreach(json_object_get(answer, "rows"), i, row)
	{
		const char *state_name = json_string_value(json_object_get(row, "store_state"));
		char *request =
			cc_asprintf("{\"op\":\"job_cancel\",\"tenant\":\"contoso\",\"job\":\"%s\"}",
				json_string_value(json_object_get(row, "id")));

		if (strcmp(state_name, "DONE") != 0 && strcmp(state_name, "DEAD") != 0 &&
			strcmp(state_name, "CANCELLED") != 0)
			qrig_control_ok(q, request);
		free(request);
	}
	json_decref(answer);
	return 0;
}

#define TEST(fn) cmocka_unit_test_teardown(fn, cancel_leftovers)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(jobs_come_only_for_credit_and_then_at_once),
		TEST(a_job_is_claimed_and_its_signed_result_is_stored),
		TEST(a_result_in_protobuf_is_the_bundle_byte_for_byte),
		TEST(a_result_that_does_not_verify_is_invalid),
		TEST(a_refusal_of_the_keyvault_fails_the_job_with_its_code),
		TEST(a_revocation_is_done_on_the_connectors_word),
		TEST(a_revocation_may_fail_without_a_claim_to_settle),
		TEST(an_unsigned_failure_is_the_connectors_word),
		TEST(a_result_of_an_unknown_job_or_attempt_is_told_so),
		TEST(a_job_that_is_given_back_comes_again_with_a_higher_epoch),
		TEST(a_burst_is_answered_whole),
		TEST(a_message_of_256_items_is_answered_whole),
		TEST(a_lease_is_extended_and_a_job_is_parked),
		TEST(a_cancelled_job_is_told_to_its_holder),
		TEST(after_a_reconnect_held_jobs_are_kept_and_others_come_again),
		TEST(a_rewrap_comes_with_its_record_and_is_answered_from_the_copy),
		TEST(after_a_restart_of_the_queue_the_session_goes_on),
		TEST(on_sigterm_connectors_are_drained_before_they_are_closed),
		TEST(on_sigterm_a_connector_that_does_not_answer_is_closed_after_the_grace),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

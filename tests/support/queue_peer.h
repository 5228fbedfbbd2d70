/*
 * A connector as the queue sees it, for tests: enrolled, with a connection of its own, saying one
 * message at a time; and what a keyvault would sign.
 *
 * On top of queue_rig.h: every function ends the test when something else comes than was expected.
 */
#pragma once

#include "base/hash.h"
#include "cloud-queue/gateway_wss.h"
#include "tests/support/queue_rig.h"

#define PEER_JOBS "/v1/tenants/contoso/jobs"

/* One enrolled connector with its connection. */
struct peer {
	struct qrig *q;
	struct qrig_enrolment keys;
	X509 *certificate;
	struct ws_client w;
	uint8_t instance[16], journal[16], nonce[16];
	bool has_nonce;
};

static inline void peer_make(struct peer *p, struct qrig *q, const char *name)
{
	*p = (struct peer){.q = q};
	p->certificate = qrig_enrol(q, &p->keys, name);
	random_bytes(p->instance, sizeof(p->instance));
	random_bytes(p->journal, sizeof(p->journal));
}

static inline void peer_clear(struct peer *p)
{
	ws_client_close(&p->w);
	qrig_enrolment_clear(&p->keys);
	X509_free(p->certificate);
}

static inline bool peer_dial(struct peer *p)
{
	const struct tls_client_options options = {.ca = p->q->ca.certificate,
		.key = p->keys.transport,
		.certificate = p->certificate};

	ws_client_close(&p->w);
	return ws_client_open(&p->w, p->q->connector_port, &options, WSS_PATH, WSS_SUBPROTOCOL, "");
}

/* ---- messages out ---- */

static inline bool peer_say_hello(struct peer *p, uint32_t held_total)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Hello hello = CERTQ__HELLO__INIT;

	hello.proto_min = 1;
	hello.proto_max = 1;
	hello.instance_id = codec_bytes(cc_view_of(p->instance, 16));
	hello.journal_id = codec_bytes(cc_view_of(p->journal, 16));
	hello.resume_nonce = codec_bytes(cc_view_of(p->nonce, p->has_nonce ? 16 : 0));
	hello.held_total = held_total;
	hello.software = codec_text("test 1");
	hello.max_inflight = 16;
	e.body_case = CERTQ__ENVELOPE__BODY_HELLO;
	e.hello = &hello;
	return ws_client_say(&p->w, &e);
}

static inline void peer_say_resume_end(struct peer *p, uint32_t held_total)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__ResumeEnd end = CERTQ__RESUME_END__INIT;

	end.resume_nonce = codec_bytes(cc_view_of(p->nonce, 16));
	end.held_total = held_total;
	e.body_case = CERTQ__ENVELOPE__BODY_RESUME_END;
	e.resume_end = &end;
	assert_true(ws_client_say(&p->w, &e));
}

static inline void peer_say_held(struct peer *p, cc_view job_id, uint32_t epoch, bool claimed)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__HeldLeases page = CERTQ__HELD_LEASES__INIT;
	Certq__HeldJob job = CERTQ__HELD_JOB__INIT;
	Certq__HeldJob *list[] = {&job};

	job.job_id = codec_bytes(job_id);
	job.epoch = epoch;
	job.claimed = claimed;
	page.resume_nonce = codec_bytes(cc_view_of(p->nonce, 16));
	page.n_jobs = 1;
	page.jobs = list;
	e.body_case = CERTQ__ENVELOPE__BODY_HELD_LEASES;
	e.held_leases = &page;
	assert_true(ws_client_say(&p->w, &e));
}

static inline void peer_say_capabilities(struct peer *p)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Capabilities c = CERTQ__CAPABILITIES__INIT;
	ProtobufCBinaryData kinds[] = {codec_text("issue"), codec_text("rewrap"),
		codec_text("chain"), codec_text("revoke")};
	ProtobufCBinaryData profiles[] = {codec_text("corp-user")};
	Certq__PublicKey key = CERTQ__PUBLIC_KEY__INIT;
	Certq__PublicKey *keys[] = {&key};
	uint8_t id[SHA256_SIZE];

	dsse_key_id(cc_blob_view(&p->keys.result_spki), id);
	key.key_id = codec_bytes(cc_view_of(id, sizeof(id)));
	key.spki = codec_bytes(cc_blob_view(&p->keys.result_spki));
	c.n_kinds = 4;
	c.kinds = kinds;
	c.n_ca_profiles = 1;
	c.ca_profiles = profiles;
	c.n_decryption_keys = 1;
	c.decryption_keys = keys;
	e.body_case = CERTQ__ENVELOPE__BODY_CAPABILITIES;
	e.capabilities = &c;
	assert_true(ws_client_say(&p->w, &e));
}

static inline void peer_say_credit(struct peer *p, uint64_t limit, bool drain)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Credit credit = CERTQ__CREDIT__INIT;

	credit.delivery_limit = limit;
	credit.drain = drain;
	e.body_case = CERTQ__ENVELOPE__BODY_CREDIT;
	e.credit = &credit;
	assert_true(ws_client_say(&p->w, &e));
}

static inline void peer_say_ping(struct peer *p, uint64_t token)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Ping ping = CERTQ__PING__INIT;

	ping.token = token;
	e.body_case = CERTQ__ENVELOPE__BODY_PING;
	e.ping = &ping;
	assert_true(ws_client_say(&p->w, &e));
}

static inline void peer_say_claim(struct peer *p, const Certq__Job *job)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Claims claims = CERTQ__CLAIMS__INIT;
	Certq__Claim claim = CERTQ__CLAIM__INIT;
	Certq__Claim *list[] = {&claim};
	uint8_t bytes[32] = {3};

	claim.job_id = job->job_id;
	claim.epoch = job->epoch;
	claim.ca = codec_text("corp-ca");
	claim.csr_sha256 = codec_bytes(cc_view_of(bytes, 32));
	claim.spki_sha256 = codec_bytes(cc_view_of(bytes, 32));
	claim.txid = codec_bytes(cc_view_of(bytes, 16));
	claims.n_claims = 1;
	claims.claims = list;
	e.body_case = CERTQ__ENVELOPE__BODY_CLAIMS;
	e.claims = &claims;
	assert_true(ws_client_say(&p->w, &e));
}

/* ---- messages in ---- */

/* The next message, which must be of this kind. */
static inline Certq__Envelope *peer_hear(struct peer *p, Certq__Envelope__BodyCase wanted)
{
	Certq__Envelope *e = ws_client_hear(&p->w);

	if (!e)
		fail_msg("no message but close %u", p->w.closed);
	if (e->body_case == CERTQ__ENVELOPE__BODY_ERROR && wanted != e->body_case)
		fail_msg("Error %d %.*s", (int)e->error->code, (int)e->error->text.len,
			(const char *)e->error->text.data);
	assert_int_equal(e->body_case, wanted);
	return e;
}

static inline void peer_hear_error(struct peer *p, Certq__ErrorCode code, bool fatal)
{
	Certq__Envelope *e = peer_hear(p, CERTQ__ENVELOPE__BODY_ERROR);

	assert_int_equal(e->error->code, code);
	assert_int_equal(e->error->fatal, fatal);
	codec_free(e);
}

static inline void peer_hear_close(struct peer *p, uint16_t code)
{
	Certq__Envelope *e = ws_client_hear(&p->w);

	if (e)
		fail_msg("a message %d instead of close %u", (int)e->body_case, code);
	assert_int_equal(p->w.closed, code);
}

static inline void peer_hear_fatal(struct peer *p, Certq__ErrorCode code, uint16_t close_code)
{
	peer_hear_error(p, code, true);
	peer_hear_close(p, close_code);
}

static inline void peer_hear_hello_ack(struct peer *p)
{
	Certq__Envelope *e = peer_hear(p, CERTQ__ENVELOPE__BODY_HELLO_ACK);

	assert_int_equal(e->hello_ack->proto, 1);
	assert_int_equal(e->hello_ack->resume_nonce.len, 16);
	assert_true(e->hello_ack->session_epoch > 0);
	assert_int_equal(e->hello_ack->max_message, WSS_MESSAGE_MAX);
	assert_int_equal(e->hello_ack->lease_ms, 120000);
	memcpy(p->nonce, e->hello_ack->resume_nonce.data, 16);
	p->has_nonce = true;
	codec_free(e);
}

/* Dialled, greeted, nothing held, able to do everything; no credit yet. */
static inline void peer_connect(struct peer *p)
{
	assert_true(peer_dial(p));
	assert_true(peer_say_hello(p, 0));
	peer_hear_hello_ack(p);
	peer_say_resume_end(p, 0);
	codec_free(peer_hear(p, CERTQ__ENVELOPE__BODY_RESUME_END));
	peer_say_capabilities(p);
}

/* A message for which an answer must come before anything else would have. */
static inline void peer_assert_silent(struct peer *p)
{
	Certq__Envelope *e;

	peer_say_ping(p, 77);
	e = peer_hear(p, CERTQ__ENVELOPE__BODY_PONG);
	assert_int_equal(e->pong->token, 77);
	codec_free(e);
}

/* ---- jobs ---- */

static inline void peer_submit_document(struct qrig *q, Certq__SignedDocument *d)
{
	char *body = qrig_dump(qrig_document(d, DOC_JOB));

	assert_int_equal(qrig_ask(q, "POST", PEER_JOBS, body, NULL), 202);
	codec_free(d);
	free(body);
}

static inline void peer_submit(struct qrig *q, const char *key)
{
	struct fixture_job j;

	fixture_issue(&j, &q->tenant, key, "corp-user", cc_blob_view(&q->tenant.signer_spki));
	peer_submit_document(q, fixture_sign(&q->tenant, &j, NULL));
}

static inline json_t *peer_look(struct qrig *q, ProtobufCBinaryData job_id, const char *more)
{
	char text[JOB_TEXT_SIZE];
	char *path;
	json_t *job = NULL;

	text_job_id(codec_view(job_id), text);
	path = cc_asprintf(PEER_JOBS "/%s%s", text, more);
	assert_int_equal(qrig_ask(q, "GET", path, NULL, &job), 200);
	free(path);
	return job;
}

static inline void peer_assert_state(struct qrig *q, const Certq__Job *job, const char *state)
{
	json_t *json = peer_look(q, job->job_id, "");

	assert_string_equal(json_string_value(json_object_get(json, "state")), state);
	json_decref(json);
}

/* What a keyvault would answer: a signed result with its parts. */
struct peer_answer {
	Certq__ResultDocument doc;
	Certq__ResultBundle bundle;
	Certq__Result result;
	Certq__CertificateId id;
	uint8_t job_sha256[32], pfx_sha256[32], sealed_sha256[32], cert_sha256[32];
	cc_blob body;
	cc_blob certificate;
};

static inline void peer_answer_make(struct peer_answer *a, struct peer *p, const Certq__Job *job)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	X509 *x = qrig_certificate(&p->q->ca, key, "email:alice@contoso.com", "clientAuth");
	unsigned char *der = NULL;
	int size = i2d_X509(x, &der);

	*a = (struct peer_answer){.doc = CERTQ__RESULT_DOCUMENT__INIT,
		.bundle = CERTQ__RESULT_BUNDLE__INIT,
		.result = CERTQ__RESULT__INIT,
		.id = CERTQ__CERTIFICATE_ID__INIT};
	a->certificate = cc_blob_copy(cc_view_of(der, (size_t)size));
	hash_sha256(codec_view(job->job->body), a->job_sha256);
	hash_sha256(cc_view_text("the pfx"), a->pfx_sha256);
	hash_sha256(cc_view_text("the sealed password"), a->sealed_sha256);
	hash_sha256(cc_blob_view(&a->certificate), a->cert_sha256);
	a->doc.version = 1;
	a->doc.tenant = codec_text("contoso");
	a->doc.job_id = job->job_id;
	a->doc.job_sha256 = codec_bytes(cc_view_of(a->job_sha256, 32));
	a->doc.outcome = CERTQ__OUTCOME__OUTCOME_ISSUED;
	a->doc.device_spki = codec_bytes(cc_blob_view(&p->q->tenant.signer_spki));
	a->doc.seal = CERTQ__SEAL__SEAL_CMS_AUTH;
	a->doc.pfx_profile = CERTQ__PFX_PROFILE__PFX_MODERN;
	a->doc.pfx_sha256 = codec_bytes(cc_view_of(a->pfx_sha256, 32));
	a->doc.sealed_sha256 = codec_bytes(cc_view_of(a->sealed_sha256, 32));
	a->doc.certificate = codec_bytes(cc_blob_view(&a->certificate));
	a->bundle.pfx = codec_text("the pfx");
	a->bundle.sealed_password = codec_text("the sealed password");
	a->id.cert_sha256 = codec_bytes(cc_view_of(a->cert_sha256, 32));
	a->id.issuer = codec_text("issuer");
	a->id.serial = codec_text("\x5f\x01");
	a->result.job_id = job->job_id;
	a->result.epoch = job->epoch;
	a->result.success = true;
	a->result.certificate = &a->id;
	a->result.bundle = &a->bundle;
	OPENSSL_free(der);
	X509_free(x);
	EVP_PKEY_free(key);
}

static inline void peer_answer_clear(struct peer_answer *a)
{
	cc_blob_free(&a->body);
	cc_blob_free(&a->certificate);
}

/* Sign with `key`, send, and give the verdict. */
static inline Certq__ResultVerdict peer_say_result(
	struct peer *p, struct peer_answer *a, EVP_PKEY *key)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Envelope *ack;
	Certq__SignedDocument *signed_result = NULL;
	Certq__ResultVerdict verdict;

	if (key) {
		cc_blob_free(&a->body);
		a->body = codec_pack(&a->doc);
		assert_int_equal(
			dsse_sign(key, DOC_RESULT, cc_blob_view(&a->body), &signed_result), CC_OK);
		a->bundle.result = signed_result;
	}
	e.body_case = CERTQ__ENVELOPE__BODY_RESULT;
	e.result = &a->result;
	assert_true(ws_client_say(&p->w, &e));
	ack = peer_hear(p, CERTQ__ENVELOPE__BODY_RESULT_ACK);
	verdict = ack->result_ack->verdict;
	codec_free(ack);
	codec_free(signed_result);
	a->bundle.result = NULL;
	return verdict;
}

/* Lease one job for one more credit. */
static inline Certq__Envelope *peer_take_job(struct peer *p, uint64_t limit)
{
	Certq__Envelope *e;

	peer_say_credit(p, limit, false);
	e = peer_hear(p, CERTQ__ENVELOPE__BODY_JOB);
	assert_int_equal(e->job->job_id.len, 16);
	assert_true(e->job->epoch > 0);
	assert_non_null(e->job->job);
	assert_non_null(e->job->signer);
	return e;
}

static inline Certq__ClaimVerdict peer_claim(struct peer *p, const Certq__Job *job)
{
	Certq__Envelope *e;
	Certq__ClaimVerdict verdict;

	peer_say_claim(p, job);
	e = peer_hear(p, CERTQ__ENVELOPE__BODY_CLAIM_ACKS);
	assert_int_equal(e->claim_acks->n_acks, 1);
	verdict = e->claim_acks->acks[0]->verdict;
	codec_free(e);
	return verdict;
}

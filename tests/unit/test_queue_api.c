/*
 * The producers' API, each endpoint from outside, and the operator's socket.
 */
#include "tests/support/queue_rig.h"

#include "base/hash.h"
#include "cloud-queue/queue_ca.h"

/* ---- jobs ---- */

static void a_signed_job_is_accepted_once(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_job(q, "wifi:dev-1", "corp-user");
	char *other = qrig_job(q, "wifi:dev-1", "corp-device");
	char *path = qrig_job_path("wifi:dev-1");
	char *location = cc_asprintf("location: %s", path);
	struct tls_client_reply r = qrig_ask_with(q, q->token, "POST", QRIG_JOBS, body);
	json_t *job = json_loads(cc_blob_text(&r.body), 0, NULL);

	assert_int_equal(r.status, 202);
	assert_true(tls_client_reply_has(&r, location));
	assert_string_equal(json_string_value(json_object_get(job, "state")), "ready");
	assert_string_equal(json_string_value(json_object_get(job, "kind")), "issue");
	assert_true(json_is_string(json_object_get(job, "created_at")));
	assert_true(json_is_string(json_object_get(job, "not_after")));
	assert_true(json_is_integer(json_object_get(job, "seq")));
	json_decref(job);
	tls_client_reply_clear(&r);
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 200);
	qrig_refused(q, "POST", QRIG_JOBS, other, 409, "idempotency_conflict");
	assert_int_equal(qrig_ask(q, "GET", path, NULL, &job), 200);
	assert_string_equal(json_string_value(json_object_get(job, "state")), "ready");
	assert_int_equal(json_integer_value(json_object_get(job, "attempts")), 0);
	json_decref(job);
	free(body);
	free(other);
	free(path);
	free(location);
}

static void malformed_json_is_told_with_its_place(void **state)
{
	struct qrig *q = *state;

	qrig_refused(q, "POST", QRIG_JOBS, "{\"document\":", 400, "malformed_json");
	qrig_refused(q, "POST", QRIG_JOBS, "[]", 400, "malformed_json");
	qrig_refused(
		q, "POST", QRIG_JOBS, "{\"document\":1,\"document\":2}", 400, "malformed_json");
	qrig_refused(q, "POST", QRIG_JOBS, "{\"dokument\":\"x\"}", 400, "unknown_member");
	qrig_refused(q, "POST", QRIG_JOBS, "{\"priority\":\"high\"}", 400, "malformed_json");
	qrig_refused(q, "POST", QRIG_JOBS, "{\"document\":\"!!\"}", 400, "malformed_document");
	qrig_refused(q, "POST", QRIG_JOBS, "{}", 400, "malformed_document");
}

static void a_document_of_another_type_is_refused(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_dump(qrig_document(q->tenant.statement, DOC_SIGNER));

	qrig_refused(q, "POST", QRIG_JOBS, body, 400, "malformed_document");
	free(body);
}

/* Post a job that was signed in a special way. */
static void refused_job(struct qrig *q, Certq__SignedDocument *d, const char *code)
{
	char *body = qrig_dump(qrig_document(d, DOC_JOB));

	qrig_refused(q, "POST", QRIG_JOBS, body, 422, code);
	codec_free(d);
	free(body);
}

static void a_wrong_signature_is_told_at_once(void **state)
{
	struct qrig *q = *state;
	struct fixture_job j;
	Certq__SignedDocument *d;
	EVP_PKEY *stranger = fixture_key("ed25519");

	fixture_issue(&j, &q->tenant, "bad-1", "corp-user", cc_blob_view(&q->tenant.signer_spki));
	d = fixture_sign(&q->tenant, &j, NULL);
	d->signature.data[5] ^= 1;
	refused_job(q, d, "signature_invalid");
	refused_job(q, fixture_sign_with(stranger, DOC_JOB, &j), "unknown_key");
	refused_job(q, fixture_sign_with(q->tenant.signer, DOC_ORDER, &j), "signature_invalid");
	EVP_PKEY_free(stranger);
}

static void an_expired_job_and_one_of_another_tenant_are_refused(void **state)
{
	struct qrig *q = *state;
	struct fixture_job j;

	fixture_issue(&j, &q->tenant, "old-1", "corp-user", cc_blob_view(&q->tenant.signer_spki));
	j.doc.not_before_s -= 7200;
	j.doc.not_after_s = clock_realtime_s() - 10;
	refused_job(q, fixture_sign(&q->tenant, &j, NULL), "expired");
	fixture_issue(&j, &q->tenant, "old-2", "corp-user", cc_blob_view(&q->tenant.signer_spki));
	j.doc.tenant = codec_text("fabrikam");
	refused_job(q, fixture_sign(&q->tenant, &j, NULL), "tenant_mismatch");
}

static void the_header_must_be_the_signed_key(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_job(q, "header-1", "corp-user");
	char *headers = cc_asprintf("Content-Type: application/json\r\nContent-Length: %zu\r\n"
				    "Idempotency-Key: header-2\r\n",
		strlen(body));

	assert_int_equal(qrig_raw_post(q, headers, body), 422);
	free(headers);
	headers = cc_asprintf("Content-Type: application/json\r\nContent-Length: %zu\r\n"
			      "Idempotency-Key: header-1\r\n",
		strlen(body));
	assert_int_equal(qrig_raw_post(q, headers, body), 202);
	free(headers);
	free(body);
}

static void a_long_poll_ends_with_its_time(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_job(q, "poll-1", "corp-user");
	char *path = qrig_job_path("poll-1");
	char *waiting = cc_asprintf("%s?wait=1", path);
	int64_t began = clock_boottime_ms();
	json_t *job = NULL;

	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	assert_int_equal(qrig_ask(q, "GET", waiting, NULL, &job), 200);
	assert_true(clock_boottime_ms() - began >= 900);
	assert_string_equal(json_string_value(json_object_get(job, "state")), "ready");
	json_decref(job);
	qrig_refused(q, "GET", QRIG_JOBS "/job_aaaaaaaaaaaaaaaaaaaaaaaaaa?wait=61", NULL, 400,
		"malformed_json");
	free(body);
	free(path);
	free(waiting);
}

static void a_long_poll_ends_when_the_job_is_final(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_job(q, "poll-2", "corp-user");
	char *path = qrig_job_path("poll-2");
	char *request = cc_asprintf(
		"GET %s?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path,
		q->token);
	char *cancel = cc_asprintf("{\"op\":\"job_cancel\",\"tenant\":\"contoso\",\"job\":\"%s\"}",
		strrchr(path, '/') + 1);
	struct tls_client *c = tls_client_open(q->producer_port, NULL);
	struct tls_client_reply r;
	int64_t began = clock_boottime_ms();

	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	assert_true(tls_client_write(c, cc_view_text(request)));
	qrig_control_ok(q, cancel);
	r = tls_client_ask(c, CC_VIEW_NONE);
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(cc_blob_text(&r.body), "\"cancelled\""));
	assert_true(clock_boottime_ms() - began < 30000);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	free(body);
	free(path);
	free(request);
	free(cancel);
}

static void a_result_that_is_not_there_is_not_found(void **state)
{
	struct qrig *q = *state;
	char *body = qrig_job(q, "result-1", "corp-user");
	char *path = qrig_job_path("result-1");
	char *result = cc_asprintf("%s/result", path);

	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	qrig_refused(q, "GET", result, NULL, 404, "not_found");
	qrig_refused(q, "GET", QRIG_JOBS "/not-an-id", NULL, 404, "not_found");
	free(body);
	free(path);
	free(result);
}

/* ---- signers ---- */

static void bump(Certq__SignerStatement *s)
{
	s->revision = 5;
}

static void withdraw(Certq__SignerStatement *s)
{
	s->revision = 6;
	s->not_after_s = s->not_before_s + 60;
}

static int put_statement(struct qrig *q, const Certq__SignedDocument *statement)
{
	uint8_t id[SHA256_SIZE];
	char *hex, *path, *body;
	int status;

	dsse_key_id(cc_blob_view(&q->tenant.signer_spki), id);
	hex = text_hex_new(cc_view_of(id, sizeof(id)));
	path = cc_asprintf("/v1/tenants/contoso/signers/%s", hex);
	body = qrig_dump(qrig_document(statement, DOC_SIGNER));
	status = qrig_ask(q, "PUT", path, body, NULL);
	free(hex);
	free(path);
	free(body);
	return status;
}

static void a_statement_is_taken_under_the_job_root_and_never_goes_back(void **state)
{
	struct qrig *q = *state;
	EVP_PKEY *stranger = fixture_key("ed25519");
	Certq__SignedDocument *newer =
		fixture_statement(&q->tenant, q->tenant.root, q->tenant.signer, bump);
	Certq__SignedDocument *forged =
		fixture_statement(&q->tenant, stranger, q->tenant.signer, bump);
	Certq__SignedDocument *other =
		fixture_statement(&q->tenant, q->tenant.root, stranger, bump);

	assert_int_equal(put_statement(q, q->tenant.statement), 200); /* the same again */
	assert_int_equal(put_statement(q, newer), 200);
	assert_int_equal(put_statement(q, q->tenant.statement), 409);
	assert_int_equal(put_statement(q, forged), 422);
	assert_int_equal(put_statement(q, other), 422);
	codec_free(newer);
	codec_free(forged);
	codec_free(other);
	EVP_PKEY_free(stranger);
}

static void a_statement_of_the_past_withdraws_the_key(void **state)
{
	struct qrig *q = *state;
	Certq__SignedDocument *past =
		fixture_statement(&q->tenant, q->tenant.root, q->tenant.signer, withdraw);
	char *body = qrig_job(q, "withdrawn", "corp-user");

	assert_int_equal(put_statement(q, past), 200);
	qrig_refused(q, "POST", QRIG_JOBS, body, 422, "unknown_key");
	codec_free(past);
	free(body);
}

/* ---- imported PFX ---- */

#define THUMBPRINT(c) "0123456789abcdef0123456789abcdef0123456" c

static char *record_body(const char *thumbprint, cc_view pfx, cc_view password, cc_view key_id)
{
	char *blob = text_base64_new(pfx);
	char *secret = text_base64_new(password);
	char *key = text_hex_new(key_id);
	char *body = cc_asprintf(
		"{\"id\":\"u-1-%s\",\"thumbprint\":\"%s\",\"intendedPurpose\":\"SmimeEncryption\","
		"\"userPrincipalName\":\"Alice@Contoso.com\","
		"\"startDateTime\":\"2016-12-31T23:58:46.7156189-07:00\","
		"\"expirationDateTime\":\"2027-12-31T23:57:57Z\",\"providerName\":"
		"\"certconnector\","
		"\"keyName\":\"import\",\"paddingScheme\":\"oaepSha512\",\"binding\":1,"
		"\"encryptedPfxBlob\":\"%s\",\"encryptedPfxPassword\":\"%s\",\"keyId\":\"%s\"}",
		thumbprint, thumbprint, blob, secret, key);

	free(blob);
	free(secret);
	free(key);
	return body;
}

/* A record u-1-<thumbprint> of made-up bytes. */
static void put_record(struct qrig *q, const char *thumbprint, const char *bytes)
{
	uint8_t key_id[SHA256_SIZE] = {1};
	char *body = record_body(thumbprint, cc_view_text(bytes), cc_view_text(bytes),
		cc_view_of(key_id, sizeof(key_id)));

	assert_int_equal(qrig_ask(q, "POST", "/v1/tenants/contoso/user-pfx", body, NULL), 201);
	free(body);
}

static Certq__SignedDocument *rewrap_job(
	struct qrig *q, const char *key, const char *record, const char *bytes)
{
	struct fixture_job j;
	uint8_t key_id[SHA256_SIZE] = {1};

	fixture_rewrap(
		&j, &q->tenant, key, cc_view_text(bytes), cc_blob_view(&q->tenant.signer_spki));
	fixture_rewrap_add(&j, cc_view_of(key_id, sizeof(key_id)), cc_view_text(bytes));
	j.rewrap.record_id = codec_text(record);
	return fixture_sign(&q->tenant, &j, NULL);
}

static void a_record_is_kept_and_shown_without_its_content(void **state)
{
	struct qrig *q = *state;
	json_t *record = NULL;
	char *body;
	uint8_t key_id[SHA256_SIZE] = {1};

	put_record(q, THUMBPRINT("1"), "pfx-one");
	body = record_body(THUMBPRINT("1"), cc_view_text("x"), cc_view_text("y"),
		cc_view_of(key_id, sizeof(key_id)));
	qrig_refused(q, "POST", "/v1/tenants/contoso/user-pfx", body, 409, "duplicate_record");
	assert_int_equal(qrig_ask(q, "GET", "/v1/tenants/contoso/user-pfx/u-1-" THUMBPRINT("1"),
				 NULL, &record),
		200);
	assert_string_equal(json_string_value(json_object_get(record, "userPrincipalName")),
		"alice@contoso.com");
	assert_string_equal(
		json_string_value(json_object_get(record, "intendedPurpose")), "smimeEncryption");
	assert_null(json_object_get(record, "encryptedPfxBlob"));
	assert_null(json_object_get(record, "encryptedPfxPassword"));
	json_decref(record);
	qrig_refused(q, "GET", "/v1/tenants/contoso/user-pfx/u-1-" THUMBPRINT("9"), NULL, 404,
		"not_found");
	free(body);
}

static void weak_paddings_and_other_faults_of_a_record_are_refused(void **state)
{
	static const char *const bodies[] = {"{\"id\":\"u-1\"}", "{\"id\":7}",
		"{\"id\":\"u-1-" THUMBPRINT("2") "\",\"userPrincipalName\":\"a@b\","
						 "\"intendedPurpose\":\"smimeEncryption\","
						 "\"paddingScheme\":\"pkcs1\"}",
		"{\"id\":\"u-1-" THUMBPRINT("2") "\",\"userPrincipalName\":\"a@b\","
						 "\"intendedPurpose\":\"smimeEncryption\","
						 "\"paddingScheme\":\"oaepSha1\"}",
		"{\"id\":\"u-1-" THUMBPRINT("2") "\",\"userPrincipalName\":\"a@b\","
						 "\"intendedPurpose\":\"reading\"}"};
	struct qrig *q = *state;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		qrig_refused(q, "POST", "/v1/tenants/contoso/user-pfx", bodies[i], 400,
			"malformed_document");
	qrig_refused(
		q, "POST", "/v1/tenants/contoso/user-pfx", "{\"Id\":7}", 400, "unknown_member");
}

static void a_rewrap_needs_its_record_with_its_digests(void **state)
{
	struct qrig *q = *state;
	Certq__SignedDocument *d = rewrap_job(q, "rw-1", "u-1-" THUMBPRINT("3"), "pfx-three");
	char *body = qrig_dump(qrig_document(d, DOC_JOB));

	qrig_refused(q, "POST", QRIG_JOBS, body, 404, "not_found");
	put_record(q, THUMBPRINT("3"), "pfx-three");
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	codec_free(d);
	refused_job(q, rewrap_job(q, "rw-2", "u-1-" THUMBPRINT("3"), "other"), "key_mismatch");
	free(body);
}

static char *deliver_body(Certq__SignedDocument *a, Certq__SignedDocument *b)
{
	json_t *list = json_array();

	json_array_append_new(list, qrig_document(a, DOC_JOB));
	json_array_append_new(list, qrig_document(b, DOC_JOB));
	codec_free(a);
	codec_free(b);
	return qrig_dump(json_pack("{s:o, s:s}", "jobs", list, "batch_id", "history-1"));
}

static void a_users_history_is_delivered_as_one_batch(void **state)
{
	static const char path[] = "/v1/tenants/contoso/user-pfx:deliver";
	struct qrig *q = *state;
	char *body;
	json_t *answer = NULL;
	char *first = qrig_job_path("hist-1");

	put_record(q, THUMBPRINT("4"), "pfx-four");
	body = deliver_body(rewrap_job(q, "hist-1", "u-1-" THUMBPRINT("4"), "pfx-four"),
		rewrap_job(q, "hist-2", "u-1-" THUMBPRINT("5"), "pfx-five"));
	qrig_refused(q, "POST", path, body, 404, "not_found");
	qrig_refused(q, "GET", first, NULL, 404, "not_found"); /* none was taken */
	put_record(q, THUMBPRINT("5"), "pfx-five");
	assert_int_equal(qrig_ask(q, "POST", path, body, &answer), 202);
	assert_string_equal(json_string_value(json_object_get(answer, "batch_id")), "history-1");
	assert_int_equal(json_array_size(json_object_get(answer, "jobs")), 2);
	for (size_t i = 0; i < 2; i++) {
		const json_t *job = json_array_get(json_object_get(answer, "jobs"), i);

		assert_int_equal(json_integer_value(json_object_get(job, "status")), 202);
		assert_string_equal(json_string_value(json_object_get(job, "kind")), "rewrap");
	}
	json_decref(answer);
	assert_int_equal(qrig_ask(q, "GET", first, NULL, NULL), 200);
	free(body);
	free(first);
}

static void a_history_delivered_again_is_told_the_batch_that_its_jobs_are_in(void **state)
{
	static const char path[] = "/v1/tenants/contoso/user-pfx:deliver";
	struct qrig *q = *state;
	json_t *list = json_array(), *answer = NULL;
	Certq__SignedDocument *d;
	char *body, *batch, *jobs;

	put_record(q, THUMBPRINT("a"), "pfx-ten");
	d = rewrap_job(q, "again-1", "u-1-" THUMBPRINT("a"), "pfx-ten");
	json_array_append_new(list, qrig_document(d, DOC_JOB));
	body = qrig_dump(json_pack("{s:o}", "jobs", list));
	assert_int_equal(qrig_ask(q, "POST", path, body, &answer), 202);
	batch = cc_strdup(json_string_value(json_object_get(answer, "batch_id")));
	json_decref(answer);
	assert_int_equal(qrig_ask(q, "POST", path, body, &answer), 202); /* the answer was lost */
	assert_string_equal(json_string_value(json_object_get(answer, "batch_id")), batch);
	json_decref(answer);
	jobs = cc_asprintf(QRIG_JOBS "?batch_id=%s", batch);
	assert_int_equal(qrig_ask(q, "GET", jobs, NULL, &answer), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "jobs")), 1);
	json_decref(answer);
	codec_free(d);
	free(body);
	free(batch);
	free(jobs);
}

static void a_batch_that_is_not_taken_whole_is_not_taken(void **state)
{
	static const char path[] = "/v1/tenants/contoso/user-pfx:deliver";
	struct qrig *q = qrig_new("quotas: {open_jobs: 2}\n");
	char *taken = deliver_body(rewrap_job(q, "full-1", "u-1-" THUMBPRINT("7"), "pfx-seven"),
		rewrap_job(q, "full-2", "u-1-" THUMBPRINT("8"), "pfx-eight"));
	char *other = deliver_body(rewrap_job(q, "full-1", "u-1-" THUMBPRINT("8"), "pfx-eight"),
		rewrap_job(q, "full-3", "u-1-" THUMBPRINT("7"), "pfx-seven"));
	char *first = qrig_job_path("full-1"), *third = qrig_job_path("full-3");
	char *job = qrig_job(q, "another", "corp-user"), *path_of_job = qrig_job_path("another");
	char *cancel = cc_asprintf("%s:cancel", path_of_job);
	json_t *problem = NULL;

	(void)state;
	put_record(q, THUMBPRINT("7"), "pfx-seven");
	put_record(q, THUMBPRINT("8"), "pfx-eight");
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, job, NULL), 202);
	qrig_refused(q, "POST", path, taken, 507, "store_full"); /* there is room for one */
	qrig_refused(q, "GET", first, NULL, 404, "not_found");
	assert_int_equal(qrig_ask(q, "POST", cancel, "{}", NULL), 202);
	assert_int_equal(qrig_ask(q, "POST", path, taken, NULL), 202);
	assert_int_equal(qrig_ask(q, "POST", path, taken, NULL), 202); /* the same again */
	assert_int_equal(qrig_ask(q, "POST", path, other, &problem), 409);
	assert_string_equal(
		json_string_value(json_object_get(problem, "code")), "idempotency_conflict");
	assert_string_equal(
		json_string_value(json_object_get(
			json_array_get(json_object_get(problem, "errors"), 0), "pointer")),
		"/jobs/0");
	qrig_refused(q, "GET", third, NULL, 404, "not_found");
	json_decref(problem);
	free(taken);
	free(other);
	free(first);
	free(third);
	free(cancel);
	free(path_of_job);
	free(job);
	qrig_free(q);
}

static void a_batch_of_other_jobs_or_with_a_repeat_is_refused(void **state)
{
	static const char path[] = "/v1/tenants/contoso/user-pfx:deliver";
	struct qrig *q = *state;
	struct fixture_job j;
	char *body;

	put_record(q, THUMBPRINT("6"), "pfx-six");
	fixture_issue(&j, &q->tenant, "no-1", "corp-user", cc_blob_view(&q->tenant.signer_spki));
	body = deliver_body(rewrap_job(q, "no-2", "u-1-" THUMBPRINT("6"), "pfx-six"),
		fixture_sign(&q->tenant, &j, NULL));
	qrig_refused(q, "POST", path, body, 422, "key_mismatch");
	free(body);
	body = deliver_body(rewrap_job(q, "no-3", "u-1-" THUMBPRINT("6"), "pfx-six"),
		rewrap_job(q, "no-4", "u-1-" THUMBPRINT("6"), "pfx-six"));
	qrig_refused(q, "POST", path, body, 422, "key_mismatch");
	free(body);
	qrig_refused(q, "POST", path, "{\"jobs\":[]}", 400, "malformed_json");
}

/* ---- enrolment ---- */

static void a_connector_enrols_with_its_token(void **state)
{
	struct qrig *q = *state;
	struct qrig_enrolment e;
	struct queue_identity who = {0};
	uint8_t pin[SHA256_SIZE];
	cc_blob der = CC_BLOB_NONE;
	cc_blob spki = fixture_spki(q->ca.key);
	json_t *answer = NULL;
	X509 *x;

	qrig_enrolment_make(&e, q, "hq-7");
	dsse_key_id(cc_blob_view(&spki), pin);
	assert_true(cc_view_equal(codec_view(e.token->queue_ca_pin), cc_view_of(pin, sizeof(pin))));
	assert_int_equal(qrig_enroll(q, &e, false, &answer), 200);
	assert_string_equal(json_string_value(json_object_get(answer, "tenant")), "contoso");
	assert_string_equal(json_string_value(json_object_get(answer, "connector_id")), "hq-7");
	assert_int_equal(json_array_size(json_object_get(answer, "groups")), 2);
	assert_int_equal(text_from_base64(cc_view_text(json_string_value(
						  json_object_get(answer, "certificate"))),
				 8192, &der),
		CC_OK);
	x = qrig_read_der(cc_blob_view(&der));
	assert_int_equal(queue_ca_identity(x, &who), CC_OK);
	assert_string_equal(who.name, "hq-7");
	assert_int_equal(X509_verify(x, q->ca.key), 1);
	X509_free(x);
	cc_blob_free(&der);
	cc_blob_free(&spki);
	json_decref(answer);
	assert_int_equal(qrig_ask(q, "GET", "/v1/tenants/contoso/connectors", NULL, &answer), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "connectors")), 1);
	json_decref(answer);
	qrig_enrolment_clear(&e);
}

static void a_wrong_proof_does_not_burn_the_token(void **state)
{
	struct qrig *q = *state;
	struct qrig_enrolment e;

	qrig_enrolment_make(&e, q, "hq-8");
	assert_int_equal(qrig_enroll(q, &e, true, NULL), 401);
	assert_int_equal(qrig_enroll(q, &e, false, NULL), 200);
	qrig_enrolment_clear(&e);
}

static void a_token_is_used_once_but_a_lost_answer_can_be_repeated(void **state)
{
	struct qrig *q = *state;
	struct qrig_enrolment e;

	qrig_enrolment_make(&e, q, "hq-9");
	assert_int_equal(qrig_enroll(q, &e, false, NULL), 200);
	assert_int_equal(qrig_enroll(q, &e, false, NULL), 200);
	EVP_PKEY_free(e.result);
	cc_blob_free(&e.result_spki);
	e.result = fixture_key("ed25519");
	e.result_spki = fixture_spki(e.result);
	assert_int_equal(qrig_enroll(q, &e, false, NULL), 401);
	qrig_enrolment_clear(&e);
}

static void an_unknown_token_is_refused_like_a_wrong_proof(void **state)
{
	struct qrig *q = *state;
	struct tls_client_reply r = qrig_ask_with(q, NULL, "POST", "/v1/enroll",
		"{\"token_id\":\"nope\",\"csr\":\"AAAA\",\"result_key\":\"AAAA\",\"mac\":"
		"\"AAAA\"}");

	assert_int_equal(r.status, 401);
	tls_client_reply_clear(&r);
	r = qrig_ask_with(q, NULL, "POST", "/v1/enroll", "{\"token_id\":\"nope\"}");
	assert_int_equal(r.status, 400);
	tls_client_reply_clear(&r);
}

static void import_keys_are_listed_even_when_there_are_none(void **state)
{
	struct qrig *q = *state;
	json_t *answer = NULL;

	assert_int_equal(qrig_ask(q, "GET", "/v1/tenants/contoso/import-keys", NULL, &answer), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "keys")), 0);
	json_decref(answer);
}

/* ---- control ---- */

static void control_code(const struct qrig *q, const char *request, const char *code)
{
	json_t *answer = qrig_control(q, request);
	const char *was = json_string_value(json_object_get(answer, "code"));

	assert_true(json_is_false(json_object_get(answer, "ok")));
	assert_non_null(was);
	assert_string_equal(was, code);
	json_decref(answer);
}

static void the_control_socket_is_its_owners_only_and_refuses_what_it_does_not_know(void **state)
{
	struct qrig *q = *state;
	struct stat s;
	json_t *answer;

	assert_int_equal(stat(q->socket, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	control_code(q, "{\"op\":\"reboot\"}", "unknown_op");
	control_code(q, "{\"op\":\"stats\",\"tenants\":1}", "malformed");
	control_code(q, "[]", "malformed");
	control_code(q,
		"{\"op\":\"job_show\",\"tenant\":\"contoso\",\"job\":\"job_"
		"aaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
		"not_found");
	control_code(q,
		"{\"op\":\"producer_token_new\",\"tenant\":\"nobody\",\"name\":\"x\",\"scopes\":["
		"\"jobs:read\"]}",
		"not_found");
	answer = qrig_control(q, "{\"op\":\"stats\"}");
	assert_true(json_is_object(json_object_get(answer, "jobs")));
	json_decref(answer);
}

static void another_job_root_for_a_tenant_is_a_conflict(void **state)
{
	struct qrig *q = *state;
	char *other = text_base64_new(cc_blob_view(&q->tenant.signer_spki));
	char *request = cc_asprintf(
		"{\"op\":\"tenant_add\",\"tenant\":\"contoso\",\"job_root\":\"%s\"}", other);

	qrig_add_tenant(q, &q->tenant);
	control_code(q, request, "conflict");
	free(other);
	free(request);
}

/* One queue for all: each test uses its own names; the last ones change what others would need. */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signed_job_is_accepted_once),
		cmocka_unit_test(malformed_json_is_told_with_its_place),
		cmocka_unit_test(a_document_of_another_type_is_refused),
		cmocka_unit_test(a_wrong_signature_is_told_at_once),
		cmocka_unit_test(an_expired_job_and_one_of_another_tenant_are_refused),
		cmocka_unit_test(the_header_must_be_the_signed_key),
		cmocka_unit_test(a_long_poll_ends_with_its_time),
		cmocka_unit_test(a_long_poll_ends_when_the_job_is_final),
		cmocka_unit_test(a_result_that_is_not_there_is_not_found),
		cmocka_unit_test(a_record_is_kept_and_shown_without_its_content),
		cmocka_unit_test(weak_paddings_and_other_faults_of_a_record_are_refused),
		cmocka_unit_test(a_rewrap_needs_its_record_with_its_digests),
		cmocka_unit_test(a_users_history_is_delivered_as_one_batch),
		cmocka_unit_test(a_history_delivered_again_is_told_the_batch_that_its_jobs_are_in),
		cmocka_unit_test(a_batch_that_is_not_taken_whole_is_not_taken),
		cmocka_unit_test(a_batch_of_other_jobs_or_with_a_repeat_is_refused),
		cmocka_unit_test(import_keys_are_listed_even_when_there_are_none),
		cmocka_unit_test(a_connector_enrols_with_its_token),
		cmocka_unit_test(a_wrong_proof_does_not_burn_the_token),
		cmocka_unit_test(a_token_is_used_once_but_a_lost_answer_can_be_repeated),
		cmocka_unit_test(an_unknown_token_is_refused_like_a_wrong_proof),
		cmocka_unit_test(
			the_control_socket_is_its_owners_only_and_refuses_what_it_does_not_know),
		cmocka_unit_test(another_job_root_for_a_tenant_is_a_conflict),
		cmocka_unit_test(a_statement_is_taken_under_the_job_root_and_never_goes_back),
		cmocka_unit_test(a_statement_of_the_past_withdraws_the_key),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

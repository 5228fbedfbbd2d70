/*
 * Requests that may come twice: idempotency keys of what nobody signed, steps without a body, and why a
 * job is not tried again.
 */
#include "tests/support/queue_peer.h"

#define PFX "/v1/tenants/contoso/user-pfx"

/* One request with these headers and this body (NULL: none, and Content-Length says so). */
static struct tls_client_reply post(
	struct qrig *q, const char *path, const char *headers, const char *body)
{
	struct tls_client *c = tls_client_open(
		q->producer_port, &(struct tls_client_options){.ca = q->ca.certificate});
	char *request = cc_asprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
				    "Authorization: Bearer %s\r\n%s%sContent-Length: %zu\r\n\r\n%s",
		path, q->token, body ? "Content-Type: application/json\r\n" : "", headers,
		body ? strlen(body) : 0, body ? body : "");
	struct tls_client_reply reply;

	assert_non_null(c);
	reply = tls_client_ask(c, cc_view_text(request));
	tls_client_close(c);
	free(request);
	return reply;
}

static void expect(struct qrig *q, const char *path, const char *headers, const char *body,
	int status, const char *word)
{
	struct tls_client_reply r = post(q, path, headers, body);

	if (r.status != status || !strstr(cc_blob_text(&r.body), word))
		fail_msg("%s (%s): %d %s, not %d %s", path, headers, r.status,
			cc_blob_text(&r.body), status, word);
	tls_client_reply_clear(&r);
}

static char *step(const char *key, const char *verb)
{
	char *job = qrig_job_path(key);
	char *path = cc_asprintf("%s%s", job, verb);

	free(job);
	return path;
}

static void submit(struct qrig *q, const char *key)
{
	char *body = qrig_job(q, key, "corp-user");

	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	free(body);
}

static void bury(struct qrig *q, const char *key)
{
	char *job = qrig_job_path(key);
	char *request = cc_asprintf("{\"op\":\"job_bury\",\"tenant\":\"contoso\",\"job\":\"%s\"}",
		strrchr(job, '/') + 1);

	qrig_control_ok(q, request);
	free(job);
	free(request);
}

static char *record(const char *user, const char *password)
{
	return cc_asprintf("{\"id\":\"%s-0123456789abcdef0123456789abcdef01234567\","
			   "\"intendedPurpose\":\"smimeSigning\","
			   "\"userPrincipalName\":\"bob@contoso.com\",\"paddingScheme\":"
			   "\"oaepSha256\",\"encryptedPfxBlob\":\"dGhlIHBmeA==\","
			   "\"encryptedPfxPassword\":\"%s\"}",
		user, password);
}

/* ---- idempotency keys ---- */

static void a_record_that_is_posted_again_under_its_key_is_answered_not_refused(void **state)
{
	struct qrig *q = *state;
	char *body = record("again", "b25l");
	char *other = record("again", "dHdv");
	char *elsewhere = record("elsewhere", "b25l");

	expect(q, PFX, "Idempotency-Key: import-1\r\n", body, 201, "\"again-0123");
	expect(q, PFX, "Idempotency-Key: import-1\r\n", body, 200, "\"again-0123");
	expect(q, PFX, "Idempotency-Key: import-1\r\n", body, 200, "\"pfxSha256\"");
	expect(q, PFX, "Idempotency-Key: import-1\r\n", other, 409, "\"idempotency_conflict\"");
	expect(q, PFX, "Idempotency-Key: import-1\r\n", elsewhere, 409, "\"idempotency_conflict\"");
	/* without the key, or under another one, it is a second record of this id */
	expect(q, PFX, "", body, 409, "\"duplicate_record\"");
	expect(q, PFX, "Idempotency-Key: import-2\r\n", body, 409, "\"duplicate_record\"");
	/* which was refused, so that key is still free */
	expect(q, PFX, "Idempotency-Key: import-2\r\n", elsewhere, 201, "\"elsewhere-0123");
	free(body);
	free(other);
	free(elsewhere);
}

static void a_key_survives_a_restart_of_the_queue(void **state)
{
	struct qrig *q = qrig_new("");
	char *body = record("restart", "b25l");

	(void)state;
	expect(q, PFX, "Idempotency-Key: restart-1\r\n", body, 201, "restart-0123");
	assert_int_equal(qrig_stop(q), 0);
	qrig_start(q);
	expect(q, PFX, "Idempotency-Key: restart-1\r\n", body, 200, "restart-0123");
	free(body);
	qrig_free(q);
}

static void a_key_of_other_characters_is_told(void **state)
{
	struct qrig *q = *state;
	char *body = record("key", "b25l");
	char *path = step("key", ":cancel");

	expect(q, PFX, "Idempotency-Key: not a key\r\n", body, 400, "[A-Za-z0-9._:-]");
	expect(q, path, "Idempotency-Key: not/a/key\r\n", "{}", 400, "/Idempotency-Key");
	free(body);
	free(path);
}

static void a_retry_under_its_key_is_answered_like_the_first(void **state)
{
	struct qrig *q = *state;
	char *retry = step("retry-key", ":retry");
	char *cancel = step("retry-key", ":cancel");

	submit(q, "retry-key");
	bury(q, "retry-key");
	expect(q, retry, "Idempotency-Key: r-1\r\n", "{}", 202, "\"ready\"");
	expect(q, retry, "Idempotency-Key: r-1\r\n", "{}", 202, "\"ready\"");
	expect(q, retry, "", "{}", 409, "\"too_late\"");
	expect(q, cancel, "Idempotency-Key: r-1\r\n", "{}", 409, "\"idempotency_conflict\"");
	/* dead again: the key stands for the first time only */
	bury(q, "retry-key");
	expect(q, retry, "Idempotency-Key: r-1\r\n", "{}", 202, "\"dead\"");
	expect(q, retry, "Idempotency-Key: r-2\r\n", "{}", 202, "\"ready\"");
	expect(q, cancel, "Idempotency-Key: c-1\r\n", "{}", 202, "\"cancelled\"");
	expect(q, cancel, "Idempotency-Key: c-1\r\n", "{}", 202, "\"cancelled\"");
	free(retry);
	free(cancel);
}

/* ---- no body ---- */

static void a_step_without_a_body_is_taken(void **state)
{
	struct qrig *q = *state;
	char *cancel = step("empty-1", ":cancel");
	char *retry = step("empty-2", ":retry");

	submit(q, "empty-1");
	submit(q, "empty-2");
	bury(q, "empty-2");
	expect(q, cancel, "", NULL, 202, "\"cancelled\"");
	expect(q, retry, "", NULL, 202, "\"ready\"");
	free(cancel);
	free(retry);
}

static void an_empty_body_where_one_is_needed_is_told(void **state)
{
	struct qrig *q = *state;

	expect(q, QRIG_JOBS, "", NULL, 400, "\"malformed_json\"");
	expect(q, PFX, "", NULL, 400, "\"malformed_json\"");
	expect(q, PFX ":deliver", "", NULL, 400, "\"malformed_json\"");
}

static void a_connection_goes_on_after_a_request_without_a_body(void **state)
{
	struct qrig *q = *state;
	struct tls_client *c = tls_client_open(q->producer_port, NULL);
	char *path = step("empty-3", ":cancel");
	char *request = cc_asprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
				    "Content-Length: 0\r\n\r\n",
		path, q->token);

	submit(q, "empty-3");
	assert_non_null(c);
	for (int i = 0; i < 3; i++) {
		struct tls_client_reply r = tls_client_ask(c, cc_view_text(request));

		assert_int_equal(r.status, 202);
		tls_client_reply_clear(&r);
	}
	tls_client_close(c);
	free(path);
	free(request);
}

/* ---- why a job is not tried again ---- */

static void submit_until(struct qrig *q, const char *key, int64_t not_after_s)
{
	struct fixture_job j;

	fixture_issue(&j, &q->tenant, key, "corp-user", cc_blob_view(&q->tenant.signer_spki));
	j.doc.not_after_s = not_after_s;
	peer_submit_document(q, fixture_sign(&q->tenant, &j, NULL));
}

static void a_job_that_is_not_dead_or_not_there_is_not_tried_again(void **state)
{
	struct qrig *q = *state;
	char *ready = step("not-dead", ":retry");
	char *absent = step("not-there", ":retry");

	submit(q, "not-dead");
	expect(q, ready, "", "{}", 409, "only a dead or failed job is tried again");
	expect(q, absent, "", "{}", 404, "\"not_found\"");
	free(ready);
	free(absent);
}

static void an_expired_job_is_not_tried_again(void **state)
{
	struct qrig *q = qrig_new("lease: 5s\n"); /* nothing is swept within one of the start */
	char *job = qrig_job_path("past");
	char *path = cc_asprintf("%s?wait=60", job);
	char *retry = step("past", ":retry");
	json_t *answer = NULL;

	(void)state;
	submit_until(q, "past", clock_realtime_s() + 2);
	assert_int_equal(qrig_ask(q, "GET", path, NULL, &answer), 200); /* waits for the end */
	assert_string_equal(json_string_value(json_object_get(answer, "state")), "dead");
	json_decref(answer);
	expect(q, retry, "", "{}", 422, "the job's time is over: sign a new one");
	free(job);
	free(path);
	free(retry);
	qrig_free(q);
}

static void a_retry_needs_room(void **state)
{
	struct qrig *q = qrig_new("quotas: {open_jobs: 1}\n");
	char *retry = step("first", ":retry");
	char *cancel = step("second", ":cancel");

	(void)state;
	submit(q, "first");
	bury(q, "first");
	submit(q, "second");
	expect(q, retry, "", "{}", 507, "\"store_full\"");
	expect(q, cancel, "", "{}", 202, "\"cancelled\"");
	expect(q, retry, "", "{}", 202, "\"ready\"");
	free(retry);
	free(cancel);
	qrig_free(q);
}

static void give_up(struct peer *p, const Certq__Job *job)
{
	Certq__Envelope e = CERTQ__ENVELOPE__INIT;
	Certq__Nack nack = CERTQ__NACK__INIT;

	nack.job_id = job->job_id;
	nack.epoch = job->epoch;
	nack.reason = CERTQ__NACK_REASON__NACK_POISON;
	e.body_case = CERTQ__ENVELOPE__BODY_NACK;
	e.nack = &nack;
	assert_true(ws_client_say(&p->w, &e));
	codec_free(peer_hear(p, CERTQ__ENVELOPE__BODY_NACK_ACK));
}

/* By an operator, as soon as its owner has been away for a second. */
static void take_over(struct qrig *q, const char *key)
{
	char *job = qrig_job_path(key);
	char *request =
		cc_asprintf("{\"op\":\"job_takeover\",\"tenant\":\"contoso\",\"job\":\"%s\"}",
			strrchr(job, '/') + 1);
	bool done = false;

	for (int i = 0; i < 200 && !done; i++) {
		json_t *answer = qrig_control(q, request);

		done = json_is_true(json_object_get(answer, "ok"));
		json_decref(answer);
		if (!done)
			usleep(50000);
	}
	assert_true(done);
	free(job);
	free(request);
}

/* One connector claims the job and is gone; another gets it and gives it up.  What the first one's CA did
 * is on record as in doubt, so the job may run again, and whoever gets it hears of that claim. */
static void a_job_with_a_claim_in_doubt_is_tried_again_and_tells_of_it(void **state)
{
	struct qrig *q = qrig_new("takeover_after: 1s\n");
	char *retry = step("in-doubt", ":retry");
	struct peer first, second;
	Certq__Envelope *claimed, *again, *third;

	(void)state;
	peer_make(&first, q, "first");
	peer_connect(&first);
	submit(q, "in-doubt");
	claimed = peer_take_job(&first, 1);
	assert_int_equal(peer_claim(&first, claimed->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	ws_client_close(&first.w);
	take_over(q, "in-doubt");
	peer_make(&second, q, "second");
	peer_connect(&second);
	again = peer_take_job(&second, 1);
	assert_int_equal(again->job->n_prior, 1);
	give_up(&second, again->job);
	expect(q, retry, "", "{}", 202, "ready");
	third = peer_take_job(&second, 2);
	assert_int_equal(third->job->run, 2);
	assert_int_equal(third->job->n_prior, 1);
	codec_free(claimed);
	codec_free(again);
	codec_free(third);
	peer_clear(&first);
	peer_clear(&second);
	free(retry);
	qrig_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_record_that_is_posted_again_under_its_key_is_answered_not_refused),
		cmocka_unit_test(a_key_survives_a_restart_of_the_queue),
		cmocka_unit_test(a_key_of_other_characters_is_told),
		cmocka_unit_test(a_retry_under_its_key_is_answered_like_the_first),
		cmocka_unit_test(a_step_without_a_body_is_taken),
		cmocka_unit_test(an_empty_body_where_one_is_needed_is_told),
		cmocka_unit_test(a_connection_goes_on_after_a_request_without_a_body),
		cmocka_unit_test(a_job_that_is_not_dead_or_not_there_is_not_tried_again),
		cmocka_unit_test(an_expired_job_is_not_tried_again),
		cmocka_unit_test(a_retry_needs_room),
		cmocka_unit_test(a_job_with_a_claim_in_doubt_is_tried_again_and_tells_of_it),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

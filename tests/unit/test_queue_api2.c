/*
 * The producers' API from outside: lists, batches, the feed of changes, cancel and retry.
 */
#include "tests/support/queue_peer.h"

static void submit(struct qrig *q, const char *key, const char *batch)
{
	char *text = qrig_job(q, key, "corp-user");
	json_t *body = json_loads(text, 0, NULL);

	free(text);
	json_object_set_new(body, "batch_id", json_string(batch));
	text = qrig_dump(body);
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, text, NULL), 202);
	free(text);
}

static json_t *ask_ok(struct qrig *q, const char *path)
{
	json_t *answer = NULL;
	int status = qrig_ask(q, "GET", path, NULL, &answer);

	if (status != 200)
		fail_msg("%s: %d", path, status);
	return answer;
}

static size_t listed(struct qrig *q, const char *query)
{
	char *path = cc_asprintf(QRIG_JOBS "%s", query);
	json_t *answer = ask_ok(q, path);
	size_t n = json_array_size(json_object_get(answer, "jobs"));

	json_decref(answer);
	free(path);
	return n;
}

static char *step_path(const char *key, const char *step)
{
	char *job = qrig_job_path(key);
	char *path = cc_asprintf("%s%s", job, step);

	free(job);
	return path;
}

static void step_ok(struct qrig *q, const char *key, const char *step, const char *state)
{
	char *path = step_path(key, step);
	json_t *answer = NULL;

	assert_int_equal(qrig_ask(q, "POST", path, "{}", &answer), 202);
	assert_string_equal(json_string_value(json_object_get(answer, "state")), state);
	json_decref(answer);
	free(path);
}

static void step_refused(
	struct qrig *q, const char *key, const char *step, int status, const char *code)
{
	char *path = step_path(key, step);

	qrig_refused(q, "POST", path, "{}", status, code);
	free(path);
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

/* ---- lists ---- */

static void jobs_are_listed_page_by_page_in_order_of_creation(void **state)
{
	struct qrig *q = *state;
	char *path = cc_strdup(QRIG_JOBS "?batch_id=pages&limit=2");
	const char *cursor;
	char *expected;
	json_t *page;
	size_t seen = 0;
	char key[16];

	for (int i = 0; i < 5; i++) {
		snprintf(key, sizeof(key), "page-%d", i);
		submit(q, key, "pages");
	}
	do {
		size_t i;
		json_t *job;

		page = ask_ok(q, path);
		free(path);
		path = NULL;
		json_array_foreach(json_object_get(page, "jobs"), i, job)
		{
			snprintf(key, sizeof(key), "page-%zu", seen++);
			expected = qrig_job_path(key);
			assert_string_equal(json_string_value(json_object_get(job, "id")),
				strrchr(expected, '/') + 1);
			assert_null(json_object_get(job, "result"));
			free(expected);
		}
		assert_true(json_array_size(json_object_get(page, "jobs")) <= 2);
		cursor = json_string_value(json_object_get(page, "next_cursor"));
		if (cursor)
			path = cc_asprintf(QRIG_JOBS "?batch_id=pages&limit=2&cursor=%s", cursor);
		json_decref(page);
	} while (path);
	assert_int_equal(seen, 5);
}

static void a_list_has_only_what_its_filters_name(void **state)
{
	struct qrig *q = *state;

	submit(q, "filter-1", "filters");
	submit(q, "filter-2", "filters");
	submit(q, "filter-3", "filters");
	step_ok(q, "filter-2", ":cancel", "cancelled");
	bury(q, "filter-3");
	assert_int_equal(listed(q, "?batch_id=filters"), 3);
	assert_int_equal(listed(q, "?batch_id=filters&state=ready"), 1);
	assert_int_equal(listed(q, "?batch_id=filters&state=cancelled"), 1);
	assert_int_equal(listed(q, "?batch_id=filters&state=dead"), 1);
	assert_int_equal(listed(q, "?batch_id=filters&state=failed"), 0);
	assert_int_equal(listed(q, "?batch_id=filters&state=done"), 0);
	assert_int_equal(listed(q, "?batch_id=filters&kind=issue"), 3);
	assert_int_equal(listed(q, "?batch_id=filters&kind=rewrap"), 0);
	assert_int_equal(listed(q, "?correlation_id=nobody"), 0);
}

static void a_filter_that_is_not_one_is_told_with_its_name(void **state)
{
	static const char *const queries[] = {"state=gone", "kind=sign", "batch_id=a%20b",
		"correlation_id=", "limit=0", "limit=501", "cursor=x"};
	struct qrig *q = *state;

	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
		char *path = cc_asprintf(QRIG_JOBS "?%s", queries[i]);
		char *pointer = cc_asprintf("/%.*s", (int)strcspn(queries[i], "="), queries[i]);
		json_t *problem = NULL;
		const json_t *fault;

		assert_int_equal(qrig_ask(q, "GET", path, NULL, &problem), 400);
		fault = json_array_get(json_object_get(problem, "errors"), 0);
		assert_string_equal(json_string_value(json_object_get(fault, "pointer")), pointer);
		json_decref(problem);
		free(path);
		free(pointer);
	}
}

/* ---- batches ---- */

static json_t *document(struct qrig *q, const char *key)
{
	char *text = qrig_job(q, key, "corp-user");
	json_t *json = json_loads(text, 0, NULL);

	free(text);
	return json;
}

static json_int_t status_of(const json_t *answer, size_t i)
{
	return json_integer_value(
		json_object_get(json_array_get(json_object_get(answer, "jobs"), i), "status"));
}

static void each_item_of_a_batch_has_an_answer_of_its_own(void **state)
{
	struct qrig *q = *state;
	json_t *jobs = json_array(), *bad = document(q, "batch-2"), *answer = NULL;
	const json_t *fault;
	char *body;

	json_object_set_new(bad, "document", json_string("AAAA"));
	json_array_append_new(jobs, document(q, "batch-1"));
	json_array_append_new(jobs, bad);
	json_array_append_new(jobs, json_pack("{s:s}", "document", "AAAA"));
	json_array_append_new(jobs, document(q, "batch-1"));
	json_array_append_new(jobs, document(q, "batch-3"));
	body = qrig_dump(json_pack(
		"{s:o, s:s, s:s}", "jobs", jobs, "batch_id", "mixed", "priority", "bulk"));
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS ":batch", body, &answer), 200);
	assert_int_equal(json_array_size(json_object_get(answer, "jobs")), 5);
	assert_int_equal(status_of(answer, 0), 202);
	assert_int_equal(status_of(answer, 1), 422);
	assert_int_equal(status_of(answer, 2), 400);
	assert_int_equal(status_of(answer, 3), 200); /* the same as the first */
	assert_int_equal(status_of(answer, 4), 202);
	fault = json_array_get(json_object_get(answer, "jobs"), 1);
	assert_string_equal(json_string_value(json_object_get(fault, "code")), "signature_invalid");
	json_decref(answer);
	assert_int_equal(listed(q, "?batch_id=mixed"), 2);
	free(body);
}

static void a_batch_has_one_to_a_hundred_jobs(void **state)
{
	struct qrig *q = *state;
	json_t *jobs = json_array();
	char *body;

	for (int i = 0; i < 101; i++)
		json_array_append_new(jobs, json_object());
	body = qrig_dump(json_pack("{s:o}", "jobs", jobs));
	qrig_refused(q, "POST", QRIG_JOBS ":batch", body, 400, "malformed_json");
	qrig_refused(q, "POST", QRIG_JOBS ":batch", "{\"jobs\":[]}", 400, "malformed_json");
	qrig_refused(q, "POST", QRIG_JOBS ":batch", "{\"job\":[]}", 400, "unknown_member");
	free(body);
}

static void a_batch_without_a_good_job_is_answered_too(void **state)
{
	struct qrig *q = *state;
	json_t *answer = NULL;

	assert_int_equal(
		qrig_ask(q, "POST", QRIG_JOBS ":batch", "{\"jobs\":[{},7]}", &answer), 200);
	assert_int_equal(status_of(answer, 0), 400);
	assert_int_equal(status_of(answer, 1), 400);
	json_decref(answer);
}

/* ---- cancel and retry ---- */

static void a_ready_job_is_cancelled_and_cancelling_may_be_repeated(void **state)
{
	struct qrig *q = *state;

	submit(q, "cancel-1", "cancel");
	step_ok(q, "cancel-1", ":cancel", "cancelled");
	step_ok(q, "cancel-1", ":cancel", "cancelled");
	step_refused(q, "cancel-1", ":retry", 409, "too_late");
	step_refused(q, "cancel-0", ":cancel", 404, "not_found");
	qrig_refused(q, "POST", QRIG_JOBS "/nothing:cancel", "{}", 404, "not_found");
	submit(q, "cancel-2", "cancel");
	bury(q, "cancel-2");
	step_refused(q, "cancel-2", ":cancel", 409, "too_late");
}

static void a_job_that_is_claimed_for_a_ca_is_not_cancelled(void **state)
{
	struct qrig *q = qrig_new("");
	struct peer p;
	Certq__Envelope *leased, *claimed;

	(void)state;
	peer_make(&p, q, "cancel-hq");
	peer_connect(&p);
	submit(q, "claim-1", "claims");
	leased = peer_take_job(&p, 1);
	step_ok(q, "claim-1", ":cancel", "cancelled");
	codec_free(peer_hear(&p, CERTQ__ENVELOPE__BODY_JOB_GONE));
	submit(q, "claim-2", "claims");
	claimed = peer_take_job(&p, 2);
	assert_int_equal(peer_claim(&p, claimed->job), CERTQ__CLAIM_VERDICT__CLAIM_GRANTED);
	step_refused(q, "claim-2", ":cancel", 409, "too_late");
	peer_assert_state(q, claimed->job, "leased");
	codec_free(leased);
	codec_free(claimed);
	peer_clear(&p);
	qrig_free(q);
}

static void a_dead_job_is_tried_again_once(void **state)
{
	struct qrig *q = *state;
	char *path = step_path("retry-1", "");
	char *with_body = step_path("retry-1", ":retry");
	json_t *job;

	submit(q, "retry-1", "retry");
	step_refused(q, "retry-1", ":retry", 409, "too_late"); /* it is not dead */
	bury(q, "retry-1");
	qrig_refused(q, "POST", with_body, "{\"force\":true}", 400, "unknown_member");
	step_ok(q, "retry-1", ":retry", "ready");
	job = ask_ok(q, path);
	assert_string_equal(json_string_value(json_object_get(job, "state")), "ready");
	json_decref(job);
	step_refused(q, "retry-1", ":retry", 409, "too_late");
	step_refused(q, "retry-0", ":retry", 404, "not_found");
	free(path);
	free(with_body);
}

/* ---- events ---- */

static json_int_t last_seq(struct qrig *q)
{
	json_t *page = ask_ok(q, "/v1/tenants/contoso/events?limit=1");
	json_int_t seq = json_integer_value(json_object_get(page, "last_seq"));

	json_decref(page);
	return seq;
}

static json_t *events_after(struct qrig *q, json_int_t seq, const char *more)
{
	char *path = cc_asprintf("/v1/tenants/contoso/events?after=%lld%s", (long long)seq, more);
	json_t *page = ask_ok(q, path);

	free(path);
	return page;
}

static void changes_come_in_order_and_each_job_once(void **state)
{
	struct qrig *q = *state;
	json_int_t before = last_seq(q), seq = before;
	char *cancelled = qrig_job_path("event-1");
	json_t *page, *event;
	size_t i;

	submit(q, "event-1", "events");
	submit(q, "event-2", "events");
	step_ok(q, "event-1", ":cancel", "cancelled");
	page = events_after(q, before, "");
	assert_int_equal(json_array_size(json_object_get(page, "events")), 2);
	json_array_foreach(json_object_get(page, "events"), i, event)
	{
		assert_true(json_integer_value(json_object_get(event, "seq")) > seq);
		seq = json_integer_value(json_object_get(event, "seq"));
		assert_true(json_is_string(json_object_get(event, "at")));
	}
	event = json_array_get(json_object_get(page, "events"), 1);
	assert_string_equal(
		json_string_value(json_object_get(event, "job")), strrchr(cancelled, '/') + 1);
	assert_string_equal(json_string_value(json_object_get(event, "state")), "cancelled");
	assert_int_equal(json_integer_value(json_object_get(page, "last_seq")), seq);
	json_decref(page);
	page = events_after(q, before, "&limit=1");
	assert_int_equal(json_array_size(json_object_get(page, "events")), 1);
	json_decref(page);
	page = events_after(q, seq, "");
	assert_int_equal(json_array_size(json_object_get(page, "events")), 0);
	json_decref(page);
	free(cancelled);
}

static void a_waiting_feed_is_answered_when_a_job_changes(void **state)
{
	struct qrig *q = *state;
	char *request = cc_asprintf("GET /v1/tenants/contoso/events?after=%lld&wait=60 HTTP/1.1\r\n"
				    "Host: x\r\nAuthorization: Bearer %s\r\n\r\n",
		(long long)last_seq(q), q->token);
	struct tls_client *c = tls_client_open(q->producer_port, NULL);
	struct tls_client_reply r;
	int64_t began = clock_boottime_ms();

	assert_true(tls_client_write(c, cc_view_text(request)));
	submit(q, "event-3", "events");
	r = tls_client_ask(c, CC_VIEW_NONE);
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(cc_blob_text(&r.body), "\"ready\""));
	assert_true(clock_boottime_ms() - began < 15000);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	free(request);
}

static void a_waiting_feed_ends_with_its_time(void **state)
{
	struct qrig *q = *state;
	int64_t began = clock_boottime_ms();
	json_t *page = events_after(q, last_seq(q), "&wait=1");

	assert_true(clock_boottime_ms() - began >= 900);
	assert_int_equal(json_array_size(json_object_get(page, "events")), 0);
	json_decref(page);
	qrig_refused(q, "GET", "/v1/tenants/contoso/events?wait=61", NULL, 400, "malformed_json");
	qrig_refused(q, "GET", "/v1/tenants/contoso/events?after=-1", NULL, 400, "malformed_json");
}

static void another_tenants_lists_and_jobs_are_not_there(void **state)
{
	struct qrig *q = *state;
	struct fixture_tenant other;
	char *token, *job, *own;
	static const char *const paths[] = {"/v1/tenants/contoso/jobs",
		"/v1/tenants/contoso/events", "/v1/tenants/contoso/user-pfx"};

	fixture_tenant_make(&other, "fabrikam");
	qrig_add_tenant(q, &other);
	token = qrig_token(q, "fabrikam", "mdm", QRIG_ALL_SCOPES);
	submit(q, "foreign-1", "foreign");
	job = step_path("foreign-1", ":cancel");
	own = cc_asprintf("/v1/tenants/fabrikam/jobs%s", strrchr(job, '/'));
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(qrig_status(qrig_ask_with(q, token, "GET", paths[i], NULL)), 404);
	assert_int_equal(qrig_status(qrig_ask_with(q, token, "POST", job, "{}")), 404);
	assert_int_equal(qrig_status(qrig_ask_with(q, token, "POST", own, "{}")), 404);
	assert_int_equal(listed(q, "?batch_id=foreign&state=ready"), 1);
	fixture_tenant_clear(&other);
	free(token);
	free(job);
	free(own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_are_listed_page_by_page_in_order_of_creation),
		cmocka_unit_test(a_list_has_only_what_its_filters_name),
		cmocka_unit_test(a_filter_that_is_not_one_is_told_with_its_name),
		cmocka_unit_test(each_item_of_a_batch_has_an_answer_of_its_own),
		cmocka_unit_test(a_batch_has_one_to_a_hundred_jobs),
		cmocka_unit_test(a_batch_without_a_good_job_is_answered_too),
		cmocka_unit_test(a_ready_job_is_cancelled_and_cancelling_may_be_repeated),
		cmocka_unit_test(a_job_that_is_claimed_for_a_ca_is_not_cancelled),
		cmocka_unit_test(a_dead_job_is_tried_again_once),
		cmocka_unit_test(changes_come_in_order_and_each_job_once),
		cmocka_unit_test(a_waiting_feed_is_answered_when_a_job_changes),
		cmocka_unit_test(a_waiting_feed_ends_with_its_time),
		cmocka_unit_test(another_tenants_lists_and_jobs_are_not_there),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

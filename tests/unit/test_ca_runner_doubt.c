/*
 * The runner before a CA that loses answers, takes its time and cannot give the same certificate twice:
 * what was asked for and has no known answer is never asked for again unsaid, over kill -9 too.
 *
 * The CA is a backend of this test's own, in the runner's process; what it shall say, and how often it was
 * asked, is in memory that both processes share.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ca-backends/registry.h"
#include "tests/support/runner_rig.h"
#include <semaphore.h>
#include <sys/mman.h>

struct script {
	Ca__CaResult submit, find, poll, withdraw;
	Ca__CaResubmit resubmit;
	bool dies;  /* in its submit, when the request is out */
	bool waits; /* in its health, until `go` */
	sem_t go;
	size_t cookie_size;
	size_t submits, finds, polls, withdraws; /* so often asked */
	uint8_t shown[64];                       /* the cookie that a poll came with */
	size_t shown_size;
};

static struct script *script;

/* ---- the backend ---- */

static void say(Ca__CaResult result, struct ca_answer *ret)
{
	ca_answer_set(ret, result, "%s", "as the script says");
	if (result == CA__CA_RESULT__CA_ISSUED)
		ca_answer_add(ret, cc_view_text("a certificate"));
	if (result == CA__CA_RESULT__CA_PENDING) {
		ret->cookie = cc_blob_new(script->cookie_size);
		ret->delay_s = 60;
	}
}

static void false_submit(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	(void)instance;
	(void)r;
	script->submits++;
	if (script->dies)
		raise(SIGKILL);
	say(script->submit, ret);
}

static void false_find(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	(void)instance;
	(void)r;
	script->finds++;
	say(script->find, ret);
}

static void false_poll(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	(void)instance;
	script->polls++;
	script->shown_size = r->cookie.size;
	memcpy(script->shown, r->cookie.data, r->cookie.size < 64 ? r->cookie.size : 64);
	say(script->poll, ret);
}

static void false_withdraw(void *instance, const struct ca_request *r, struct ca_answer *ret)
{
	(void)instance;
	(void)r;
	script->withdraws++;
	say(script->withdraw, ret);
}

static void false_health(void *instance, struct ca_answer *ret)
{
	(void)instance;
	if (script->waits)
		sem_wait(&script->go);
	say(CA__CA_RESULT__CA_DONE, ret);
}

static cc_err false_open(const struct ca_context *c, void **ret_instance)
{
	*ret_instance = (void *)(uintptr_t)c;
	return CC_OK;
}

static void false_close(void *instance)
{
	(void)instance;
}

static const struct ca_option_rule schema[] = {
	{"templates.*.eku", false, true, NULL, ""},
	{"templates.*.approval", false, false, NULL, ""},
	{"poll_after", false, false, NULL, ""},
};

static struct ca_backend false_backend = {
	.abi = CA_BACKEND_ABI,
	.name = "false",
	.description = "a CA that loses answers",
	.schema = schema,
	.schema_count = 3,
	.find_by = CA__CA_FIND__FIND_BY_CSR,
	.open = false_open,
	.submit = false_submit,
	.find = false_find,
	.poll = false_poll,
	.withdraw = false_withdraw,
	.health = false_health,
	.close = false_close,
};

/* In place of the program's own registry. */
const struct ca_backend *registry_at(size_t index)
{
	return index == 0 ? &false_backend : NULL;
}

const struct ca_backend *registry_find(const char *name)
{
	return strcmp(name, "false") == 0 ? &false_backend : NULL;
}

static int set_up_false(void **state)
{
	script = mmap(
		NULL, sizeof(*script), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(script != MAP_FAILED);
	*script = (struct script){.submit = CA__CA_RESULT__CA_UNKNOWN,
		.find = CA__CA_RESULT__CA_CANNOT_TELL,
		.cookie_size = 5};
	assert_int_equal(sem_init(&script->go, 1, 0), 0);
	false_backend.resubmit = CA__CA_RESUBMIT__RESUBMIT_NEW_CERT;
	return set_up_with(state, "false");
}

#define CALLS_MAX 1024u /* of runner_calls.c */

/* A test that failed may have left the backend waiting. */
static int tear_down_false(void **state)
{
	script->waits = false;
	for (size_t i = 0; i < CALLS_MAX; i++)
		sem_post(&script->go);
	int status = tear_down(state);

	munmap(script, sizeof(*script));
	return status;
}

static void assert_asked(size_t submits, size_t finds)
{
	assert_int_equal(script->submits, submits);
	assert_int_equal(script->finds, finds);
}

/* ---- doubt ---- */

static void a_request_without_an_answer_is_looked_for_before_another_is_made(void **state)
{
	struct rig *r = *state;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	assert_asked(1, 0);
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	assert_asked(1, 1);
	expect(look_up(r), CA__CA_RESULT__CA_CANNOT_TELL);
	assert_asked(1, 2);
}

static void a_runner_that_dies_while_it_asks_is_in_doubt(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	Certq__SignedDocument *d = sign(r->approval, DOC_ORDER, &o);
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Submit s = CA__SUBMIT__INIT;

	script->dies = true;
	s.order = d;
	q.op_case = CA__CA_REQUEST__OP_SUBMIT;
	q.submit = &s;
	send_request(r, &q);
	assert_true(WIFSIGNALED(wait_exit(r)));
	codec_free(d);
	script->dies = false;
	start_runner(r);
	connect_runner(r);
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	assert_asked(1, 1);
	script->find = CA__CA_RESULT__CA_NOT_ISSUED;
	script->submit = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(2, 2);
}

static void what_is_found_ends_the_doubt_for_good(void **state)
{
	struct rig *r = *state;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	script->find = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(1, 1);
	restart_runner(r);
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	expect(look_up(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(1, 1); /* by the ledger */
}

static void a_find_ends_the_doubt_too(void **state)
{
	struct rig *r = *state;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	script->find = CA__CA_RESULT__CA_NOT_ISSUED;
	expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
	script->find = CA__CA_RESULT__CA_CANNOT_TELL;
	script->submit = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(2, 1);
}

static void a_find_without_an_order_leaves_no_trace(void **state)
{
	struct rig *r = *state;

	script->find = CA__CA_RESULT__CA_NOT_ISSUED;
	expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
	script->find = CA__CA_RESULT__CA_PENDING;
	expect(look_up(r), CA__CA_RESULT__CA_PENDING);
	script->submit = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(1, 2);
}

static void a_second_request_is_risked_only_when_the_connector_says_so(void **state)
{
	struct rig *r = *state;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	expect(submit_again(r), CA__CA_RESULT__CA_UNKNOWN);
	assert_asked(2, 1);
	script->submit = CA__CA_RESULT__CA_NOT_SENT; /* this one; the first may have been */
	expect(submit_again(r), CA__CA_RESULT__CA_UNKNOWN);
	script->submit = CA__CA_RESULT__CA_REJECTED;
	expect(submit_again(r), CA__CA_RESULT__CA_REJECTED);
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN); /* in doubt as before */
	assert_asked(4, 4);
}

static void where_the_same_certificate_comes_again_it_is_asked_for_again(void **state)
{
	struct rig *r = *state;

	kill(r->pid, SIGKILL);
	wait_exit(r);
	false_backend.resubmit = CA__CA_RESUBMIT__RESUBMIT_SAME_CERT;
	start_runner(r);
	connect_runner(r);
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	script->submit = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(2, 1);
}

static void a_wrong_configuration_does_not_hide_the_doubt(void **state)
{
	static const Ca__CaResult results[] = {CA__CA_RESULT__CA_MISCONFIGURED,
		CA__CA_RESULT__CA_NOT_SUPPORTED, CA__CA_RESULT__CA_NOT_SENT};
	struct rig *r = *state;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		script->submit = results[i];
		expect(submit_again(r), CA__CA_RESULT__CA_UNKNOWN);
	}
	assert_asked(4, 3);
}

/* As many calls as the runner takes; the first holds up the others. */
static void fill_list(struct rig *r)
{
	Ca__CaRequest q = CA__CA_REQUEST__INIT;
	Ca__Health h = CA__HEALTH__INIT;

	script->waits = true;
	q.op_case = CA__CA_REQUEST__OP_HEALTH;
	q.health = &h;
	for (size_t i = 0; i < CALLS_MAX; i++)
		send_request(r, &q);
}

static void empty_list(struct rig *r)
{
	script->waits = false;
	for (size_t i = 0; i < CALLS_MAX; i++)
		sem_post(&script->go);
	for (size_t i = 0; i < CALLS_MAX; i++)
		expect(read_answer(r), CA__CA_RESULT__CA_DONE);
}

static void a_full_list_does_not_hide_the_doubt(void **state)
{
	struct rig *r = *state;
	uint8_t other[16] = {9, 9, 9};
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	fill_list(r);
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	o.job_id = codec_bytes(cc_view_of(other, sizeof(other)));
	expect(submit_order(r, &o), CA__CA_RESULT__CA_NOT_SENT);
	expect(look_up(r), CA__CA_RESULT__CA_NOT_SENT);
	assert_asked(1, 0);
	empty_list(r);
	script->find = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(1, 1);
}

static void what_was_not_sent_or_refused_leaves_no_doubt(void **state)
{
	static const Ca__CaResult results[] = {CA__CA_RESULT__CA_NOT_SENT,
		CA__CA_RESULT__CA_MISCONFIGURED, CA__CA_RESULT__CA_REJECTED,
		CA__CA_RESULT__CA_NEED_REKEY};
	struct rig *r = *state;

	for (size_t i = 0; i < 4; i++) {
		script->submit = results[i];
		expect(submit(r), results[i]);
		assert_asked(i + 1, 0);
		expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
		assert_asked(i + 1, 0); /* the ledger knows */
		restart_runner(r);
	}
}

/* ---- pending ---- */

static void a_pending_answer_and_its_cookie_outlive_the_runner(void **state)
{
	struct rig *r = *state;
	cc_blob cookie, found;

	script->submit = CA__CA_RESULT__CA_PENDING;
	cookie = take_cookie(submit(r));
	assert_int_equal(cookie.size, 5 + 29);
	restart_runner(r);
	found = take_cookie(submit(r));
	assert_true(cc_view_equal(cc_blob_view(&cookie), cc_blob_view(&found)));
	cc_blob_free(&found);
	found = take_cookie(look_up(r));
	assert_true(cc_view_equal(cc_blob_view(&cookie), cc_blob_view(&found)));
	assert_asked(1, 0);
	script->poll = CA__CA_RESULT__CA_ISSUED;
	expect(poll_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(script->shown_size, 5);
	assert_memory_equal(script->shown, "\0\0\0\0\0", 5);
	expect(poll_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(script->polls, 1); /* the second by the ledger */
	cc_blob_free(&cookie);
	cc_blob_free(&found);
}

static void a_cookie_of_another_job_or_an_altered_one_is_refused(void **state)
{
	struct rig *r = *state;
	Vault__Order other = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	uint8_t other_id[16] = {9};
	cc_blob cookie;

	script->submit = script->poll = CA__CA_RESULT__CA_PENDING;
	cookie = take_cookie(submit(r));
	other.job_id = codec_bytes(cc_view_of(other_id, sizeof(other_id)));
	expect(poll_with(r, &other, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ORDER_REFUSED);
	other = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	other.tenant = codec_text("fabrikam");
	expect(poll_with(r, &other, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ORDER_REFUSED);
	expect(poll_order(r, CC_VIEW_NONE), CA__CA_RESULT__CA_ORDER_REFUSED);
	cookie.data[cookie.size / 2] ^= 1;
	expect(poll_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ORDER_REFUSED);
	expect(withdraw_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ORDER_REFUSED);
	assert_int_equal(script->polls, 0);
	assert_int_equal(script->withdraws, 0);
	cc_blob_free(&cookie);
}

static void refused_poll(struct rig *r, const Vault__Order *o, cc_view cookie)
{
	expect(poll_with(r, o, cookie), CA__CA_RESULT__CA_ORDER_REFUSED);
}

static void an_order_to_poll_is_judged_like_one_to_submit(void **state)
{
	struct rig *r = *state;
	Vault__Order o = order_for(r, VAULT__ORDER_OP__ORDER_SUBMIT);
	EVP_PKEY *approval = r->approval, *foreign = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	cc_blob cookie, csr = local_rig_csr("mallory", usual);

	script->submit = script->poll = CA__CA_RESULT__CA_PENDING;
	cookie = take_cookie(submit(r));
	refused_poll(r, &o, cc_blob_view(&cookie)); /* for another operation */
	o = order_for(r, VAULT__ORDER_OP__ORDER_WITHDRAW);
	refused_poll(r, &o, cc_blob_view(&cookie));
	o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	o.not_after_s = clock_realtime_s() - 1;
	refused_poll(r, &o, cc_blob_view(&cookie));
	o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	o.ca = codec_text("backup-ca");
	refused_poll(r, &o, cc_blob_view(&cookie));
	o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	o.csr = codec_bytes(cc_blob_view(&csr));
	refused_poll(r, &o, cc_blob_view(&cookie));
	o = order_for(r, VAULT__ORDER_OP__ORDER_POLL);
	r->approval = foreign;
	refused_poll(r, &o, cc_blob_view(&cookie));
	r->approval = approval;
	assert_int_equal(script->polls, 0);
	expect(poll_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_PENDING);
	EVP_PKEY_free(foreign);
	cc_blob_free(&csr);
	cc_blob_free(&cookie);
}

static void a_cookie_over_the_limit_leaves_the_request_in_doubt(void **state)
{
	struct rig *r = *state;

	script->submit = CA__CA_RESULT__CA_PENDING;
	script->cookie_size = CA_COOKIE_MAX - 28;
	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	script->find = CA__CA_RESULT__CA_ISSUED;
	expect(submit(r), CA__CA_RESULT__CA_ISSUED);
	assert_asked(1, 1);
}

static void a_pending_request_that_is_found_may_be_polled(void **state)
{
	struct rig *r = *state;
	cc_blob cookie;

	expect(submit(r), CA__CA_RESULT__CA_UNKNOWN);
	script->find = CA__CA_RESULT__CA_PENDING;
	cookie = take_cookie(submit(r));
	script->poll = CA__CA_RESULT__CA_REJECTED;
	expect(poll_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_REJECTED);
	expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
	assert_asked(1, 1);
	cc_blob_free(&cookie);
}

static void a_withdrawal_is_final_and_what_was_granted_comes_back(void **state)
{
	struct rig *r = *state;
	cc_blob cookie;

	script->submit = CA__CA_RESULT__CA_PENDING;
	cookie = take_cookie(submit(r));
	script->withdraw = CA__CA_RESULT__CA_UNKNOWN;
	expect(withdraw_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_UNKNOWN);
	expect(look_up(r), CA__CA_RESULT__CA_PENDING);
	script->withdraw = CA__CA_RESULT__CA_NOT_ISSUED;
	expect(withdraw_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_NOT_ISSUED);
	expect(look_up(r), CA__CA_RESULT__CA_NOT_ISSUED);
	script->withdraw = CA__CA_RESULT__CA_ISSUED;
	expect(withdraw_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ISSUED);
	expect(withdraw_order(r, cc_blob_view(&cookie)), CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(script->withdraws, 3);
	cc_blob_free(&cookie);
}

#define TEST_FALSE(name) cmocka_unit_test_setup_teardown(name, set_up_false, tear_down_false)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_FALSE(a_request_without_an_answer_is_looked_for_before_another_is_made),
		TEST_FALSE(a_runner_that_dies_while_it_asks_is_in_doubt),
		TEST_FALSE(what_is_found_ends_the_doubt_for_good),
		TEST_FALSE(a_find_ends_the_doubt_too),
		TEST_FALSE(a_find_without_an_order_leaves_no_trace),
		TEST_FALSE(a_second_request_is_risked_only_when_the_connector_says_so),
		TEST_FALSE(where_the_same_certificate_comes_again_it_is_asked_for_again),
		TEST_FALSE(a_wrong_configuration_does_not_hide_the_doubt),
		TEST_FALSE(a_full_list_does_not_hide_the_doubt),
		TEST_FALSE(what_was_not_sent_or_refused_leaves_no_doubt),
		TEST_FALSE(a_pending_answer_and_its_cookie_outlive_the_runner),
		TEST_FALSE(a_cookie_of_another_job_or_an_altered_one_is_refused),
		TEST_FALSE(an_order_to_poll_is_judged_like_one_to_submit),
		TEST_FALSE(a_cookie_over_the_limit_leaves_the_request_in_doubt),
		TEST_FALSE(a_pending_request_that_is_found_may_be_polled),
		TEST_FALSE(a_withdrawal_is_final_and_what_was_granted_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

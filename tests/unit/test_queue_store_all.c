/*
 * Several jobs as one operation of the store: all of them are taken, or none.
 */
#include "tests/support/store_rig_jobs.h"

#define ITEMS 3

static struct store_enqueue_out items[ITEMS]; /* of the last call */

static inline void rig_keep_enqueue_all(struct rig *r, const struct store_enqueue_all_out *out)
{
	(void)r;
	for (size_t i = 0; i < ITEMS; i++)
		items[i] = i < out->count ? out->items[i] : (struct store_enqueue_out){0};
}

RIG_CALL(enqueue_all)

/* A body of its own for each, which rig_new_job has once for all. */
static struct store_enqueue_in job(struct rig *r, uint32_t number)
{
	struct store_enqueue_in in = rig_new_job(r, number, STORE_REWRAP);

	in.body_sha256 = rig_digest((uint8_t)number);
	return in;
}

static struct store_enqueue_all_out enqueue_all(struct rig *r, const struct store_enqueue_in *in)
{
	return rig_enqueue_all(
		r, (struct store_enqueue_all_in){.tenant = T, .items = in, .count = ITEMS});
}

static void expect_absent(struct rig *r, uint32_t number)
{
	struct store_fetch_out out =
		rig_fetch(r, (struct store_fetch_in){.tenant = T, .job_id = rig_id(r, number)});

	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, STORE_UNKNOWN);
}

static void expect_refused(
	struct rig *r, const struct store_enqueue_in *in, size_t at, enum store_result why)
{
	struct store_enqueue_all_out out = enqueue_all(r, in);

	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, STORE_REFUSED);
	assert_int_equal(out.refused, at);
	assert_int_equal(items[at].result, why);
}

static void all_are_taken_and_the_same_again_is_told(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};
	struct store_enqueue_all_out out = enqueue_all(r, in);

	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, STORE_OK);
	for (size_t i = 0; i < ITEMS; i++) {
		assert_int_equal(items[i].result, STORE_NEW);
		assert_int_equal(items[i].state, STORE_READY);
	}
	assert_true(items[0].seq < items[1].seq && items[1].seq < items[2].seq);
	assert_int_equal(enqueue_all(r, in).result, STORE_OK);
	for (size_t i = 0; i < ITEMS; i++)
		assert_int_equal(items[i].result, STORE_SAME);
}

static void one_that_another_document_took_keeps_the_others_out(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};
	struct store_enqueue_in other = job(r, 2);

	other.body_sha256 = rig_digest(77);
	assert_int_equal(rig_enqueue(r, other).result, STORE_NEW);
	expect_refused(r, in, 1, STORE_CONFLICT);
	expect_absent(r, 1);
	expect_absent(r, 3);
}

static void one_whose_time_is_over_keeps_the_others_out(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};

	in[2].not_after_ms = 1;
	expect_refused(r, in, 2, STORE_EXPIRED);
	expect_absent(r, 1);
	expect_absent(r, 2);
}

static void an_id_that_is_there_twice_is_a_conflict(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 1)};

	expect_refused(r, in, 2, STORE_CONFLICT);
	expect_absent(r, 1);
}

static void room_for_some_of_them_is_not_enough(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};

	store_close(r->store);
	r->config.max_open_jobs = ITEMS - 1;
	rig_open(r);
	expect_refused(r, in, ITEMS - 1, STORE_QUOTA);
	expect_absent(r, 1);
	/* one that is there already takes no room */
	assert_int_equal(rig_enqueue(r, job(r, 3)).result, STORE_NEW);
	expect_refused(r, in, 1, STORE_QUOTA);
	expect_absent(r, 1);
}

static void a_store_that_fails_takes_none(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};

	store_fail_next_for_test(r->store);
	assert_int_equal(enqueue_all(r, in).err, CC_IO);
	for (uint32_t number = 1; number <= ITEMS; number++)
		expect_absent(r, number);
	assert_int_equal(enqueue_all(r, in).result, STORE_OK); /* and leaves no trace */
}

static void items_of_another_tenant_are_refused(void **state)
{
	struct rig *r = *state;
	struct store_enqueue_in in[ITEMS] = {job(r, 1), job(r, 2), job(r, 3)};

	in[1].tenant = cc_view_text("fabrikam");
	assert_int_equal(enqueue_all(r, in).err, CC_MALFORMED);
	expect_absent(r, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(all_are_taken_and_the_same_again_is_told),
		RIG_TEST(one_that_another_document_took_keeps_the_others_out),
		RIG_TEST(one_whose_time_is_over_keeps_the_others_out),
		RIG_TEST(an_id_that_is_there_twice_is_a_conflict),
		RIG_TEST(room_for_some_of_them_is_not_enough),
		RIG_TEST(a_store_that_fails_takes_none),
		RIG_TEST(items_of_another_tenant_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

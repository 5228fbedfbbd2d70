/*
 * The store's contract: who gets which job: routes, lanes, priorities, exclusion, suspension.
 */
#include "base/db.h"
#include "tests/support/store_rig_jobs.h"

static void put(struct rig *r, uint32_t job, const struct store_route *route)
{
	struct store_enqueue_in in = rig_new_job(r, job, route->kind);
	in.route = *route;
	assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
}

static void a_connector_gets_only_the_kinds_that_it_offers(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_offer(r, &c, STORE_KIND_BIT(STORE_REWRAP), NULL, 0);
	rig_enqueue_kind(r, 1, STORE_ISSUE);
	rig_enqueue_kind(r, 2, STORE_REWRAP);
	assert_int_equal(rig_take(r, &c, 5), 1);
	assert_int_equal(r->items[0].job, 2);
}

static void a_profile_needs_a_connector_that_has_it(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view mine = cc_view_text("corp-user");
	struct store_route route = {.kind = STORE_ISSUE, .ca_profile = cc_view_text("other")};

	rig_connect(r, &c, HQ1);
	rig_offer(r, &c, ~0u, &mine, 1);
	put(r, 1, &route);
	route.ca_profile = mine;
	put(r, 2, &route);
	assert_int_equal(rig_take(r, &c, 5), 1);
	assert_int_equal(r->items[0].job, 2);
}

static void an_audience_is_a_connector_or_one_of_its_groups(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view group = cc_view_text("hq");
	struct store_route route = {.kind = STORE_ISSUE};

	rig_connector_put(r, (struct store_connector_put_in){.tenant = T,
				     .id = HQ1,
				     .result_spki = cc_view_text("key"),
				     .certificate_sha256 = rig_digest(9),
				     .groups = &group,
				     .group_count = 1});
	c = (struct rig_conn){.name = HQ1};
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
	rig_offer(r, &c, ~0u, NULL, 0);
	route.audience = HQ1;
	put(r, 1, &route);
	route.audience = group;
	put(r, 2, &route);
	route.audience = HQ2;
	put(r, 3, &route);
	assert_int_equal(rig_take(r, &c, 5), 2);
}

static void a_record_goes_to_whoever_holds_one_of_its_keys(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view ids[2] = {rig_digest(50), rig_digest(51)};
	struct store_key key = {rig_digest(51), cc_view_text("spki")};
	struct store_route route = {.kind = STORE_REWRAP, .key_ids = ids, .key_id_count = 2};

	rig_connect(r, &c, HQ1);
	put(r, 1, &route);
	assert_int_equal(rig_take(r, &c, 5), 0);
	assert_int_equal(
		rig_set_capabilities(r,
			(struct store_set_capabilities_in){
				.session = c.s, .kinds = ~0u, .keys = &key, .key_count = 1})
			.result,
		STORE_OK);
	assert_int_equal(rig_take(r, &c, 5), 1);
}

static void work_for_absent_keys_starves_nobody(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint8_t id[STORE_DIGEST_SIZE] = {0};
	cc_view ids[1] = {cc_view_of(id, sizeof(id))};
	struct store_route route = {.kind = STORE_REWRAP, .key_ids = ids, .key_id_count = 1};

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 1000; i++) {
		id[0] = (uint8_t)i;
		id[1] = (uint8_t)(i >> 8);
		put(r, i, &route);
	}
	rig_enqueue_kind(r, 1001, STORE_ISSUE);
	assert_int_equal(rig_take(r, &c, 5), 1);
	assert_int_equal(r->items[0].job, 1001);
	struct store_stats_out stats = rig_stats(r, (struct store_stats_in){T});
	assert_int_equal(stats.routes, 1000);
}

static void lanes_share_by_weight(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	size_t got[STORE_KIND_COUNT] = {0};
	static const enum store_kind kinds[] = {
		STORE_CHAIN, STORE_REWRAP, STORE_ISSUE, STORE_REVOKE};

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 0; i < 80; i++)
		rig_enqueue_kind(r, i + 1, kinds[i / 20]);
	for (size_t i = 0; i < 17; i++) { /* one at a time: its place is remembered */
		assert_int_equal(rig_take(r, &c, 1), 1);
		got[kinds[(r->items[0].job - 1) / 20]]++;
	}
	assert_int_equal(got[STORE_REVOKE], 8);
	assert_int_equal(got[STORE_ISSUE], 4);
	assert_int_equal(got[STORE_REWRAP], 4);
	assert_int_equal(got[STORE_CHAIN], 1);
}

static void an_empty_lane_leaves_its_share_to_the_others(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 10; i++)
		rig_enqueue_kind(r, i, STORE_CHAIN);
	assert_int_equal(rig_take(r, &c, 10), 10);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(r->items[i].job, i + 1); /* in order */
}

static void a_priority_is_a_head_start_and_no_more(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	static const enum store_priority priorities[] = {
		STORE_BULK, STORE_NORMAL, STORE_INTERACTIVE};

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 3; i++) {
		struct store_enqueue_in in = rig_new_job(r, i, STORE_ISSUE);
		in.priority = priorities[i - 1];
		assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	}
	rig_pass(r, 11 * 60 * 1000);
	struct store_enqueue_in late = rig_new_job(r, 4, STORE_ISSUE);
	late.priority = STORE_INTERACTIVE;
	assert_int_equal(rig_enqueue(r, late).result, STORE_NEW);
	assert_int_equal(rig_take(r, &c, 4), 4);
	assert_int_equal(r->items[0].job, 3);
	assert_int_equal(r->items[1].job, 2);
	assert_int_equal(r->items[2].job, 1); /* waited longer than its handicap */
	assert_int_equal(r->items[3].job, 4);
}

static void an_excluded_connector_does_not_see_the_job_for_a_while(void **state)
{
	struct rig *r = *state;
	struct rig_conn a, b;
	struct store_nack_in in;
	struct store_lease_out out;

	rig_connect(r, &a, HQ1);
	rig_connect(r, &b, HQ2);
	rig_enqueue_job(r, 1);
	in = rig_nack_in(r, &a, 1, rig_take_one(r, &a, 1), STORE_NACK_BUSY);
	in.exclude = true;
	assert_int_equal(rig_nack(r, in).result, STORE_OK);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_take(r, &a, 5), 1); /* what is behind it is not blocked */
	assert_int_equal(r->items[0].job, 2);
	assert_int_equal(rig_take_one(r, &b, 1), 2);
	in = rig_nack_in(r, &b, 1, 2, STORE_NACK_NOT_SUPPORTED);
	assert_int_equal(rig_nack(r, in).result, STORE_OK);
	assert_int_equal(rig_take(r, &b, 5), 0);
	out = rig_lease(r, (struct store_lease_in){.session = a.s, .max_jobs = 5});
	assert_int_equal(out.result, STORE_EMPTY);
	assert_in_range(out.next_ms, 14 * 60 * 1000, 15 * 60 * 1000); /* the end is next due */
	rig_pass(r, 15 * 60 * 1000 + 1);
	assert_int_equal(rig_take(r, &a, 5), 1);
}

static void five_refusals_in_a_row_suspend_the_connector(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_lease_out out;

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 10; i++) {
		rig_enqueue_job(r, i);
		uint32_t epoch = rig_take_one(r, &c, i);
		if (i == 3) /* a good one in between: not in a row */
			assert_int_equal(rig_succeed(r, HQ1, i, epoch, 7), STORE_STORED);
		else
			assert_int_equal(
				rig_nack(r, rig_nack_in(r, &c, i, epoch, STORE_NACK_REFUSED_HERE))
					.result,
				STORE_OK);
		if (i == 8)
			break;
	}
	assert_int_equal(rig_hints(r, STORE_HINT_SUSPENDED, 0), 1);
	rig_enqueue_job(r, 20);
	out = rig_lease(r, (struct store_lease_in){c.s, 1, 0});
	assert_int_equal(out.result, STORE_SUSPENDED);
	rig_connector_set(
		r, (struct store_connector_set_in){.tenant = T, .id = HQ1, .resume = true});
	assert_int_equal(rig_take_one(r, &c, 20), 1);
}

static void a_route_that_nobody_serves_is_reported_once(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_enqueue_out out;

	rig_connect(r, &c, HQ1);
	struct store_enqueue_in in = rig_new_job(r, 1, STORE_ISSUE);
	in.route.ca_profile = cc_view_text("nowhere");
	assert_false(rig_enqueue(r, in).routable);
	out = rig_enqueue(r, rig_new_job(r, 2, STORE_ISSUE));
	assert_true(out.routable);
	for (size_t i = 0; i < 20; i++) {
		rig_pass(r, RIG_LEASE_MS);
		rig_sweep_all(r);
	}
	assert_int_equal(rig_hints(r, STORE_HINT_UNROUTABLE, 0), 1);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).unroutable, 1);
	rig_offer(r, &c, ~0u, &in.route.ca_profile, 1);
	rig_sweep_all(r);
	assert_int_equal(rig_stats(r, (struct store_stats_in){T}).unroutable, 0);
}

static void an_enqueue_notices_that_its_route_is_served_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	assert_false(rig_enqueue(r, rig_new_job(r, 1, STORE_ISSUE)).routable);
	rig_connect(r, &c, HQ1);
	rig_take_one(r, &c,
		1); /* before the watch saw the route: no work is left that it would look at */
	assert_true(rig_enqueue(r, rig_new_job(r, 2, STORE_ISSUE)).routable);
}

/* The rows of routes, as they are on disk. */
static size_t count_routes(struct rig *r)
{
	static const char *const names[] = {"route"};
	struct db_cursor at = {0};
	struct db *db = NULL;
	MDB_txn *txn = NULL;
	size_t count = 0;
	cc_err err = CC_OK;

	store_close(r->store);
	r->store = NULL;
	assert_int_equal(db_open(r->dir, UINT64_C(1) << 30, names, 1, &db), CC_OK);
	assert_int_equal(db_read_begin(db, &txn), CC_OK);
	assert_int_equal(db_scan(db, txn, 0, CC_VIEW_NONE, CC_VIEW_NONE, &at), CC_OK);
	while (db_next(&at, &err))
		count++;
	assert_int_equal(err, CC_OK);
	db_scan_end(&at);
	db_read_end(txn);
	db_close(db);
	assert_int_equal(rig_open_store(r), CC_OK);
	return count;
}

static void a_route_goes_with_the_last_job_that_names_it(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	cc_view mine = cc_view_text("corp-user");
	struct store_route route = {.kind = STORE_ISSUE, .ca_profile = mine};

	put(r, 1, &route);
	put(r, 2, &route);
	rig_enqueue_kind(r, 3, STORE_REVOKE);
	assert_int_equal(count_routes(r), 2);
	assert_int_equal(rig_cancel_job(r, 1, false), STORE_OK);
	assert_int_equal(rig_cancel_job(r, 3, false), STORE_OK);
	/* the second one's time is over, then its payload goes, then its header */
	for (int i = 0; i < 4; i++) {
		rig_pass(r, INT64_C(40) * 86400 * 1000);
		rig_sweep_all(r);
	}
	assert_int_equal(count_routes(r), 0);
	put(r, 4, &route); /* made again when it is needed */
	assert_int_equal(count_routes(r), 1);
	rig_connect(r, &c, HQ1);
	rig_offer(r, &c, ~0u, &mine, 1);
	assert_int_equal(rig_take_one(r, &c, 4), 1);
}

static void a_disabled_connector_gets_nothing(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_connector_set(
		r, (struct store_connector_set_in){
			   .tenant = T, .id = HQ1, .set_disabled = true, .disabled = true});
	assert_int_equal(rig_lease(r, (struct store_lease_in){c.s, 1, 0}).result, STORE_DISABLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_connector_gets_only_the_kinds_that_it_offers),
		RIG_TEST(a_profile_needs_a_connector_that_has_it),
		RIG_TEST(an_audience_is_a_connector_or_one_of_its_groups),
		RIG_TEST(a_record_goes_to_whoever_holds_one_of_its_keys),
		RIG_TEST(work_for_absent_keys_starves_nobody),
		RIG_TEST(lanes_share_by_weight),
		RIG_TEST(an_empty_lane_leaves_its_share_to_the_others),
		RIG_TEST(a_priority_is_a_head_start_and_no_more),
		RIG_TEST(an_excluded_connector_does_not_see_the_job_for_a_while),
		RIG_TEST(five_refusals_in_a_row_suspend_the_connector),
		RIG_TEST(a_route_that_nobody_serves_is_reported_once),
		RIG_TEST(an_enqueue_notices_that_its_route_is_served_again),
		RIG_TEST(a_route_goes_with_the_last_job_that_names_it),
		RIG_TEST(a_disabled_connector_gets_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

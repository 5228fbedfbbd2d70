/*
 * Routes of jobs, and the matching of paths with the producers' API.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud-queue/http_graph.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/queue_json.h"
#include "cloud-queue/route.h"
#include "tests/support/fixture_jobs.h"
#include <string.h>

static struct fixture_tenant tenant;

static int make_tenant(void **state)
{
	(void)state;
	fixture_tenant_make(&tenant, "contoso");
	return 0;
}

static int clear_tenant(void **state)
{
	(void)state;
	fixture_tenant_clear(&tenant);
	return 0;
}

static void an_issue_goes_by_profile_and_audience(void **state)
{
	struct fixture_job j;
	struct route route;

	(void)state;
	fixture_issue(&j, &tenant, "k1", "corp-user", cc_view_text("spki"));
	j.doc.audience = codec_text("hq");
	route_of_job(&j.doc, &route);
	assert_int_equal(route.in.kind, STORE_ISSUE);
	assert_true(text_equal(route.in.ca_profile, "corp-user"));
	assert_true(text_equal(route.in.audience, "hq"));
	assert_int_equal(route.in.key_id_count, 0);
}

static void a_rewrap_goes_by_the_recipients_keys(void **state)
{
	struct fixture_job j;
	struct route route;
	uint8_t id[SHA256_SIZE] = {7};

	(void)state;
	fixture_rewrap(&j, &tenant, "k2", cc_view_text("pfx"), cc_view_text("spki"));
	fixture_rewrap_add(&j, cc_view_of(id, sizeof(id)), cc_view_text("one"));
	fixture_rewrap_add(&j, cc_view_of(id, sizeof(id)), cc_view_text("two"));
	route_of_job(&j.doc, &route);
	assert_int_equal(route.in.kind, STORE_REWRAP);
	assert_int_equal(route.in.ca_profile.size, 0);
	assert_int_equal(route.in.key_id_count, 2);
	assert_true(cc_view_equal(route.in.key_ids[0], cc_view_of(id, sizeof(id))));
}

static void chain_and_revoke_go_by_profile(void **state)
{
	struct fixture_job j;
	struct route route;

	(void)state;
	fixture_chain(&j, &tenant, "k3", "corp-user");
	route_of_job(&j.doc, &route);
	assert_int_equal(route.in.kind, STORE_CHAIN);
	assert_true(text_equal(route.in.ca_profile, "corp-user"));
	fixture_revoke(&j, &tenant, "k4", "corp-user");
	route_of_job(&j.doc, &route);
	assert_int_equal(route.in.kind, STORE_REVOKE);
}

static void kinds_have_names_both_ways(void **state)
{
	(void)state;
	for (int i = 1; i < STORE_KIND_COUNT; i++)
		assert_int_equal(
			route_kind_named(cc_view_text(route_kind_name((enum store_kind)i))), i);
	assert_int_equal(route_kind_named(cc_view_text("scep")), 0);
}

static void states_are_told_in_the_producers_words(void **state)
{
	(void)state;
	assert_string_equal(queue_json_state(STORE_READY, 0), "ready");
	assert_string_equal(queue_json_state(STORE_LEASED, 0), "leased");
	assert_string_equal(queue_json_state(STORE_CLAIMED, 0), "leased");
	assert_string_equal(queue_json_state(STORE_HELD, 0), "leased");
	assert_string_equal(queue_json_state(STORE_PARKED, 0), "pending_ca");
	assert_string_equal(queue_json_state(STORE_DONE, 0), "done");
	assert_string_equal(queue_json_state(STORE_DEAD, STORE_DEAD_FAILURE), "failed");
	assert_string_equal(queue_json_state(STORE_DEAD, STORE_DEAD_POISON), "dead");
	assert_string_equal(queue_json_state(STORE_CANCELLED_STATE, 0), "cancelled");
}

/* ---- paths ---- */

static char params[3][32];

static const struct http_route *find(enum http_method method, const char *path)
{
	memset(params, 0, sizeof(params));
	return http_routes_find(method, path, params[0], sizeof(params[0]), 3);
}

static void a_path_is_matched_part_by_part(void **state)
{
	(void)state;
	assert_ptr_equal(find(HTTP_GET, "/v1/tenants/contoso/jobs/job_1")->handle, http_jobs_get);
	assert_string_equal(params[0], "contoso");
	assert_string_equal(params[1], "job_1");
	assert_ptr_equal(
		find(HTTP_GET, "/v1/tenants/contoso/jobs/job_1/result")->handle, http_jobs_result);
	assert_ptr_equal(
		find(HTTP_POST, "/v1/tenants/contoso/user-pfx:deliver")->handle, http_deliver_post);
	assert_ptr_equal(find(HTTP_POST, "/v1/tenants/contoso/user-pfx")->handle, http_pfx_post);
	assert_ptr_equal(find(HTTP_GET, "/v1/health")->handle, http_admin_health);
	assert_ptr_equal(find(HTTP_POST, "/v1/tenants/contoso/jobs/job_1:cancel")->handle,
		http_steps_cancel);
	assert_string_equal(params[1], "job_1");
}

static void other_paths_and_methods_match_nothing(void **state)
{
	(void)state;
	assert_null(find(HTTP_GET, "/"));
	assert_null(find(HTTP_GET, "/v1/health/"));
	assert_null(find(HTTP_POST, "/v1/health"));
	assert_null(find(HTTP_GET, "/v1/tenants//jobs/x"));
	assert_null(find(HTTP_GET, "/v1/tenants/contoso/jobs/"));
	assert_null(find(HTTP_POST, "/v1/tenants/contoso/jobs/job_1:resurrect"));
	assert_null(find(HTTP_GET, "/v1/tenants/contoso/jobs/job_1/cancel"));
	assert_null(find(HTTP_DELETE, "/v1/tenants/contoso/jobs/x"));
	assert_null(find(HTTP_GET, "/v1/tenants/contoso/jobs/"
				   "a-part-that-is-longer-than-the-room-that-was-given-for-it"));
}

/* ---- Graph ---- */

static void graphs_times_are_read_with_fraction_and_offset(void **state)
{
	int64_t s = 0;

	(void)state;
	assert_true(http_graph_time(cc_view_text("2016-12-31T23:58:46.7156189-07:00"), &s));
	assert_int_equal(s, 1483253926);
	assert_true(http_graph_time(cc_view_text("2017-01-01T06:58:46Z"), &s));
	assert_int_equal(s, 1483253926);
	assert_false(http_graph_time(cc_view_text("2017-01-01T06:58:46"), &s));
	assert_false(http_graph_time(cc_view_text("2017-13-01T06:58:46Z"), &s));
	assert_false(http_graph_time(cc_view_text("2017-01-01T06:58:46-07:0"), &s));
	assert_false(http_graph_time(cc_view_text(""), &s));
}

static void the_last_dash_splits_a_records_id(void **state)
{
	cc_view user, thumbprint;

	(void)state;
	assert_true(http_graph_split_id(
		cc_view_text("f6f51756-2c2b-0f2d-0123456789abcdef0123456789abcdef01234567"), &user,
		&thumbprint));
	assert_true(text_equal(user, "f6f51756-2c2b-0f2d"));
	assert_true(text_equal(thumbprint, "0123456789abcdef0123456789abcdef01234567"));
	assert_false(http_graph_split_id(
		cc_view_text("-0123456789abcdef0123456789abcdef01234567"), &user, &thumbprint));
	assert_false(http_graph_split_id(
		cc_view_text("u-0123456789ABCDEF0123456789ABCDEF01234567"), &user, &thumbprint));
	assert_false(http_graph_split_id(cc_view_text("alice"), &user, &thumbprint));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_issue_goes_by_profile_and_audience),
		cmocka_unit_test(a_rewrap_goes_by_the_recipients_keys),
		cmocka_unit_test(chain_and_revoke_go_by_profile),
		cmocka_unit_test(kinds_have_names_both_ways),
		cmocka_unit_test(states_are_told_in_the_producers_words),
		cmocka_unit_test(a_path_is_matched_part_by_part),
		cmocka_unit_test(other_paths_and_methods_match_nothing),
		cmocka_unit_test(graphs_times_are_read_with_fraction_and_offset),
		cmocka_unit_test(the_last_dash_splits_a_records_id),
	};

	return cmocka_run_group_tests(tests, make_tenant, clear_tenant);
}

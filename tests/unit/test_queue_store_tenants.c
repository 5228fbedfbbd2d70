/*
 * The store's contract: tenants beside each other.  Each session has one lease under way, and the store answers in
 * the order in which it was asked; so a tenant with many connectors and a long queue holds another one up for a
 * round, and no longer.
 */
#include "tests/support/store_rig_jobs.h"

enum { BIG_JOBS = 200, BIG_SESSIONS = 3, BIG_PART = 8, SMALL_JOBS = 16, SMALL_PART = 4 };

static const cc_view small = {(const uint8_t *)"fabrikam", 8};

struct race {
	size_t left;      /* jobs of the small tenant */
	size_t under_way; /* leases */
};

struct taker { /* a session that takes what it can get */
	struct rig *r;
	struct store_session session;
	size_t part, taken, rounds;
	struct race *race;
	bool is_small;
};

static void take_more(struct taker *t);

static void on_taken(void *arg, const struct store_lease_out *out)
{
	struct taker *t = arg;

	assert_int_equal(out->err, CC_OK);
	for (size_t i = 0; i < out->count; i++)
		assert_int_equal(rig_job(out->jobs[i].job_id) > BIG_JOBS, t->is_small);
	t->race->under_way--;
	if (t->race->left > 0) {
		t->taken += out->count;
		t->rounds++;
		t->race->left -= t->is_small ? out->count : 0;
	}
	if (t->race->left > 0)
		take_more(t);
	else if (t->race->under_way == 0)
		rig_answered(t->r);
}

static void take_more(struct taker *t)
{
	t->race->under_way++;
	store_lease(t->r->store,
		&(struct store_lease_in){.session = t->session, .max_jobs = t->part}, on_taken, t);
}

static void enqueue_for(struct rig *r, cc_view tenant, uint32_t first, size_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct store_enqueue_in in = rig_new_job(r, first + i, STORE_ISSUE);
		in.tenant = tenant;
		assert_int_equal(rig_enqueue(r, in).result, STORE_NEW);
	}
}

/* A connector of the small tenant, by the calls that the rig's helpers make for the other one. */
static struct store_session connect_small(struct rig *r)
{
	uint8_t journal[16] = {77}, instance[16] = {1};
	struct store_session s = {.tenant = small, .connector = HQ1};
	struct store_session_open_out open;

	rig_tenant_put(r, (struct store_tenant_put_in){
				  .tenant = {.name = small, .job_root = cc_view_text("root")}});
	rig_connector_put(r, (struct store_connector_put_in){.tenant = small,
				     .id = HQ1,
				     .result_spki = cc_view_text("result key"),
				     .certificate_sha256 = rig_digest(9)});
	open = rig_session_open(r, (struct store_session_open_in){.tenant = small,
					   .connector = HQ1,
					   .instance_id = cc_view_of(instance, 16),
					   .journal_id = cc_view_of(journal, 16),
					   .certificate_sha256 = rig_digest(9)});
	assert_int_equal(open.result, STORE_OK);
	s.epoch = open.session_epoch;
	assert_int_equal(
		rig_session_resume(r, (struct store_session_resume_in){.session = s,
					      .nonce = cc_view_of(open.nonce, STORE_NONCE_SIZE),
					      .last = true})
			.result,
		STORE_OK);
	assert_int_equal(rig_set_capabilities(
				 r, (struct store_set_capabilities_in){.session = s, .kinds = ~0u})
				 .result,
		STORE_OK);
	return s;
}

static void a_tenant_under_load_holds_another_one_up_for_a_round_and_no_longer(void **state)
{
	static const char *const names[BIG_SESSIONS] = {"hq-1", "hq-2", "hq-3"};
	struct rig *r = *state;
	struct rig_conn conns[BIG_SESSIONS];
	struct taker big[BIG_SESSIONS], little;
	struct race race = {.left = SMALL_JOBS};
	size_t taken = 0;

	enqueue_for(r, T, 1, BIG_JOBS);
	little = (struct taker){.r = r,
		.session = connect_small(r),
		.part = SMALL_PART,
		.race = &race,
		.is_small = true};
	enqueue_for(r, small, BIG_JOBS + 1, SMALL_JOBS);
	for (size_t i = 0; i < BIG_SESSIONS; i++) {
		rig_connect(r, &conns[i], cc_view_text(names[i]));
		big[i] = (struct taker){
			.r = r, .session = conns[i].s, .part = BIG_PART, .race = &race};
	}
	r->answered = false;
	for (size_t i = 0; i < BIG_SESSIONS; i++)
		take_more(&big[i]);
	take_more(&little); /* the last in the row */
	rig_wait(r);
	for (size_t i = 0; i < BIG_SESSIONS; i++) {
		taken += big[i].taken;
		assert_in_range(big[i].rounds, 1, little.rounds + 1);
	}
	assert_int_equal(little.taken, SMALL_JOBS);
	assert_int_equal(little.rounds, SMALL_JOBS / SMALL_PART);
	assert_true(taken < BIG_JOBS); /* the other queue was never empty meanwhile */
	assert_true(taken >= BIG_PART);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_tenant_under_load_holds_another_one_up_for_a_round_and_no_longer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

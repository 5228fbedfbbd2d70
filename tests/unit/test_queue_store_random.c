/*
 * The store under a long random history of two connectors, lost messages, restarts and time: after
 * each stretch what the invariant checker reads must hold, and in the end everything is settled.
 */
#include "tests/support/store_rig_jobs.h"

enum { JOBS = 12, STRETCHES = 20, STEPS = 150, MINUTE = 60 * 1000 };

struct history {
	struct rig *r;
	uint64_t seed;
	struct rig_conn conns[2];
	uint32_t epochs[JOBS + 1][2]; /* the last that this connector was leased; 0: none */
	uint8_t next_certificate;
	uint64_t seen[STORE_STATE_COUNT];
	size_t open_claims;
};

static uint32_t pick(struct history *h, uint32_t below)
{
	h->seed = h->seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(h->seed >> 33) % below;
}

/* ---- what must always hold ------------------------------------------------------------------------ */

static void check_attempt(struct history *h, const struct store_check_row *row,
	const struct store_check_attempt *a, size_t *winners)
{
	for (size_t i = 0; i < a->claim_count; i++) {
		const struct store_check_claim *c = &a->claims[i];
		h->open_claims += c->settlement == STORE_UNSETTLED;
		assert_false(c->settlement == STORE_UNSETTLED && row->job.state == STORE_DEAD);
		if (c->settlement != STORE_WINNER)
			continue;
		(*winners)++;
		assert_int_equal(row->job.state, STORE_DONE);
		assert_true(cc_view_equal(c->cert_sha256, row->job.certificate.sha256));
	}
}

static void check_rows(void *arg, const struct store_check_out *out)
{
	struct history *h = arg;

	assert_int_equal(out->err, CC_OK);
	for (size_t i = 0; i < out->count; i++) {
		const struct store_check_row *row = &out->rows[i];
		size_t winners = 0, ended_as_winner = 0, open = 0;
		for (size_t k = 0; k < row->attempt_count; k++) {
			const struct store_check_attempt *a = &row->attempts[k];
			check_attempt(h, row, a, &winners);
			ended_as_winner += strcmp(a->end, "winner") == 0;
			open += strcmp(a->end, "open") == 0;
		}
		h->seen[row->job.state]++;
		assert_true(winners <= 1);
		assert_int_equal(ended_as_winner, row->job.state == STORE_DONE);
		assert_int_equal(
			open, row->job.state >= STORE_LEASED && row->job.state <= STORE_HELD);
		assert_int_equal(row->attempt_count, row->job.deliveries);
	}
	rig_answered(h->r);
}

static void check_all(struct history *h)
{
	struct store_check_in in = {.tenant = T, .limit = STORE_LIST_MAX};

	memset(h->seen, 0, sizeof(h->seen));
	h->open_claims = 0;
	h->r->answered = false;
	store_check(h->r->store, &in, check_rows, h);
	rig_wait(h->r);
	struct store_stats_out stats = rig_stats(h->r, (struct store_stats_in){T});
	uint64_t open = 0;
	for (size_t i = 0; i < STORE_STATE_COUNT; i++) {
		assert_int_equal(stats.jobs[i], h->seen[i]);
		open += i < STORE_DONE ? h->seen[i] : 0;
	}
	assert_int_equal(stats.open_jobs, open);
}

/* ---- what may happen ------------------------------------------------------------------------------ */

static void step_lease(struct history *h, size_t who)
{
	struct store_lease_out out = rig_lease(h->r,
		(struct store_lease_in){.session = h->conns[who].s, .max_jobs = 1 + pick(h, 3)});

	assert_int_equal(out.err, CC_OK);
	for (size_t i = 0; i < out.count; i++) {
		assert_true(h->r->items[i].epoch > h->epochs[h->r->items[i].job][0]);
		assert_true(h->r->items[i].epoch > h->epochs[h->r->items[i].job][1]);
		h->epochs[h->r->items[i].job][who] = h->r->items[i].epoch;
	}
}

static void step_claim(struct history *h, size_t who, uint32_t job)
{
	uint8_t csr = (uint8_t)(100 + job * 2 + who);
	rig_claim_at(h->r, &h->conns[who], job, h->epochs[job][who],
		pick(h, 3) == 0 ? "backup-ca" : "corp-ca", csr);
}

static void step_finish(struct history *h, size_t who, uint32_t job)
{
	cc_view name = h->conns[who].name;
	uint32_t epoch = h->epochs[job][who];

	if (pick(h, 2) == 0)
		rig_succeed(h->r, name, job, epoch, (uint8_t)(1 + h->next_certificate++ % 90));
	else
		rig_fail(h->r, name, job, epoch,
			pick(h, 2) == 0 ? STORE_NOT_ISSUED : STORE_IN_DOUBT);
}

static void step_give_back(struct history *h, size_t who, uint32_t job)
{
	struct store_nack_in in = rig_nack_in(h->r, &h->conns[who], job, h->epochs[job][who],
		(enum store_nack_reason)(1 + pick(h, 7)));

	in.count = pick(h, 2) == 0;
	in.not_issued = pick(h, 2) == 0;
	in.delay_ms = pick(h, 5 * MINUTE);
	assert_int_equal(rig_nack(h->r, in).err, CC_OK);
	rig_connector_set(h->r, (struct store_connector_set_in){
					.tenant = T, .id = h->conns[who].name, .resume = true});
}

/* Comes back and lists some of what it may hold. */
static void step_redial(struct history *h, size_t who)
{
	struct rig_conn *c = &h->conns[who];
	struct store_held held[JOBS];
	size_t count = 0;

	rig_redial(h->r, c, pick(h, 2) == 0);
	for (uint32_t job = 1; job <= JOBS; job++) {
		if (h->epochs[job][who] > 0 && pick(h, 4) != 0)
			held[count++] = (struct store_held){.job_id = rig_id(h->r, job),
				.epoch = h->epochs[job][who],
				.parked = pick(h, 2) == 0};
	}
	assert_int_equal(rig_resume(h->r, c, held, count).result, STORE_OK);
}

static void step_operator(struct history *h, uint32_t job)
{
	switch (pick(h, 5)) {
	case 0:
		rig_cancel_job(h->r, job, pick(h, 2) == 0);
		break;
	case 1:
		rig_bury(h->r, (struct store_bury_in){T, rig_id(h->r, job), cc_view_text("ann")});
		break;
	case 2:
		rig_take_over(h->r, job, pick(h, 2) == 0 ? "ann" : "");
		break;
	default:
		rig_replay(h->r,
			(struct store_replay_in){
				.tenant = T, .job_id = rig_id(h->r, job), .by = CC_VIEW_NONE});
		break;
	}
}

static void step_time(struct history *h)
{
	rig_pass(h->r, (int64_t)pick(h, 10) * MINUTE);
	assert_int_equal(rig_sweep_all(h->r).err, CC_OK);
}

static void step_restart(struct history *h)
{
	if (pick(h, 4) != 0)
		return;
	rig_reopen(h->r);
	step_redial(h, 0);
	step_redial(h, 1);
}

static void step(struct history *h)
{
	size_t who = pick(h, 2);
	uint32_t job = 1 + pick(h, JOBS);
	struct store_lease_id lease = {rig_id(h->r, job), h->epochs[job][who]};

	switch (pick(h, 14)) {
	case 0:
		rig_enqueue(h->r, rig_new_job(h->r, job, STORE_ISSUE));
		break;
	case 1:
	case 2:
		step_lease(h, who);
		break;
	case 3:
	case 4:
		step_claim(h, who, job);
		break;
	case 5:
		rig_park_one(h->r, &h->conns[who], job, lease.epoch);
		break;
	case 6:
		step_finish(h, who, job);
		break;
	case 7:
		step_give_back(h, who, job);
		break;
	case 8:
		rig_settle_at(h->r, h->conns[who].name, job, lease.epoch,
			pick(h, 2) == 0 ? "corp-ca" : "backup-ca",
			(enum store_settlement)pick(h, 6));
		break;
	case 9:
		assert_int_equal(
			rig_extend(h->r, (struct store_extend_in){h->conns[who].s, &lease, 1}).err,
			CC_OK);
		break;
	case 10:
		step_redial(h, who);
		break;
	case 11:
		step_operator(h, job);
		break;
	case 12:
		step_time(h);
		break;
	default:
		step_restart(h);
		break;
	}
}

/* Nobody does anything any more: time alone settles what is left, and then forgets it. */
static void end_of_days(struct history *h)
{
	for (size_t day = 0; day < 20; day++) {
		rig_pass(h->r, (int64_t)24 * 60 * MINUTE);
		assert_int_equal(rig_sweep_all(h->r).err, CC_OK);
	}
	check_all(h);
	assert_int_equal(rig_stats(h->r, (struct store_stats_in){T}).open_jobs, 0);
	assert_int_equal(h->open_claims, 0);
	for (size_t day = 0; day < 25; day++) {
		rig_pass(h->r, (int64_t)24 * 60 * MINUTE);
		rig_sweep_all(h->r);
	}
	check_all(h);
	assert_int_equal(rig_stats(h->r, (struct store_stats_in){T}).bytes, 0);
	assert_int_equal(
		rig_events(h->r, (struct store_events_in){.tenant = T, .limit = 1}).count, 0);
}

static void live(struct rig *r, uint64_t seed)
{
	struct history h = {.r = r, .seed = seed};

	rig_connect(r, &h.conns[0], HQ1);
	rig_connect(r, &h.conns[1], HQ2);
	for (size_t i = 0; i < STRETCHES; i++) {
		for (size_t k = 0; k < STEPS; k++)
			step(&h);
		check_all(&h);
	}
	end_of_days(&h);
}

static void the_invariants_hold_in_one_history(void **state)
{
	live(*state, 1);
}

static void the_invariants_hold_in_another(void **state)
{
	live(*state, 20261121);
}

static void the_invariants_hold_in_a_third(void **state)
{
	live(*state, 777);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(the_invariants_hold_in_one_history),
		RIG_TEST(the_invariants_hold_in_another),
		RIG_TEST(the_invariants_hold_in_a_third),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

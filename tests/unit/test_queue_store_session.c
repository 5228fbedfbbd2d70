/*
 * The store's contract: one identity, one journal; what a connector lists when it comes back.
 */
#include "tests/support/store_rig_jobs.h"

/* ---- identity ------------------------------------------------------------------------------------- */

static void an_unknown_or_disabled_connector_gets_no_session(void **state)
{
	struct rig *r = *state;
	struct rig_conn c = {.name = HQ1};

	assert_int_equal(rig_dial(r, &c).result, STORE_UNKNOWN);
	rig_enrol(r, &c, HQ1);
	rig_connector_set(
		r, (struct store_connector_set_in){
			   .tenant = T, .id = HQ1, .set_disabled = true, .disabled = true});
	assert_int_equal(rig_dial(r, &c).result, STORE_DISABLED);
	rig_connector_set(
		r, (struct store_connector_set_in){.tenant = T, .id = HQ1, .set_disabled = true});
	struct store_session_open_out out = rig_dial(r, &c);
	assert_int_equal(out.result, STORE_OK);
	assert_int_equal(out.generation, store_generation(r->store));
}

/* The enrolment may change between the gateway's look at the connector and this transaction. */
static void a_certificate_of_an_earlier_enrolment_opens_no_session(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_enrol(r, &c, HQ1);
	c.certificate = 8;
	assert_int_equal(rig_dial(r, &c).result, STORE_DISABLED);
	c.certificate = 9;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
}

static void what_a_connection_of_an_earlier_enrolment_brings_is_not_taken(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_complete_in late;
	struct store_settle_in settle = {.tenant = T,
		.connector = HQ1,
		.transport_sha256 = rig_digest(8),
		.job_id = rig_id(r, 1),
		.epoch = 1,
		.ca = cc_view_text("corp-ca"),
		.outcome = STORE_NOT_ISSUED};

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, rig_take_one(r, &c, 1)), STORE_GRANTED);
	late = rig_success(r, HQ1, 1, 1, 7);
	late.transport_sha256 = rig_digest(8);
	assert_int_equal(rig_complete(r, late).result, STORE_SUPERSEDED);
	late.success = false;
	assert_int_equal(rig_complete(r, late).result, STORE_SUPERSEDED);
	assert_int_equal(rig_settle(r, settle).result, STORE_SUPERSEDED);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 7), STORE_STORED);
}

static void a_nonce_that_never_arrived_does_no_harm(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, before;

	rig_enrol(r, &c, HQ1);
	before = c;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	/* the HelloAck was lost: the journal still has no nonce */
	c = before;
	struct store_session_open_out out = rig_dial(r, &c);
	assert_int_equal(out.result, STORE_OK);
	assert_true(out.reconnected);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
}

static void a_nonce_that_was_committed_but_not_confirmed_is_the_owners(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_enrol(r, &c, HQ1);
	assert_int_equal(rig_dial(r, &c).result, STORE_OK); /* committed; then the line broke */
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
}

static void an_old_nonce_is_an_identity_conflict(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, clone;

	rig_connect(r, &c, HQ1);
	clone = c;
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).result, STORE_OK);
	assert_int_equal(rig_dial(r, &clone).result, STORE_IDENTITY_CONFLICT);
	assert_int_equal(rig_hints(r, STORE_HINT_IDENTITY, 0), 1);
	/* the owner's session is not hurt by it */
	assert_int_equal(rig_take(r, &c, 1), 0);
}

static void of_two_owners_of_one_nonce_the_second_to_return_is_found_out(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, clone;

	rig_connect(r, &c, HQ1);
	clone = c;
	rig_redial(r, &c, false);     /* has a newer nonce, not yet confirmed */
	rig_redial(r, &clone, false); /* still the confirmed one: cannot be told apart */
	assert_int_equal(rig_resume(r, &clone, NULL, 0).result, STORE_OK);
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
}

static void another_journal_is_an_identity_conflict_until_it_is_adopted(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_hang_up(r, &c);
	memset(c.journal, 0x77, sizeof(c.journal));
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
	rig_connector_set(
		r, (struct store_connector_set_in){.tenant = T, .id = HQ1, .forget_journal = true});
	/* to adopt takes two: the journal has to give up its nonce as well */
	assert_int_equal(rig_dial(r, &c).result, STORE_IDENTITY_CONFLICT);
	c.has_nonce = false;
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
}

static void a_connector_that_enrols_anew_may_bring_its_old_journal(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, anew;

	rig_connect(r, &c, HQ1);
	rig_hang_up(r, &c);
	rig_enrol(r, &anew, HQ1);
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
}

static void a_resume_with_the_wrong_nonce_or_count_is_refused(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_session_resume_in in = {.last = true, .held_total = 0};

	rig_enrol(r, &c, HQ1);
	assert_int_equal(rig_dial(r, &c).result, STORE_OK);
	in.session = c.s;
	in.nonce = rig_digest(3);
	assert_int_equal(rig_session_resume(r, in).result, STORE_IDENTITY_CONFLICT);
	in.nonce = cc_view_of(c.nonce, STORE_NONCE_SIZE);
	in.held_total = 4;
	assert_int_equal(rig_session_resume(r, in).result, STORE_COUNT_MISMATCH);
	assert_int_equal(
		rig_lease(r, (struct store_lease_in){c.s, 1, 0}).result, STORE_NOT_RESUMED);
}

static void the_older_connection_is_superseded_in_everything(void **state)
{
	struct rig *r = *state;
	struct rig_conn old, c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	old = c;
	assert_true(rig_dial(r, &c).reconnected);
	struct store_lease_id lease = {rig_id(r, 1), epoch};
	assert_int_equal(
		rig_lease(r, (struct store_lease_in){old.s, 1, 0}).result, STORE_SUPERSEDED);
	assert_int_equal(
		rig_extend(r, (struct store_extend_in){old.s, &lease, 1}).result, STORE_SUPERSEDED);
	assert_int_equal(rig_claim_one(r, &old, 1, epoch), STORE_SUPERSEDED);
	assert_int_equal(rig_park_one(r, &old, 1, epoch), STORE_SUPERSEDED);
	assert_int_equal(rig_nack(r, rig_nack_in(r, &old, 1, epoch, STORE_NACK_BUSY)).result,
		STORE_SUPERSEDED);
	assert_int_equal(rig_resume(r, &old, NULL, 0).result, STORE_SUPERSEDED);
	assert_int_equal(rig_session_close(r, (struct store_session_close_in){old.s}).result,
		STORE_SUPERSEDED);
	/* a result is good from any session */
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
}

/* ---- resume --------------------------------------------------------------------------------------- */

static void listed_jobs_are_kept_or_told_what_became_of_them(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held[6];

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 5; i++) {
		rig_enqueue_job(r, i);
		held[i - 1] = (struct store_held){
			.job_id = rig_id(r, i), .epoch = rig_take_one(r, &c, i)};
	}
	held[5] = (struct store_held){.job_id = rig_id(r, 99), .epoch = 1};
	assert_int_equal(rig_claim_one(r, &c, 2, 1), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, 3, 1, 7), STORE_STORED);
	assert_int_equal(rig_cancel_job(r, 4, false), STORE_OK);
	assert_int_equal(rig_fail(r, HQ1, 5, 1, STORE_UNSETTLED), STORE_STORED);
	held[1].claimed = true;
	rig_hang_up(r, &c);
	rig_redial(r, &c, true);
	struct store_session_resume_out out = rig_resume(r, &c, held, 6);
	assert_int_equal(out.result, STORE_OK);
	assert_int_equal(out.kept, 2);
	assert_int_equal(out.requeued, 0);
	assert_int_equal(out.in_doubt, 0);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(r->items[1].result, STORE_KEEP);
	assert_int_equal(r->items[2].result, STORE_ALREADY_DONE);
	assert_int_equal(r->items[2].winner, 7);
	assert_int_equal(r->items[3].result, STORE_CANCELLED);
	assert_int_equal(r->items[4].result, STORE_LOST);
	assert_int_equal(r->items[5].result, STORE_LOST);
}

static void nothing_is_requeued_before_the_resume_ends(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.epoch = 1};

	rig_connect(r, &c, HQ1);
	for (uint32_t i = 1; i <= 2; i++) {
		rig_enqueue_job(r, i);
		rig_take_one(r, &c, i);
	}
	rig_redial(r, &c, false);
	held.job_id = rig_id(r, 1);
	struct store_session_resume_in page = {.session = c.s,
		.nonce = cc_view_of(c.nonce, STORE_NONCE_SIZE),
		.held = &held,
		.held_count = 1};
	assert_int_equal(rig_session_resume(r, page).result, STORE_OK);
	assert_int_equal(rig_state(r, 2), STORE_LEASED);
	page.held_count = 0;
	page.last = true;
	page.held_total = 1;
	assert_int_equal(rig_session_resume(r, page).requeued, 1);
	assert_int_equal(rig_state(r, 1), STORE_LEASED);
	assert_int_equal(rig_state(r, 2), STORE_READY);
	/* the same process lost a frame: it may have the job at once */
	assert_int_equal(rig_take_one(r, &c, 2), 2);
}

static void a_job_lost_with_its_process_waits_longer_each_time_and_is_poison_at_three(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	for (uint32_t crash = 1; crash <= 3; crash++) {
		assert_int_equal(rig_take_one(r, &c, 1), crash);
		rig_redial(r, &c, true);
		assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
		if (crash == 3)
			break;
		assert_int_equal(rig_take(r, &c, 1), 0);
		rig_pass(r, crash * 30000 - 1000);
		assert_int_equal(rig_take(r, &c, 1), 0);
		rig_pass(r, 1001);
	}
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_POISON);
}

static void a_crash_between_two_dials_is_still_a_crash(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_redial(r, &c, true);  /* the new process came, and its line broke before it resumed */
	rig_redial(r, &c, false); /* the same new process */
	assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
	assert_int_equal(rig_take(r, &c, 1), 0); /* delayed: it was in flight at a crash */
}

static void what_is_not_claimed_moves_soon_after_its_connector_is_gone(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	rig_pass(r, RIG_LEASE_MS); /* a store that was just opened ends no lease */
	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	rig_enqueue_job(r, 2);
	assert_int_equal(rig_take_one(r, &c, 1), 1);
	assert_int_equal(rig_take_one(r, &c, 2), 1);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	rig_hang_up(r, &c);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	rig_pass(r, 5001); /* far less than a lease */
	assert_int_equal(rig_sweep_all(r).leases_expired, 1);
	assert_int_equal(rig_take_one(r, &other, 2), 2);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
}

static void who_is_back_in_time_has_its_whole_lease_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.epoch = 1};

	rig_pass(r, RIG_LEASE_MS);
	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_hang_up(r, &c);
	rig_pass(r, 4000);
	rig_redial(r, &c, false);
	held.job_id = rig_id(r, 1);
	assert_int_equal(rig_resume(r, &c, &held, 1).kept, 1);
	rig_pass(r, RIG_LEASE_MS - 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	assert_int_equal(rig_state(r, 1), STORE_LEASED);
}

/* Its crash has to be counted, and that is done when it comes back. */
static void a_suspected_job_waits_for_its_holder(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_pass(r, RIG_LEASE_MS);
	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	rig_hang_up(r, &c);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
	rig_pass(r, 30001);
	assert_int_equal(rig_take_one(r, &c, 1), 2);
	rig_hang_up(r, &c);
	rig_pass(r, RIG_LEASE_MS - 1000);
	assert_int_equal(rig_sweep_all(r).leases_expired, 0);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).requeued, 1);
}

/* Its first holder may have been cut off only; from the second on the lease waits, also for one that is slow. */
static void a_job_that_kills_slow_starters_is_poison(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t deliveries = 0;

	rig_pass(r, RIG_LEASE_MS);
	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	while (deliveries < 10 && rig_take(r, &c, 1) == 1) {
		deliveries++;
		rig_hang_up(r, &c);
		rig_pass(r, 6000);
		rig_sweep_all(r);
		rig_redial(r, &c, true);
		rig_resume(r, &c, NULL, 0);
		rig_pass(r, 60001); /* its delay */
		rig_hang_up(r, &c);
		rig_redial(r, &c, false);
		rig_resume(r, &c, NULL, 0);
	}
	assert_int_equal(deliveries, 4);
	assert_int_equal(rig_state(r, 1), STORE_DEAD);
	assert_int_equal(r->items[0].dead, STORE_DEAD_POISON);
}

static void an_unlisted_claimed_job_is_held_and_recorded_in_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c, other;

	rig_connect(r, &c, HQ1);
	rig_connect(r, &other, HQ2);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	rig_redial(r, &c, true);
	assert_int_equal(rig_resume(r, &c, NULL, 0).in_doubt, 1);
	assert_int_equal(rig_state(r, 1), STORE_HELD);
	assert_int_equal(rig_hints(r, STORE_HINT_IN_DOUBT, 1), 1);
	assert_int_equal(rig_take(r, &other, 1), 0);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_LOST);
	assert_int_equal(rig_park_one(r, &c, 1, epoch), STORE_LOST);
	/* the doubt becomes exact: the job may be done by anyone */
	assert_int_equal(rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_OK);
	assert_int_equal(rig_take_one(r, &other, 1), 2);
	assert_int_equal(r->items[0].prior, 0);
}

/* Claimed, not listed by one life of the connector, listed by the next. */
static uint32_t doubt_and_list(struct rig *r, struct rig_conn *c)
{
	struct store_held held = {.claimed = true};

	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	held.epoch = rig_take_one(r, c, 1);
	assert_int_equal(rig_claim_one(r, c, 1, held.epoch), STORE_GRANTED);
	rig_redial(r, c, true);
	assert_int_equal(rig_resume(r, c, NULL, 0).in_doubt, 1);
	rig_redial(r, c, true);
	held.job_id = rig_id(r, 1);
	assert_int_equal(rig_resume(r, c, &held, 1).kept, 1);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	return held.epoch;
}

static void a_failure_that_knows_better_ends_the_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = doubt_and_list(r, &c);

	assert_int_equal(rig_fail(r, HQ1, 1, epoch, STORE_NOT_ISSUED), STORE_STORED);
	assert_int_equal(
		rig_settle_at(r, HQ1, 1, epoch, "corp-ca", STORE_NOT_ISSUED), STORE_DUPLICATE_SAME);
}

static void a_nack_that_knows_better_ends_the_doubt(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	uint32_t epoch = doubt_and_list(r, &c);
	struct store_nack_in in = rig_nack_in(r, &c, 1, epoch, STORE_NACK_BUSY);

	assert_int_equal(rig_nack(r, in).result, STORE_INVALID);
	in.not_issued = true;
	assert_int_equal(rig_nack(r, in).result, STORE_OK);
	assert_int_equal(rig_state(r, 1), STORE_READY);
}

static void a_held_job_that_is_listed_after_all_is_its_owners_again(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_held held = {.epoch = 1, .claimed = true};

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
	rig_redial(r, &c, true);
	rig_resume(r, &c, NULL, 0);
	rig_redial(r, &c, false);
	held.job_id = rig_id(r, 1);
	assert_int_equal(rig_resume(r, &c, &held, 1).kept, 1);
	assert_int_equal(r->items[0].result, STORE_KEEP);
	assert_int_equal(rig_state(r, 1), STORE_CLAIMED);
	assert_int_equal(rig_claim_one(r, &c, 1, 1), STORE_GRANTED);
}

static void a_held_job_is_still_done_by_its_owners_result(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;

	rig_connect(r, &c, HQ1);
	rig_enqueue_job(r, 1);
	uint32_t epoch = rig_take_one(r, &c, 1);
	assert_int_equal(rig_claim_one(r, &c, 1, epoch), STORE_GRANTED);
	rig_redial(r, &c, true);
	rig_resume(r, &c, NULL, 0);
	assert_int_equal(rig_succeed(r, HQ1, 1, epoch, 7), STORE_STORED);
	assert_int_equal(rig_state(r, 1), STORE_DONE);
}

/* ---- ten thousand --------------------------------------------------------------------------------- */

enum { THOUSANDS = 10000 };

struct bulk {
	struct rig *rig;
	size_t waiting, good;
};

static void counted(struct bulk *b, bool good)
{
	b->good += good;
	if (--b->waiting == 0)
		rig_answered(b->rig);
}

static void bulk_enqueued(void *arg, const struct store_enqueue_out *out)
{
	counted(arg, out->err == CC_OK && out->result == STORE_NEW);
}

static void bulk_leased(void *arg, const struct store_lease_out *out)
{
	struct bulk *b = arg;
	b->good += out->count;
	if (--b->waiting == 0)
		rig_answered(b->rig);
}

static void bulk_resumed(void *arg, const struct store_session_resume_out *out)
{
	bool kept = out->err == CC_OK && out->result == STORE_OK;
	for (size_t i = 0; i < out->count; i++)
		kept = kept && out->items[i].result == STORE_KEEP;
	counted(arg, kept);
}

static void fill_thousands(struct rig *r, struct rig_conn *c)
{
	struct bulk b = {.rig = r, .waiting = THOUSANDS};

	r->answered = false;
	for (uint32_t i = 1; i <= THOUSANDS; i++) {
		struct store_enqueue_in in = rig_new_job(r, i, STORE_ISSUE);
		store_enqueue(r->store, &in, bulk_enqueued, &b);
	}
	rig_wait(r);
	assert_int_equal(b.good, THOUSANDS);
	b = (struct bulk){.rig = r, .waiting = THOUSANDS / STORE_LEASE_MAX + 1};
	r->answered = false;
	for (size_t i = 0; i < THOUSANDS / STORE_LEASE_MAX + 1; i++) {
		struct store_lease_in in = {c->s, STORE_LEASE_MAX, 0};
		store_lease(r->store, &in, bulk_leased, &b);
	}
	rig_wait(r);
	assert_int_equal(b.good, THOUSANDS);
}

/* Lists jobs 1..count in pages, then ends the resume. */
static struct store_session_resume_out list_thousands(
	struct rig *r, struct rig_conn *c, uint32_t count)
{
	struct bulk b = {.rig = r};
	struct store_held held[STORE_HELD_MAX];
	struct store_session_resume_in in = {
		.session = c->s, .nonce = cc_view_of(c->nonce, STORE_NONCE_SIZE), .held = held};

	r->answered = false;
	b.waiting = (count + STORE_HELD_MAX - 1) / STORE_HELD_MAX;
	size_t pages = b.waiting;
	for (uint32_t job = 1; job <= count; job += STORE_HELD_MAX) {
		for (in.held_count = 0; in.held_count < STORE_HELD_MAX; in.held_count++) {
			if (job + in.held_count > count)
				break;
			held[in.held_count] = (struct store_held){
				.job_id = rig_id(r, job + (uint32_t)in.held_count), .epoch = 1};
		}
		store_session_resume(r->store, &in, bulk_resumed, &b);
	}
	rig_wait(r);
	assert_int_equal(b.good, pages);
	in.held_count = 0;
	in.last = true;
	in.held_total = count;
	return rig_session_resume(r, in);
}

static void ten_thousand_held_jobs_are_resumed(void **state)
{
	struct rig *r = *state;
	struct rig_conn c;
	struct store_session_resume_out out;

	rig_connect(r, &c, HQ1);
	fill_thousands(r, &c);
	rig_redial(r, &c, false);
	out = list_thousands(r, &c, THOUSANDS - 4000);
	assert_int_equal(out.result, STORE_OK);
	assert_int_equal(out.kept, THOUSANDS - 4000);
	assert_int_equal(out.requeued, 4000);
	struct store_stats_out stats = rig_stats(r, (struct store_stats_in){T});
	assert_int_equal(stats.jobs[STORE_LEASED], THOUSANDS - 4000);
	assert_int_equal(stats.jobs[STORE_READY], 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_certificate_of_an_earlier_enrolment_opens_no_session),
		RIG_TEST(what_a_connection_of_an_earlier_enrolment_brings_is_not_taken),
		RIG_TEST(an_unknown_or_disabled_connector_gets_no_session),
		RIG_TEST(a_nonce_that_never_arrived_does_no_harm),
		RIG_TEST(a_nonce_that_was_committed_but_not_confirmed_is_the_owners),
		RIG_TEST(an_old_nonce_is_an_identity_conflict),
		RIG_TEST(of_two_owners_of_one_nonce_the_second_to_return_is_found_out),
		RIG_TEST(another_journal_is_an_identity_conflict_until_it_is_adopted),
		RIG_TEST(a_connector_that_enrols_anew_may_bring_its_old_journal),
		RIG_TEST(a_resume_with_the_wrong_nonce_or_count_is_refused),
		RIG_TEST(the_older_connection_is_superseded_in_everything),
		RIG_TEST(listed_jobs_are_kept_or_told_what_became_of_them),
		RIG_TEST(nothing_is_requeued_before_the_resume_ends),
		RIG_TEST(a_job_lost_with_its_process_waits_longer_each_time_and_is_poison_at_three),
		RIG_TEST(a_crash_between_two_dials_is_still_a_crash),
		RIG_TEST(what_is_not_claimed_moves_soon_after_its_connector_is_gone),
		RIG_TEST(who_is_back_in_time_has_its_whole_lease_again),
		RIG_TEST(a_suspected_job_waits_for_its_holder),
		RIG_TEST(a_job_that_kills_slow_starters_is_poison),
		RIG_TEST(an_unlisted_claimed_job_is_held_and_recorded_in_doubt),
		RIG_TEST(a_failure_that_knows_better_ends_the_doubt),
		RIG_TEST(a_nack_that_knows_better_ends_the_doubt),
		RIG_TEST(a_held_job_that_is_listed_after_all_is_its_owners_again),
		RIG_TEST(a_held_job_is_still_done_by_its_owners_result),
		RIG_TEST(ten_thousand_held_jobs_are_resumed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

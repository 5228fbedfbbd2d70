/*
 * State: what a change does, what makes it a refusal, and what is still there after a restart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/state_rig.h"

/* ---- jobs ---- */

static void a_job_is_taken_once(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(take(rig, 1, 1, NOW), REASON_NONE);
	assert_int_equal(take(rig, 1, 1, NOW), REASON_AGAIN);
	assert_int_equal(take(rig, 1, 2, NOW), REASON_CONFLICT);
	assert_int_equal(take(rig, 2, 2, NOW), REASON_NONE);
}

static void a_taken_job_is_found_again_after_a_restart(void **state)
{
	struct rig *rig = *state;
	Vault__TakenJob *row = NULL;
	uint8_t id[JOB_ID_SIZE];

	memset(id, 1, sizeof(id));
	assert_int_equal(take(rig, 1, 1, NOW), REASON_NONE);
	close_state(rig);
	open_state(rig, NOW);
	assert_int_equal(state_find_taken(rig->state, cc_view_text("contoso"),
				 cc_view_of(id, sizeof(id)), &row),
		CC_OK);
	assert_non_null(row);
	assert_true(text_equal(codec_view(row->csr), "csr"));
	assert_true(text_equal(codec_view(row->ticket), "ticket"));
	codec_free(row);
	assert_int_equal(state_find_taken(rig->state, cc_view_text("fabrikam"),
				 cc_view_of(id, sizeof(id)), &row),
		CC_OK);
	assert_null(row);
}

static void a_rewrap_may_be_repeated_with_the_same_bytes_only(void **state)
{
	struct rig *rig = *state;
	struct state_change c;

	for (int i = 0; i < 3; i++) {
		change_init(&c, 1, i < 2 ? 1 : 9, NOW);
		c.take = STATE_TAKE_SAME;
		assert_int_equal(commit_and_clear(rig, &c), i < 2 ? REASON_NONE : REASON_CONFLICT);
	}
}

static void a_clock_that_went_back_takes_no_jobs(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(take(rig, 1, 1, NOW), REASON_NONE);
	assert_int_equal(take(rig, 2, 1, NOW - 299), REASON_NONE);
	assert_int_equal(take(rig, 3, 1, NOW - 301), REASON_CLOCK);
	close_state(rig);
	open_state(rig, NOW - 1000);
	assert_int_equal(take(rig, 3, 1, NOW - 301), REASON_CLOCK);
	assert_int_equal(take(rig, 3, 1, NOW), REASON_NONE);
}

static void an_administrator_brings_back_a_clock_that_was_ahead(void **state)
{
	struct rig *rig = *state;
	struct state_change ahead = {.now_s = NOW + 400 * 86400, .tends = true};
	struct state_change accept = {.now_s = NOW, .accepts_clock = true, .decides = true};

	accept.decision.operation = "accept_clock";
	assert_int_equal(commit_and_clear(rig, &ahead), REASON_NONE);
	assert_int_equal(take(rig, 1, 1, NOW), REASON_CLOCK);
	commit(rig, &accept);
	assert_int_equal(accept.verdict, REASON_NONE);
	assert_int_equal(accept.counter, 1);
	assert_true(text_equal(cc_blob_view(&accept.decision.subject),
		"latest time 2028-02-19T08:00:00Z lowered to 2027-01-15T08:00:00Z"));
	state_change_clear(&accept);
	assert_int_equal(take(rig, 1, 1, NOW), REASON_NONE);
	close_state(rig);
	open_state(rig, NOW);
	assert_int_equal(take(rig, 2, 1, NOW), REASON_NONE);
	assert_int_equal(take(rig, 3, 1, NOW - 301), REASON_CLOCK);
}

static void a_clock_that_is_not_behind_stays_as_it_is(void **state)
{
	struct rig *rig = *state;
	struct state_change accept = {.now_s = NOW + 10, .accepts_clock = true, .decides = true};

	accept.decision.operation = "accept_clock";
	commit(rig, &accept);
	assert_int_equal(accept.counter, 1);
	assert_int_equal(accept.decision.subject.size, 0);
	state_change_clear(&accept);
	assert_int_equal(take(rig, 1, 1, NOW - 291), REASON_CLOCK);
}

static void a_rate_limit_counts_jobs_and_not_repeats(void **state)
{
	struct rig *rig = *state;
	struct state_change c;
	static const struct {
		uint8_t id;
		int64_t at;
		enum reason verdict;
	} steps[] = {{1, NOW, REASON_NONE}, {1, NOW, REASON_NONE}, {2, NOW, REASON_NONE},
		{3, NOW, REASON_RATE}, {1, NOW, REASON_NONE}, {3, NOW + 3600, REASON_NONE}};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		change_init(&c, steps[i].id, 1, steps[i].at);
		c.take = STATE_TAKE_SAME;
		c.rate = "rewrap";
		c.per_hour = 2;
		assert_int_equal(commit_and_clear(rig, &c), steps[i].verdict);
	}
}

static void rows_of_past_jobs_go(void **state)
{
	struct rig *rig = *state;
	struct state_change tend = {.now_s = NOW + 3600 + STATE_KEEP_S, .tends = true};

	assert_int_equal(take(rig, 1, 1, NOW), REASON_NONE);
	commit(rig, &tend);
	assert_int_equal(take(rig, 1, 2, NOW + 3600 + STATE_KEEP_S), REASON_CONFLICT);
	tend.now_s = NOW + 3601 + STATE_KEEP_S;
	commit(rig, &tend);
	assert_int_equal(take(rig, 1, 2, NOW + 3601 + STATE_KEEP_S), REASON_NONE);
}

/* ---- statements ---- */

static enum reason sign_with(struct rig *rig, uint8_t id, uint64_t revision)
{
	struct state_change c;

	change_init(&c, id, 1, NOW);
	c.has_signer = true;
	memset(c.signer, 7, sizeof(c.signer));
	c.signer_revision = revision;
	return commit_and_clear(rig, &c);
}

static void a_statement_never_goes_back(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(sign_with(rig, 1, 4), REASON_NONE);
	assert_int_equal(sign_with(rig, 2, 5), REASON_NONE);
	assert_int_equal(sign_with(rig, 3, 4), REASON_SIGNER);
	close_state(rig);
	open_state(rig, NOW);
	assert_int_equal(sign_with(rig, 3, 4), REASON_SIGNER);
	assert_int_equal(sign_with(rig, 3, 5), REASON_NONE);
}

/* ---- decisions ---- */

static void decisions_are_an_unbroken_chain(void **state)
{
	struct rig *rig = *state;
	struct chain chain = {0};

	for (uint8_t i = 1; i <= 5; i++)
		assert_int_equal(take(rig, i, 1, NOW), REASON_NONE);
	assert_int_equal(take(rig, 1, 2, NOW), REASON_CONFLICT); /* a refusal is a decision too */
	close_state(rig);
	open_state(rig, NOW);
	assert_int_equal(take(rig, 6, 1, NOW), REASON_NONE);
	assert_int_equal(state_list_decisions(rig->state, check_record, &chain), CC_OK);
	assert_int_equal(chain.count, 7);
}

static void confirmed_decisions_are_forgotten_and_the_chain_goes_on(void **state)
{
	struct rig *rig = *state;
	struct state_change confirm = {.now_s = NOW, .confirm = 2};
	struct chain chain = {0};

	for (uint8_t i = 1; i <= 3; i++)
		assert_int_equal(take(rig, i, 1, NOW), REASON_NONE);
	assert_int_equal(state_list_decisions(rig->state, check_record, &chain), CC_OK);
	commit(rig, &confirm);
	commit(rig, &confirm); /* once more is fine */
	confirm.confirm = UINT64_MAX;
	commit(rig, &confirm);
	size_t before = chain.count;
	assert_int_equal(state_list_decisions(rig->state, check_record, &chain), CC_OK);
	assert_int_equal(chain.count, before);
	assert_int_equal(take(rig, 4, 1, NOW), REASON_NONE);
	assert_int_equal(state_list_decisions(rig->state, check_record, &chain), CC_OK);
	assert_int_equal(chain.last, 4);
}

/* ---- devices ---- */

static void the_first_key_of_a_device_is_pinned(void **state)
{
	struct rig *rig = *state;
	bool is_new = false;

	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, &is_new), REASON_NONE);
	assert_true(is_new);
	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, &is_new), REASON_NONE);
	assert_false(is_new);
	assert_int_equal(present(rig, "d1", "u1", 2, true, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d1", "u2", 2, true, false, NOW, NULL), REASON_DEVICE_KEY);
	close_state(rig);
	open_state(rig, NOW);
	assert_int_equal(present(rig, "d1", "u1", 2, true, false, NOW, NULL), REASON_DEVICE_KEY);
}

static void first_keys_are_limited_per_user_and_tenant_and_day(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d2", "u1", 2, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d3", "u1", 3, true, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d4", "u2", 4, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d5", "u3", 5, true, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d5", "u3", 5, true, false, NOW + 86400, NULL), REASON_NONE);
}

static void without_a_device_id_nothing_can_be_pinned(void **state)
{
	assert_int_equal(present(*state, "", "u1", 1, true, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(*state, "", "u1", 1, false, false, NOW, NULL), REASON_NONE);
}

static void the_first_device_of_a_user_with_imported_keys_waits(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(present(rig, "d1", "u1", 1, true, true, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u1", 1, true, true, NOW, NULL), REASON_NONE);
}

static void another_users_device_is_no_way_to_imported_keys(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u2", 1, true, true, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d1", "u2", 1, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u2", 1, true, true, NOW, NULL), REASON_DEVICE_KEY);
}

static void devices_without_a_user_count_for_the_tenant_alone(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(present(rig, "d1", "", 1, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d2", "", 2, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d3", "", 3, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d4", "", 4, true, false, NOW, NULL), REASON_DEVICE_KEY);
}

struct seen {
	char devices[8]; /* the second character of each id */
	size_t count;
};

static cc_err note_device(void *arg, uint64_t number, cc_view row)
{
	struct seen *seen = arg;
	Vault__Device *device = NULL;

	(void)number;
	assert_true(seen->count < 8);
	assert_int_equal(codec_decode(&vault__device__descriptor, row, 65536, &device), CC_OK);
	seen->devices[seen->count++] = (char)device->device_id.data[1];
	codec_free(device);
	return CC_OK;
}

static void devices_are_listed_in_pages_each_once(void **state)
{
	struct rig *rig = *state;
	struct seen seen = {.count = 0};
	cc_blob next = CC_BLOB_NONE;
	size_t pages = 0;
	char id[] = "d0";

	for (uint8_t i = 1; i <= 7; i++) {
		id[1] = (char)('0' + i);
		assert_int_equal(present(rig, id, "u1", i, false, false, NOW, NULL), REASON_NONE);
	}
	do {
		cc_blob after = cc_blob_move(&next);
		assert_int_equal(state_list_devices(rig->state, CC_VIEW_NONE, cc_blob_view(&after),
					 3, note_device, &seen, &next),
			CC_OK);
		cc_blob_free(&after);
		pages++;
	} while (next.size > 0);
	assert_int_equal(pages, 3);
	assert_int_equal(seen.count, 7);
	for (char i = '1'; i <= '7'; i++)
		assert_non_null(memchr(seen.devices, i, seen.count));
	seen.count = 0;
	assert_int_equal(state_list_devices(rig->state, cc_view_text("d4"), CC_VIEW_NONE, 3,
				 note_device, &seen, &next),
		CC_OK);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.devices[0], '4');
	assert_int_equal(next.size, 0);
}

static void any_signed_believes_another_key_and_records_it(void **state)
{
	struct rig *rig = *state;
	bool is_new = false;

	assert_int_equal(present(rig, "d1", "u1", 1, false, false, NOW, &is_new), REASON_NONE);
	assert_true(is_new);
	assert_int_equal(present(rig, "d1", "u1", 2, false, false, NOW, &is_new), REASON_NONE);
	assert_true(is_new);
	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_DEVICE_KEY);
}

static void a_blocked_device_and_its_key_are_refused_in_every_mode(void **state)
{
	struct rig *rig = *state;
	struct state_change block = {.now_s = NOW, .blocks = true};

	assert_int_equal(present(rig, "d1", "u1", 1, false, false, NOW, NULL), REASON_NONE);
	block.tenant = cc_blob_copy(cc_view_text("contoso"));
	block.device.device_id = cc_blob_copy(cc_view_text("d1"));
	block.device.source = "blocked";
	commit(rig, &block);
	state_change_clear(&block);
	assert_int_equal(present(rig, "d1", "u1", 1, false, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d1", "u1", 2, false, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(present(rig, "d2", "u1", 1, false, false, NOW, NULL), REASON_DEVICE_KEY);
}

/* ---- salts ---- */

struct salts {
	uint64_t numbers[8];
	size_t count;
};

static cc_err note_salt(void *arg, uint64_t number, cc_view row)
{
	struct salts *salts = arg;

	assert_true(row.size > STATE_SALT_SIZE);
	salts->numbers[salts->count++] = number;
	return CC_OK;
}

static struct salts list_salts(struct rig *rig)
{
	struct salts salts = {0};

	assert_int_equal(state_list_salts(rig->state, note_salt, &salts), CC_OK);
	return salts;
}

/* Its salt would be the newest, and the only one, for as long as it was ahead. */
static void after_a_clock_that_was_ahead_there_is_a_new_salt(void **state)
{
	struct rig *rig = *state;
	struct state_change tend = {.now_s = NOW + 400 * 86400, .tends = true};

	commit(rig, &tend);
	struct salts before = list_salts(rig);
	tend.now_s = NOW;
	commit(rig, &tend);
	commit(rig, &tend);
	struct salts after = list_salts(rig);
	assert_int_equal(after.count, before.count + 1);
	assert_int_equal(after.numbers[after.count - 1], before.numbers[before.count - 1] + 1);
}

static void a_salt_is_made_weekly_and_destroyed_after_its_last_ticket(void **state)
{
	struct rig *rig = *state;
	struct state_change tend = {.now_s = NOW + 3600, .tends = true};
	struct state_change c;

	assert_int_equal(list_salts(rig).count, 1);
	change_init(&c, 1, 1, NOW);
	c.ticket_number = 1;
	c.finish_by_s = NOW + 40 * 86400;
	assert_int_equal(commit_and_clear(rig, &c), REASON_NONE);
	commit(rig, &tend);
	assert_int_equal(list_salts(rig).count, 1);
	tend.now_s = NOW + 8 * 86400;
	commit(rig, &tend);
	assert_int_equal(list_salts(rig).count, 2);
	tend.now_s = NOW + 41 * 86400;
	commit(rig, &tend);
	struct salts left = list_salts(rig);
	assert_int_equal(left.count, 1);
	assert_int_equal(left.numbers[0], 3);
}

static void the_issued_list_is_found_by_issuer_and_serial(void **state)
{
	struct rig *rig = *state;
	struct state_change c;
	Vault__IssuedRow *row = NULL;

	change_init(&c, 1, 1, NOW);
	c.take = STATE_TAKE_NONE;
	c.has_issued = true;
	vault__issued_row__init(&c.issued);
	c.issued.tenant = codec_text("contoso");
	c.issued.issuer = codec_text("issuer");
	c.issued.serial = codec_text("serial");
	assert_int_equal(commit_and_clear(rig, &c), REASON_NONE);
	assert_int_equal(
		state_find_issued(rig->state, cc_view_text("issuer"), cc_view_text("serial"), &row),
		CC_OK);
	assert_non_null(row);
	codec_free(row);
	assert_int_equal(
		state_find_issued(rig->state, cc_view_text("issuer"), cc_view_text("other"), &row),
		CC_OK);
	assert_null(row);
}

/* So that a call which waits for its commit when the keyvault stops can be freed. */
static void closing_tells_the_owner_of_what_is_under_way(void **state)
{
	struct rig *rig = *state;
	struct state_change c;

	change_init(&c, 1, 1, NOW);
	state_submit(rig->state, &c, on_done, rig);
	state_close(rig->state);
	rig->state = NULL;
	assert_int_equal(rig->err, CC_CLOSED);
	state_change_clear(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			closing_tells_the_owner_of_what_is_under_way, rig_new, rig_free),
		WITH_RIG(a_job_is_taken_once),
		WITH_RIG(a_taken_job_is_found_again_after_a_restart),
		WITH_RIG(a_rewrap_may_be_repeated_with_the_same_bytes_only),
		WITH_RIG(a_clock_that_went_back_takes_no_jobs),
		WITH_RIG(an_administrator_brings_back_a_clock_that_was_ahead),
		WITH_RIG(a_clock_that_is_not_behind_stays_as_it_is),
		WITH_RIG(after_a_clock_that_was_ahead_there_is_a_new_salt),
		WITH_RIG(a_rate_limit_counts_jobs_and_not_repeats),
		WITH_RIG(rows_of_past_jobs_go),
		WITH_RIG(a_statement_never_goes_back),
		WITH_RIG(decisions_are_an_unbroken_chain),
		WITH_RIG(confirmed_decisions_are_forgotten_and_the_chain_goes_on),
		WITH_RIG(the_first_key_of_a_device_is_pinned),
		WITH_RIG(first_keys_are_limited_per_user_and_tenant_and_day),
		WITH_RIG(without_a_device_id_nothing_can_be_pinned),
		WITH_RIG(the_first_device_of_a_user_with_imported_keys_waits),
		WITH_RIG(another_users_device_is_no_way_to_imported_keys),
		WITH_RIG(devices_without_a_user_count_for_the_tenant_alone),
		WITH_RIG(devices_are_listed_in_pages_each_once),
		WITH_RIG(any_signed_believes_another_key_and_records_it),
		WITH_RIG(a_blocked_device_and_its_key_are_refused_in_every_mode),
		WITH_RIG(a_salt_is_made_weekly_and_destroyed_after_its_last_ticket),
		WITH_RIG(the_issued_list_is_found_by_issuer_and_serial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

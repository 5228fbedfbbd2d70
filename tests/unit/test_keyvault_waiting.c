/*
 * Jobs that wait for an operator, in the keyvault's state: what is asked, what an answer is good for and for
 * how long, and what becomes of the device's key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/state_rig.h"

/* Job `id` with this body, of user u1 on device d1 where nothing else is said. */
struct asking {
	uint8_t id, body, key;
	const char *user, *device;
	bool imported, not_pinned, asks_first;
	int64_t now;
};

static void ask(struct rig *rig, const struct asking *a, struct state_change *c)
{
	change_init(c, a->id, a->body, a->now != 0 ? a->now : NOW);
	c->has_device = true;
	c->not_after_s = NOW + 3600;
	c->what = cc_blob_copy(cc_view_text("corp-user"));
	c->device.device_id = cc_blob_copy(cc_view_text(a->device ? a->device : "d1"));
	c->device.user_id = cc_blob_copy(cc_view_text(a->user ? a->user : "u1"));
	memset(c->device.spki_sha256, a->key, SHA256_SIZE);
	c->device.source = "pinned";
	c->device.pinned = !a->not_pinned;
	c->device.imported = a->imported;
	c->device.asks_first = a->asks_first;
	c->device.may_wait = true;
	c->device.per_user_per_day = 2;
	c->device.per_tenant_per_day = 1000;
	commit(rig, c);
}

static enum reason comes(struct rig *rig, struct asking a)
{
	struct state_change c;

	ask(rig, &a, &c);
	enum reason verdict = c.verdict;
	state_change_clear(&c);
	return verdict;
}

struct shown {
	uint8_t id, question[SHA256_SIZE];
};

static cc_err note_question(void *arg, uint64_t number, cc_view packed)
{
	struct shown *s = arg;
	Vault__WaitingJob *row = NULL;

	(void)number;
	assert_int_equal(
		codec_decode(&vault__waiting_job__descriptor, packed, packed.size, &row), CC_OK);
	assert_int_equal(row->question_sha256.len, SHA256_SIZE);
	if (row->job_id.data[0] == s->id)
		memcpy(s->question, row->question_sha256.data, SHA256_SIZE);
	codec_free(row);
	return CC_OK;
}

/* What the operator sees of this job; zeroes where nothing waits. */
static struct shown look(struct rig *rig, uint8_t id)
{
	struct shown s = {.id = id};
	cc_blob next = CC_BLOB_NONE;

	assert_int_equal(state_list_waiting(
				 rig->state, CC_VIEW_NONE, NOW, SIZE_MAX, note_question, &s, &next),
		CC_OK);
	cc_blob_free(&next);
	return s;
}

static enum reason rule_on(
	struct rig *rig, const struct shown *shown, enum state_ruling ruling, int64_t now)
{
	struct state_change c = {.now_s = now,
		.has_job = true,
		.rules = ruling,
		.rules_uid = 1234,
		.decides = true,
		.decision = {.operation = "approve_job", .uid = 1234}};

	c.tenant = cc_blob_copy(cc_view_text("contoso"));
	memset(c.job_id, shown->id, sizeof(c.job_id));
	memcpy(c.rules_question, shown->question, sizeof(c.rules_question));
	c.rules_reason = cc_blob_copy(cc_view_text("not ours"));
	return commit_and_clear(rig, &c);
}

static enum reason rule_at(struct rig *rig, uint8_t id, enum state_ruling ruling, int64_t now)
{
	struct shown shown = look(rig, id);

	return rule_on(rig, &shown, ruling, now);
}

static enum reason approve(struct rig *rig, uint8_t id)
{
	return rule_at(rig, id, STATE_RULES_APPROVE, NOW);
}

static enum reason deny(struct rig *rig, uint8_t id)
{
	return rule_at(rig, id, STATE_RULES_DENY, NOW);
}

static size_t waiting(struct rig *rig)
{
	size_t count = 0;

	assert_int_equal(state_count_waiting(rig->state, NOW, &count), CC_OK);
	return count;
}

static void restart(struct rig *rig)
{
	close_state(rig);
	open_state(rig, NOW);
}

#define FIRST(k)    ((struct asking){.id = 1, .body = 1, .key = (k)})
#define OTHER(n, k) ((struct asking){.id = (n), .body = 1, .key = (k)})

static void another_key_waits_and_is_the_devices_once_its_job_is_served(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(waiting(rig), 1);
	restart(rig);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(waiting(rig), 0);
	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_NONE);
	restart(rig);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u1", 2, true, false, NOW, NULL), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u1", 1, true, false, NOW, NULL), REASON_DEVICE_KEY);
}

static void where_policy_knows_no_operator_nothing_waits(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(present(rig, "d1", "u1", 2, true, false, NOW, NULL), REASON_DEVICE_KEY);
	assert_int_equal(waiting(rig), 0);
}

static void an_approval_is_for_the_bytes_of_its_job(void **state)
{
	struct rig *rig = *state;
	struct asking other_bytes = {.id = 2, .body = 9, .key = 2};

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, other_bytes), REASON_CONFLICT);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, other_bytes), REASON_CONFLICT);
	assert_int_equal(comes(rig, OTHER(3, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_NONE);
}

static void an_approval_is_for_what_was_shown(void **state)
{
	struct rig *rig = *state;
	struct shown before, other;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS);
	before = look(rig, 3);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS); /* over another known key now */
	assert_int_equal(rule_on(rig, &before, STATE_RULES_APPROVE, NOW), REASON_OTHER_QUESTION);
	other = look(rig, 3);
	other.question[31] ^= 1;
	assert_int_equal(rule_on(rig, &other, STATE_RULES_APPROVE, NOW), REASON_OTHER_QUESTION);
	assert_int_equal(waiting(rig), 1);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS);
	assert_int_equal(approve(rig, 3), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_NONE);
}

static void an_approval_is_over_with_the_jobs_time(void **state)
{
	struct rig *rig = *state;
	struct asking late = {.id = 2, .body = 1, .key = 2, .now = NOW + 3601};

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(rule_at(rig, 2, STATE_RULES_APPROVE, NOW + 3601), REASON_NOT_WAITING);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, late), REASON_WAITS);
}

static void what_is_denied_stays_denied(void **state)
{
	struct rig *rig = *state;
	struct asking believed = {.id = 2, .body = 1, .key = 2, .not_pinned = true};
	struct asking again = {.id = 2, .body = 1, .key = 2};
	struct state_change c;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(deny(rig, 2), REASON_NONE);
	ask(rig, &again, &c);
	assert_int_equal(c.verdict, REASON_DENIED);
	assert_string_equal(
		cc_blob_text(&c.said), "an operator (uid 1234) has denied it: not ours");
	state_change_clear(&c);
	restart(rig);
	assert_int_equal(approve(rig, 2), REASON_DECIDED);
	assert_int_equal(comes(rig, believed), REASON_DENIED);
	assert_int_equal(comes(rig, OTHER(2, 1)), REASON_DENIED);
}

static void an_approval_can_be_taken_back_until_the_job_is_served(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(approve(rig, 2), REASON_DECIDED);
	assert_int_equal(deny(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_DENIED);
	assert_int_equal(approve(rig, 3), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_NONE);
	assert_int_equal(deny(rig, 3), REASON_NOT_WAITING);
	assert_int_equal(deny(rig, 4), REASON_NOT_WAITING);
}

static void when_the_devices_key_has_changed_since_the_operator_is_asked_anew(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(approve(rig, 3), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_WAITS);
	assert_int_equal(waiting(rig), 1);
	assert_int_equal(approve(rig, 3), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_NONE);
}

static void the_other_jobs_of_an_approved_key_need_no_approval(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(comes(rig, OTHER(3, 2)), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(3, 2)), REASON_NONE);
	assert_int_equal(waiting(rig), 0);
}

static void a_users_first_device_is_approved_once(void **state)
{
	struct rig *rig = *state;
	struct asking record = {.id = 2, .body = 1, .key = 1, .imported = true};
	struct asking next = {.id = 3, .body = 1, .key = 1, .imported = true};

	assert_int_equal(comes(rig, record), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, record), REASON_NONE);
	assert_int_equal(comes(rig, next), REASON_NONE);
}

static void another_users_device_is_approved_once_for_a_user(void **state)
{
	struct rig *rig = *state;
	struct asking record = {.id = 2, .body = 1, .key = 1, .user = "u2", .imported = true};
	struct asking next = {.id = 3, .body = 1, .key = 1, .user = "u2", .imported = true};

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, record), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, record), REASON_NONE);
	assert_int_equal(comes(rig, next), REASON_NONE);
	assert_int_equal(comes(rig, FIRST(1)), REASON_AGAIN);
}

static void where_policy_leaves_it_to_the_operator_the_first_key_waits_too(void **state)
{
	struct rig *rig = *state;
	struct asking first = {.id = 2, .body = 1, .key = 1, .asks_first = true};
	struct asking next = {.id = 3, .body = 1, .key = 1, .asks_first = true};
	struct asking other = {.id = 4, .body = 1, .key = 2, .asks_first = true};

	assert_int_equal(comes(rig, first), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, first), REASON_NONE);
	assert_int_equal(comes(rig, next), REASON_NONE);
	assert_int_equal(comes(rig, other), REASON_WAITS);
}

static void where_policy_leaves_it_to_the_operator_a_record_for_another_users_device_waits(
	void **state)
{
	struct rig *rig = *state;
	struct asking own = {.id = 2, .body = 1, .key = 1, .imported = true, .asks_first = true};
	struct asking first = {
		.id = 3, .body = 1, .key = 9, .asks_first = true, .user = "u2", .device = "d2"};
	struct asking theirs = own, next = own, other_key = own;

	theirs.id = 4;
	next.id = 5;
	other_key.id = 6;
	theirs.user = next.user = other_key.user = "u2";
	assert_int_equal(comes(rig, own), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, own), REASON_NONE);
	assert_int_equal(comes(rig, first), REASON_WAITS);
	assert_int_equal(approve(rig, 3), REASON_NONE);
	assert_int_equal(comes(rig, first), REASON_NONE);
	assert_int_equal(comes(rig, theirs), REASON_WAITS);
	assert_int_equal(approve(rig, 4), REASON_NONE);
	assert_int_equal(comes(rig, theirs), REASON_NONE);
	assert_int_equal(comes(rig, next), REASON_NONE);
	other_key.key = 2;
	assert_int_equal(comes(rig, other_key), REASON_WAITS);
}

static void about_a_blocked_key_nobody_is_asked(void **state)
{
	struct rig *rig = *state;
	struct state_change block = {.now_s = NOW, .blocks = true};

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	block.tenant = cc_blob_copy(cc_view_text("contoso"));
	block.device.device_id = cc_blob_copy(cc_view_text("d1"));
	block.device.source = "blocked";
	commit(rig, &block);
	state_change_clear(&block);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_DEVICE_KEY);
	assert_int_equal(comes(rig, OTHER(3, 3)), REASON_DEVICE_KEY);
}

struct found {
	Vault__WaitingJob *rows[8];
	size_t count;
};

static cc_err take_row(void *arg, uint64_t number, cc_view row)
{
	struct found *found = arg;

	(void)number;
	assert_true(found->count < 8);
	return codec_decode(
		&vault__waiting_job__descriptor, row, 65536, &found->rows[found->count++]);
}

static void a_question_says_what_an_operator_judges_by(void **state)
{
	struct rig *rig = *state;
	struct asking a = {.id = 2, .body = 7, .key = 2, .user = "u2"};
	struct found found = {0};
	cc_blob next = CC_BLOB_NONE;
	uint8_t digest[SHA256_SIZE];

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, a), REASON_WAITS);
	assert_int_equal(
		state_list_waiting(rig->state, CC_VIEW_NONE, NOW, 8, take_row, &found, &next),
		CC_OK);
	assert_int_equal(found.count, 1);
	assert_int_equal(next.size, 0);
	const Vault__WaitingJob *job = found.rows[0];
	assert_true(text_equal(codec_view(job->tenant), "contoso"));
	assert_true(text_equal(codec_view(job->device_id), "d1"));
	assert_true(text_equal(codec_view(job->user_id), "u2"));
	assert_true(text_equal(codec_view(job->known_user_id), "u1"));
	assert_true(text_equal(codec_view(job->what), "corp-user"));
	memset(digest, 7, sizeof(digest));
	assert_memory_equal(job->job_sha256.data, digest, SHA256_SIZE);
	memset(digest, 2, sizeof(digest));
	assert_memory_equal(job->spki_sha256.data, digest, SHA256_SIZE);
	memset(digest, 1, sizeof(digest));
	assert_memory_equal(job->known_spki_sha256.data, digest, SHA256_SIZE);
	assert_int_equal(job->reason, VAULT__WAIT_REASON__WAIT_OTHER_KEY);
	assert_int_equal(job->asked_s, NOW);
	assert_int_equal(job->not_after_s, NOW + 3600);
	codec_free(found.rows[0]);
}

static void questions_are_listed_in_pages(void **state)
{
	struct rig *rig = *state;
	cc_blob next = CC_BLOB_NONE;
	size_t seen = 0, pages = 0;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	for (uint8_t i = 2; i < 9; i++)
		assert_int_equal(comes(rig, OTHER(i, i)), REASON_WAITS);
	do {
		struct found found = {0};
		cc_blob after = cc_blob_move(&next);
		assert_int_equal(state_list_waiting(rig->state, cc_blob_view(&after), NOW, 3,
					 take_row, &found, &next),
			CC_OK);
		cc_blob_free(&after);
		for (size_t i = 0; i < found.count; i++) {
			assert_int_equal(found.rows[i]->job_id.data[0], 2 + seen++);
			codec_free(found.rows[i]);
		}
		pages++;
	} while (next.size > 0);
	assert_int_equal(seen, 7);
	assert_int_equal(pages, 3);
}

static void expect_decision_about_key(cc_view packed, uint8_t key)
{
	Vault__DecisionRecord *record = NULL;
	Vault__Decision *decision = NULL;
	uint8_t digest[SHA256_SIZE];

	assert_int_equal(
		codec_decode(&vault__decision_record__descriptor, packed, 65536, &record), CC_OK);
	assert_int_equal(codec_decode(&vault__decision__descriptor, codec_view(record->decision),
				 65536, &decision),
		CC_OK);
	memset(digest, key, sizeof(digest));
	assert_int_equal(decision->spki_sha256.len, SHA256_SIZE);
	assert_memory_equal(decision->spki_sha256.data, digest, SHA256_SIZE);
	codec_free(decision);
	codec_free(record);
}

static void a_question_is_one_decision_however_often_the_job_comes(void **state)
{
	struct rig *rig = *state;
	struct chain chain = {0};
	struct asking again = {.id = 2, .body = 1, .key = 2};
	struct state_change c;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	ask(rig, &again, &c);
	assert_true(c.asked);
	assert_int_equal(c.counter, 2);
	expect_decision_about_key(cc_blob_view(&c.record), 2);
	state_change_clear(&c);
	ask(rig, &again, &c);
	assert_false(c.asked);
	assert_int_equal(c.counter, 0);
	state_change_clear(&c);
	assert_int_equal(approve(rig, 2), REASON_NONE);
	assert_int_equal(comes(rig, again), REASON_NONE);
	assert_int_equal(state_list_decisions(rig->state, check_record, &chain), CC_OK);
	assert_int_equal(chain.count, 4);
}

static void questions_of_jobs_that_are_over_go(void **state)
{
	struct rig *rig = *state;
	struct state_change tend = {.now_s = NOW + 3600 + 3601, .tends = true};
	struct asking again = {.id = 2, .body = 1, .key = 2};
	struct state_change c;

	assert_int_equal(comes(rig, FIRST(1)), REASON_NONE);
	assert_int_equal(comes(rig, OTHER(2, 2)), REASON_WAITS);
	assert_int_equal(deny(rig, 2), REASON_NONE);
	commit(rig, &tend);
	again.now = tend.now_s;
	ask(rig, &again, &c); /* as new */
	assert_int_equal(c.verdict, REASON_WAITS);
	assert_true(c.asked);
	state_change_clear(&c);
}

/* The first record for the only device of a user of its own. */
static enum reason asks_as_number(struct rig *rig, unsigned number, int64_t now)
{
	struct state_change c;
	char name[16];

	snprintf(name, sizeof(name), "n%u", number);
	change_init(&c, (uint8_t)number, (uint8_t)(number >> 8), now);
	c.job_id[0] = (uint8_t)(number >> 8);
	c.has_device = true;
	c.not_after_s = now + 3600;
	c.device.device_id = cc_blob_copy(cc_view_text(name));
	c.device.user_id = cc_blob_copy(cc_view_text(name));
	c.device.pinned = c.device.imported = c.device.may_wait = true;
	return commit_and_clear(rig, &c);
}

static void only_so_many_wait_and_the_next_is_refused(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < STATE_WAITING_PER_TENANT; i++)
		assert_int_equal(asks_as_number(rig, i, NOW), REASON_WAITS);
	assert_int_equal(asks_as_number(rig, STATE_WAITING_PER_TENANT, NOW), REASON_WAITING_FULL);
	assert_int_equal(waiting(rig), STATE_WAITING_PER_TENANT);
}

static void questions_that_are_past_take_room_until_they_are_gone(void **state)
{
	struct rig *rig = *state;
	struct state_change tend = {.now_s = NOW + 3600 + 3601, .tends = true};
	unsigned i = 0;

	for (; i < STATE_WAITING_PER_TENANT; i++)
		assert_int_equal(asks_as_number(rig, i, NOW), REASON_WAITS);
	for (; i < STATE_WAITING_MAX; i++)
		assert_int_equal(asks_as_number(rig, i, NOW + 3601), REASON_WAITS);
	assert_int_equal(asks_as_number(rig, i, NOW + 7202), REASON_WAITING_FULL);
	commit(rig, &tend);
	assert_int_equal(asks_as_number(rig, i, NOW + 7202), REASON_WAITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(another_key_waits_and_is_the_devices_once_its_job_is_served),
		WITH_RIG(where_policy_knows_no_operator_nothing_waits),
		WITH_RIG(an_approval_is_for_the_bytes_of_its_job),
		WITH_RIG(an_approval_is_for_what_was_shown),
		WITH_RIG(an_approval_is_over_with_the_jobs_time),
		WITH_RIG(what_is_denied_stays_denied),
		WITH_RIG(an_approval_can_be_taken_back_until_the_job_is_served),
		WITH_RIG(when_the_devices_key_has_changed_since_the_operator_is_asked_anew),
		WITH_RIG(the_other_jobs_of_an_approved_key_need_no_approval),
		WITH_RIG(a_users_first_device_is_approved_once),
		WITH_RIG(another_users_device_is_approved_once_for_a_user),
		WITH_RIG(where_policy_leaves_it_to_the_operator_the_first_key_waits_too),
		WITH_RIG(
			where_policy_leaves_it_to_the_operator_a_record_for_another_users_device_waits),
		WITH_RIG(about_a_blocked_key_nobody_is_asked),
		WITH_RIG(a_question_says_what_an_operator_judges_by),
		WITH_RIG(questions_are_listed_in_pages),
		WITH_RIG(a_question_is_one_decision_however_often_the_job_comes),
		WITH_RIG(questions_of_jobs_that_are_over_go),
		WITH_RIG(only_so_many_wait_and_the_next_is_refused),
		WITH_RIG(questions_that_are_past_take_room_until_they_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

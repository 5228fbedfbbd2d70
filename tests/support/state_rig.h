/*
 * State rig: the keyvault's state in a directory of its own, with a loop, and changes for it.
 *
 * Tests that link the keyvault's state; single-threaded.  Set-up and tear-down of each test, so every test
 * has a state of its own.  Every function ends the test when the harness fails; what the state answers is
 * the test's to judge.
 */
#pragma once

#include "keyvault/state.h"
#include "proto/codec.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1800000000

struct rig {
	char dir[256];
	struct state *state;
	struct loop *loop;
	cc_err err;
};

static inline void on_fatal(void *arg, cc_err err)
{
	(void)arg;
	fail_msg("the committer broke: %s", cc_err_detail(err));
}

static inline void open_state(struct rig *rig, int64_t now)
{
	cc_secret key = cc_secret_new(32);

	assert_int_equal(loop_new(&rig->loop), CC_OK);
	assert_int_equal(state_open(rig->dir, &key, now, &rig->state), CC_OK);
	assert_int_equal(state_start(rig->state, rig->loop, on_fatal, rig), CC_OK);
	cc_secret_free(&key);
}

static inline void close_state(struct rig *rig)
{
	state_close(rig->state);
	loop_free(rig->loop);
}

static inline int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));
	const char *tmp = getenv("TMPDIR");

	snprintf(rig->dir, sizeof(rig->dir), "%s/vault-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(rig->dir));
	open_state(rig, NOW);
	*state = rig;
	return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static inline int rig_free(void **state)
{
	struct rig *rig = *state;

	close_state(rig);
	nftw(rig->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(rig);
	return 0;
}

static inline void on_done(void *arg, cc_err err)
{
	struct rig *rig = arg;

	rig->err = err;
	loop_stop(rig->loop);
}

static inline void commit(struct rig *rig, struct state_change *change)
{
	state_submit(rig->state, change, on_done, rig);
	loop_run(rig->loop);
	assert_int_equal(rig->err, CC_OK);
}

/* A change of job `id` whose body has this digest. */
static inline void change_init(struct state_change *c, uint8_t id, uint8_t body, int64_t now)
{
	*c = (struct state_change){.now_s = now, .has_job = true, .judges_clock = true};
	c->tenant = cc_blob_copy(cc_view_text("contoso"));
	memset(c->job_id, id, sizeof(c->job_id));
	memset(c->job_sha256, body, sizeof(c->job_sha256));
	vault__taken_job__init(&c->taken);
	c->taken.job_sha256 = codec_bytes(cc_view_of(c->job_sha256, SHA256_SIZE));
	c->taken.not_after_s = now + 3600;
	c->taken.csr = codec_text("csr");
	c->taken.ticket = codec_text("ticket");
	c->take = STATE_TAKE_NEW;
	c->decides = true;
	c->decision.operation = "begin_issue";
}

static inline enum reason commit_and_clear(struct rig *rig, struct state_change *c)
{
	commit(rig, c);
	enum reason verdict = c->verdict;
	state_change_clear(c);
	return verdict;
}

static inline enum reason take(struct rig *rig, uint8_t id, uint8_t body, int64_t now)
{
	struct state_change c;

	change_init(&c, id, body, now);
	return commit_and_clear(rig, &c);
}

/* Walks the decision records from the beginning: each has to follow from the one before. */
struct chain {
	uint64_t last;
	uint8_t head[SHA256_SIZE];
	size_t count;
};

static inline cc_err check_record(void *arg, uint64_t number, cc_view packed)
{
	static const uint8_t key[32];
	struct chain *chain = arg;
	Vault__DecisionRecord *record = NULL;
	cc_blob input = CC_BLOB_NONE;
	uint8_t mac[SHA256_SIZE];

	assert_int_equal(
		codec_decode(&vault__decision_record__descriptor, packed, 65536, &record), CC_OK);
	assert_int_equal(record->counter, number);
	assert_int_equal(number, chain->last + 1);
	assert_memory_equal(record->previous_sha256.data, chain->head, SHA256_SIZE);
	cc_blob_append_u64(&input, number);
	cc_blob_append(&input, codec_view(record->previous_sha256));
	cc_blob_append(&input, codec_view(record->decision));
	hash_hmac_sha256(cc_view_of(key, sizeof(key)), cc_blob_view(&input), mac);
	assert_memory_equal(record->mac.data, mac, SHA256_SIZE);
	hash_sha256(packed, chain->head);
	chain->last = number;
	chain->count++;
	cc_blob_free(&input);
	codec_free(record);
	return CC_OK;
}

/* A job of its own, of this user on this device with a key of this byte. */
static inline enum reason present(struct rig *rig, const char *device, const char *user,
	uint8_t key, bool pinned, bool imported, int64_t now, bool *ret_new)
{
	static uint8_t ids = 100;
	struct state_change c;

	change_init(&c, ids++, 1, now);
	c.has_device = true;
	c.device.device_id = cc_blob_copy(cc_view_text(device));
	c.device.user_id = cc_blob_copy(cc_view_text(user));
	memset(c.device.spki_sha256, key, SHA256_SIZE);
	c.device.source = pinned ? "pinned" : "any_signed";
	c.device.pinned = pinned;
	c.device.imported = imported;
	c.device.per_user_per_day = 2;
	c.device.per_tenant_per_day = 3;
	commit(rig, &c);
	enum reason verdict = c.verdict;
	if (ret_new != NULL)
		*ret_new = c.device_is_new;
	state_change_clear(&c);
	return verdict;
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)

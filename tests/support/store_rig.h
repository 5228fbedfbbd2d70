/*
 * A store to test, and each of its operations as a plain call: hand over, run the loop, look.
 *
 * Written against cloud-queue/store.h only; rig_open_store is the one place that names a driver.
 * Jobs are numbers: job 7 has an id, a document and a certificate made of 7.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "cloud-queue/store.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define T            cc_view_text("contoso")
#define HQ1          cc_view_text("hq-1")
#define HQ2          cc_view_text("hq-2")
#define RIG_LEASE_MS 60000
#define RIG_MANY     512

struct rig_item { /* of lease, resume, extend, claim, list, events, hints */
	uint32_t job;
	uint32_t epoch, run;
	enum store_result result;
	enum store_state state;
	enum store_dead dead;
	enum store_hint_kind hint;
	size_t prior, passwords, document, pfx, signer;
	char connector[64];
	uint8_t winner; /* first byte of the certificate's digest */
	uint64_t seq;
};

struct rig {
	char dir[64];
	struct loop *loop;
	struct store *store;
	struct store_config config;
	int64_t shifted_realtime, shifted_boottime;
	bool answered;
	struct rig_item items[RIG_MANY];
	size_t count;
	struct rig_item hints[RIG_MANY];
	size_t hint_count;
	uint8_t ids[RIG_MANY][STORE_JOB_ID_SIZE];
	size_t next_id;
	uint32_t next_journal;
};

struct rig_conn { /* one connector's session */
	cc_view name;
	struct store_session s;
	uint8_t nonce[STORE_NONCE_SIZE];
	uint8_t journal[16], instance[16];
	uint8_t certificate; /* its digest is made of this; 0: of 9, as rig_enrol has it */
	bool has_nonce;
	uint64_t generation; /* that its journal has offered to; 0: none */
};

/* ---- small things ------------------------------------------------------------------------------- */

static inline cc_view rig_id(struct rig *r, uint32_t job)
{
	uint8_t *id = r->ids[r->next_id++ % RIG_MANY];
	memset(id, 0x5a, STORE_JOB_ID_SIZE);
	for (int i = 0; i < 4; i++)
		id[i] = (uint8_t)(job >> (24 - 8 * i));
	return cc_view_of(id, STORE_JOB_ID_SIZE);
}

static inline uint32_t rig_job(cc_view id)
{
	return id.size == STORE_JOB_ID_SIZE ? cc_get_u32(id.data) : 0;
}

/* 32 bytes of one value; valid for the whole program. */
static inline cc_view rig_digest(uint8_t of)
{
	static uint8_t digests[256][STORE_DIGEST_SIZE];
	memset(digests[of], of, STORE_DIGEST_SIZE);
	return cc_view_of(digests[of], STORE_DIGEST_SIZE);
}

static inline struct store_certificate rig_certificate(uint8_t of)
{
	return (struct store_certificate){
		rig_digest(of), cc_view_text("CN=CA"), cc_view_text("77")};
}

static inline void rig_copy_text(char to[64], cc_view from)
{
	size_t size = from.size < 63 ? from.size : 63;
	if (size > 0)
		memcpy(to, from.data, size);
	to[size] = '\0';
}

/* ---- the store ---------------------------------------------------------------------------------- */

static inline void rig_hint(void *arg, const struct store_hint *h)
{
	struct rig *r = arg;
	if (r->hint_count == RIG_MANY || h->kind == STORE_HINT_EVENT)
		return;
	struct rig_item *i = &r->hints[r->hint_count++];
	*i = (struct rig_item){.hint = h->kind,
		.job = rig_job(h->job_id),
		.epoch = h->epoch,
		.state = h->state,
		.dead = h->dead,
		.result = h->verdict};
	i->winner = h->winner.sha256.size > 0 ? h->winner.sha256.data[0] : 0;
	rig_copy_text(i->connector, h->connector);
}

static inline size_t rig_hints(const struct rig *r, enum store_hint_kind kind, uint32_t job)
{
	size_t n = 0;
	for (size_t i = 0; i < r->hint_count; i++)
		n += r->hints[i].hint == kind && (job == 0 || r->hints[i].job == job);
	return n;
}

static inline const struct rig_item *rig_last_hint(const struct rig *r, enum store_hint_kind kind)
{
	for (size_t i = r->hint_count; i > 0; i--) {
		if (r->hints[i - 1].hint == kind)
			return &r->hints[i - 1];
	}
	fail_msg("no such hint");
	return NULL;
}

static inline void rig_fatal(void *arg, cc_err err)
{
	(void)arg;
	fail_msg("the store died: %s", cc_err_detail(err));
}

/* The one place that knows a driver. */
static inline cc_err rig_open_store(struct rig *r)
{
	return store_lmdb_open(r->loop, r->dir, &r->config, rig_fatal, r, &r->store);
}

static inline void rig_open(struct rig *r)
{
	assert_int_equal(rig_open_store(r), CC_OK);
	store_listen(r->store, ~0u, rig_hint, r);
}

static inline void rig_reopen(struct rig *r)
{
	store_close(r->store);
	r->store = NULL;
	rig_open(r);
}

/* Realtime and boottime go on by this much. */
static inline void rig_shift(struct rig *r, int64_t realtime_ms, int64_t boottime_ms)
{
	r->shifted_realtime += realtime_ms;
	r->shifted_boottime += boottime_ms;
	clock_shift_for_test(r->shifted_realtime, r->shifted_boottime);
}

static inline void rig_pass(struct rig *r, int64_t ms)
{
	rig_shift(r, ms, ms);
}

static inline void rig_answered(struct rig *r)
{
	r->answered = true;
	loop_stop(r->loop);
}

static inline void rig_wait(struct rig *r)
{
	while (!r->answered)
		loop_run(r->loop);
}

/* rig_NAME(r, in): the operation's `out`; its views are gone, its numbers stay. */
#define RIG_CALL(name)                                                                             \
	struct rig_call_##name {                                                                   \
		struct rig *rig;                                                                   \
		struct store_##name##_out out;                                                     \
	};                                                                                         \
	static inline void rig_done_##name(void *arg, const struct store_##name##_out *out)        \
	{                                                                                          \
		struct rig_call_##name *c = arg;                                                   \
		c->out = *out;                                                                     \
		rig_keep_##name(c->rig, out);                                                      \
		rig_answered(c->rig);                                                              \
	}                                                                                          \
	static inline struct store_##name##_out rig_##name(                                        \
		struct rig *r, struct store_##name##_in in)                                        \
	{                                                                                          \
		struct rig_call_##name c = {.rig = r};                                             \
		r->answered = false;                                                               \
		store_##name(r->store, &in, rig_done_##name, &c);                                  \
		rig_wait(r);                                                                       \
		return c.out;                                                                      \
	}
#define RIG_PLAIN(name)                                                                            \
	static inline void rig_keep_##name(struct rig *r, const struct store_##name##_out *out)    \
	{                                                                                          \
		(void)r;                                                                           \
		(void)out;                                                                         \
	}                                                                                          \
	RIG_CALL(name)

static inline void rig_keep_verdicts(
	struct rig *r, const struct store_item_verdict *items, size_t count)
{
	r->count = 0;
	for (size_t i = 0; i < count && i < RIG_MANY; i++) {
		r->items[r->count++] = (struct rig_item){.job = rig_job(items[i].job_id),
			.epoch = items[i].epoch,
			.result = items[i].result,
			.winner = items[i].winner.sha256.size > 0 ? items[i].winner.sha256.data[0]
								  : 0};
	}
}

static inline void rig_keep_session_resume(
	struct rig *r, const struct store_session_resume_out *out)
{
	rig_keep_verdicts(r, out->items, out->count);
}

static inline void rig_keep_extend(struct rig *r, const struct store_extend_out *out)
{
	rig_keep_verdicts(r, out->items, out->count);
}

static inline void rig_keep_claim(struct rig *r, const struct store_claim_out *out)
{
	rig_keep_verdicts(r, out->items, out->count);
}

static inline void rig_keep_lease(struct rig *r, const struct store_lease_out *out)
{
	r->count = 0;
	for (size_t i = 0; i < out->count; i++) {
		const struct store_leased *l = &out->jobs[i];
		r->items[r->count++] = (struct rig_item){.job = rig_job(l->job_id),
			.epoch = l->epoch,
			.run = l->run,
			.prior = l->prior_count,
			.passwords = l->password_count,
			.document = l->document.size,
			.pfx = l->pfx.size,
			.signer = l->signer.size};
	}
}

static inline void rig_keep_list(struct rig *r, const struct store_list_out *out)
{
	r->count = 0;
	for (size_t i = 0; i < out->count; i++)
		r->items[r->count++] = (struct rig_item){.job = rig_job(out->jobs[i].job_id),
			.state = out->jobs[i].state,
			.seq = out->jobs[i].seq};
}

static inline void rig_keep_events(struct rig *r, const struct store_events_out *out)
{
	r->count = 0;
	for (size_t i = 0; i < out->count; i++)
		r->items[r->count++] = (struct rig_item){.job = rig_job(out->events[i].job_id),
			.state = out->events[i].state,
			.seq = out->events[i].seq};
}

static inline void rig_keep_fetch(struct rig *r, const struct store_fetch_out *out)
{
	const struct store_job *j = &out->job;
	r->count = 1;
	r->items[0] = (struct rig_item){.state = j->state,
		.dead = j->dead,
		.epoch = j->epoch,
		.run = j->run,
		.document = out->bundle.size,
		.seq = j->seq};
	r->items[0].winner = j->certificate.sha256.size > 0 ? j->certificate.sha256.data[0] : 0;
	rig_copy_text(r->items[0].connector, j->connector);
}

RIG_PLAIN(enqueue)
RIG_CALL(fetch)
RIG_PLAIN(result_ack)
RIG_CALL(list)
RIG_CALL(events)
RIG_PLAIN(cancel)
RIG_PLAIN(bury)
RIG_PLAIN(replay)
RIG_PLAIN(takeover)
RIG_PLAIN(session_open)
RIG_CALL(session_resume)
RIG_PLAIN(set_capabilities)
RIG_PLAIN(session_close)
RIG_CALL(lease)
RIG_CALL(extend)
RIG_CALL(claim)
RIG_PLAIN(park)
RIG_PLAIN(complete)
RIG_PLAIN(nack)
RIG_PLAIN(settle)
RIG_PLAIN(sweep)
RIG_PLAIN(stats)
RIG_PLAIN(tenant_put)
RIG_PLAIN(connector_put)
RIG_PLAIN(connector_set)

/* ---- set up --------------------------------------------------------------------------------------- */

static inline int rig_setup(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	const char *tmp = getenv("TMPDIR");

	snprintf(r->dir, sizeof(r->dir), "%s/store-XXXXXX",
		tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	r->config.lease_ms = RIG_LEASE_MS;
	assert_int_equal(loop_new(&r->loop), CC_OK);
	rig_open(r);
	assert_int_equal(rig_tenant_put(r,
				 (struct store_tenant_put_in){
					 .tenant = {.name = T, .job_root = cc_view_text("root")}})
				 .result,
		STORE_NEW);
	*state = r;
	return 0;
}

static inline int rig_teardown(void **state)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "LOCK"};
	struct rig *r = *state;
	char path[128];

	store_close(r->store);
	loop_free(r->loop);
	clock_shift_for_test(0, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
		unlink(path);
	}
	rmdir(r->dir);
	free(r);
	return 0;
}

#define RIG_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

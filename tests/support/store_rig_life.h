/*
 * For tests of a store that is put back to an older copy of itself, and of what its connectors offer then.
 */
#pragma once

#include "tests/support/store_rig_jobs.h"

#include "base/file.h"

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

static inline void rig_data_file(const struct rig *r, const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/%s", r->dir, name);
}

static inline void rig_copy_file(const char *from, const char *to)
{
	cc_blob bytes = CC_BLOB_NONE;

	assert_int_equal(file_read(from, FILE_ANY, (size_t)64 << 20, &bytes), CC_OK);
	unlink(to);
	assert_int_equal(file_write_atomic(to, cc_blob_view(&bytes), 0600), CC_OK);
	cc_blob_free(&bytes);
}

static inline void rig_close_store(struct rig *r)
{
	store_close(r->store);
	r->store = NULL;
}

static inline void rig_back_up(struct rig *r)
{
	char data[128], kept[128];

	rig_data_file(r, "data.mdb", data);
	rig_data_file(r, "kept", kept);
	rig_close_store(r);
	rig_copy_file(data, kept);
	rig_open(r);
}

static inline void rig_restore(struct rig *r)
{
	char data[128], kept[128];

	rig_data_file(r, "data.mdb", data);
	rig_data_file(r, "kept", kept);
	rig_close_store(r);
	rig_copy_file(kept, data);
	unlink(kept);
	rig_open(r);
}

/* The store as it is now is what it goes back to, and the connector is there to offer. */
static inline void rig_go_back(struct rig *r, struct rig_conn *c)
{
	c->generation = store_generation(r->store);
	rig_back_up(r);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
	rig_resume(r, c, NULL, 0);
}

/* ---- what was finished since the copy was made ----------------------------------------------------- */

struct rig_offer_call {
	struct rig *rig;
	enum store_result result;
};

static inline void rig_on_offered(void *arg, const struct store_offer_out *out)
{
	struct rig_offer_call *c = arg;

	assert_int_equal(out->err, CC_OK);
	c->result = out->result;
	rig_keep_verdicts(c->rig, out->items, out->count);
	rig_answered(c->rig);
}

static inline enum store_result rig_offer_page(struct rig *r, const struct rig_conn *c,
	const struct store_offered *jobs, size_t count, bool last)
{
	struct rig_offer_call call = {.rig = r};
	struct store_offer_in in = {.session = c->s, .jobs = jobs, .count = count, .last = last};

	r->answered = false;
	store_offer(r->store, &in, rig_on_offered, &call);
	rig_wait(r);
	return call.result;
}

static inline struct store_offered rig_finished(
	struct rig *r, uint32_t job, uint32_t epoch, uint8_t certificate)
{
	return (struct store_offered){.job_id = rig_id(r, job),
		.epoch = epoch,
		.success = true,
		.certificate = rig_certificate(certificate),
		.ca = cc_view_text("corp-ca"),
		.csr_sha256 = rig_digest(40),
		.spki_sha256 = rig_digest(40),
		.txid = cc_view_part(rig_digest(40), 0, 16)};
}

/* The same without a certificate: what came of the claim is `settle`, or is not known yet. */
static inline struct store_offered rig_only_claimed(
	struct rig *r, uint32_t job, uint32_t epoch, enum store_settlement settle)
{
	struct store_offered claim = rig_finished(r, job, epoch, 5);

	claim.success = false;
	claim.settle = settle;
	claim.certificate = (struct store_certificate){{0}, {0}, {0}};
	return claim;
}

/* The verdict; r->items[0] has the epoch and the winner. */
static inline enum store_result rig_offer_one(
	struct rig *r, const struct rig_conn *c, struct store_offered job)
{
	assert_int_equal(rig_offer_page(r, c, &job, 1, false), STORE_OK);
	assert_int_equal(r->count, 1);
	return r->items[0].result;
}

static inline void rig_end_offer(struct rig *r, const struct rig_conn *c)
{
	assert_int_equal(rig_offer_page(r, c, NULL, 0, true), STORE_OK);
}

/* The copy has the job READY; then it was done. */
static inline void rig_lose_a_done_job(struct rig *r, struct rig_conn *c)
{
	rig_connect(r, c, HQ1);
	rig_enqueue_job(r, 1);
	c->generation = store_generation(r->store);
	rig_back_up(r);
	rig_come_back(r, c);
	assert_int_equal(rig_take_one(r, c, 1), 1);
	assert_int_equal(rig_claim_one(r, c, 1, 1), STORE_GRANTED);
	assert_int_equal(rig_succeed(r, HQ1, 1, 1, 5), STORE_STORED);
	rig_restore(r);
	assert_true(rig_dial(r, c).offer);
	rig_resume(r, c, NULL, 0);
}

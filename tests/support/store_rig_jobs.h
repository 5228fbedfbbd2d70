/*
 * Jobs and connectors of a store under test, the short way.  See store_rig.h.
 */
#pragma once

#include "tests/support/store_rig.h"

static inline struct store_enqueue_in rig_new_job(struct rig *r, uint32_t job, enum store_kind kind)
{
	static uint8_t body[STORE_DIGEST_SIZE];
	memset(body, 0, sizeof(body));
	memcpy(body, &job, sizeof(job));
	return (struct store_enqueue_in){.tenant = T,
		.job_id = rig_id(r, job),
		.document = cc_view_text("a signed document"),
		.body_sha256 = cc_view_of(body, sizeof(body)),
		.route = {.kind = kind},
		.not_after_ms = store_now_ms(r->store) + 24 * 3600 * 1000,
		.idem_key = cc_view_text("key")};
}

static inline void rig_enqueue_kind(struct rig *r, uint32_t job, enum store_kind kind)
{
	struct store_enqueue_out out = rig_enqueue(r, rig_new_job(r, job, kind));
	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, STORE_NEW);
}

static inline void rig_enqueue_job(struct rig *r, uint32_t job)
{
	rig_enqueue_kind(r, job, STORE_ISSUE);
}

static inline struct store_session_open_out rig_dial(struct rig *r, struct rig_conn *c)
{
	struct store_session_open_in in = {.tenant = T,
		.connector = c->name,
		.instance_id = cc_view_of(c->instance, 16),
		.journal_id = cc_view_of(c->journal, 16),
		.certificate_sha256 = rig_digest(c->certificate ? c->certificate : 9),
		.generation = c->generation,
		.nonce = c->has_nonce ? cc_view_of(c->nonce, STORE_NONCE_SIZE) : CC_VIEW_NONE};
	struct store_session_open_out out = rig_session_open(r, in);
	assert_int_equal(out.err, CC_OK);
	if (out.result == STORE_OK) {
		memcpy(c->nonce, out.nonce, STORE_NONCE_SIZE);
		c->has_nonce = true;
		c->s = (struct store_session){T, c->name, out.session_epoch};
	}
	return out;
}

/* What it holds is listed; then the resume ends. */
static inline struct store_session_resume_out rig_resume(
	struct rig *r, struct rig_conn *c, const struct store_held *held, size_t count)
{
	return rig_session_resume(r, (struct store_session_resume_in){.session = c->s,
					     .nonce = cc_view_of(c->nonce, STORE_NONCE_SIZE),
					     .held = held,
					     .held_count = count,
					     .last = true,
					     .held_total = (uint32_t)count});
}

static inline void rig_offer(
	struct rig *r, struct rig_conn *c, uint32_t kinds, const cc_view *profiles, size_t count)
{
	assert_int_equal(rig_set_capabilities(r, (struct store_set_capabilities_in){.session = c->s,
							 .kinds = kinds,
							 .ca_profiles = profiles,
							 .ca_profile_count = count})
				 .result,
		STORE_OK);
}

static inline void rig_enrol(struct rig *r, struct rig_conn *c, cc_view name)
{
	*c = (struct rig_conn){.name = name};
	memset(c->journal, (int)++r->next_journal, sizeof(c->journal));
	memset(c->instance, 1, sizeof(c->instance));
	rig_connector_put(r, (struct store_connector_put_in){.tenant = T,
				     .id = name,
				     .result_spki = cc_view_text("result key"),
				     .certificate_sha256 = rig_digest(9)});
}

/* A connector that is enrolled, connected, resumed and does everything. */
static inline void rig_connect(struct rig *r, struct rig_conn *c, cc_view name)
{
	rig_enrol(r, c, name);
	assert_int_equal(rig_dial(r, c).result, STORE_OK);
	assert_int_equal(rig_resume(r, c, NULL, 0).result, STORE_OK);
	rig_offer(r, c, ~0u, NULL, 0);
}

/* Comes again with the same journal; a new instance when its process was restarted. */
static inline void rig_redial(struct rig *r, struct rig_conn *c, bool restarted)
{
	if (restarted)
		c->instance[0]++;
	assert_int_equal(rig_dial(r, c).result, STORE_OK);
}

/* The same process again, and it has nothing. */
static inline void rig_come_back(struct rig *r, struct rig_conn *c)
{
	rig_redial(r, c, false);
	rig_resume(r, c, NULL, 0);
}

static inline void rig_hang_up(struct rig *r, struct rig_conn *c)
{
	assert_int_equal(
		rig_session_close(r, (struct store_session_close_in){c->s}).result, STORE_OK);
}

/* How many were leased; r->items says which. */
static inline size_t rig_take(struct rig *r, struct rig_conn *c, size_t max)
{
	struct store_lease_out out =
		rig_lease(r, (struct store_lease_in){.session = c->s, .max_jobs = max});
	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, out.count > 0 ? STORE_OK : STORE_EMPTY);
	return out.count;
}

static inline uint32_t rig_take_one(struct rig *r, struct rig_conn *c, uint32_t job)
{
	assert_int_equal(rig_take(r, c, 1), 1);
	assert_int_equal(r->items[0].job, job);
	return r->items[0].epoch;
}

static inline enum store_result rig_claim_at(struct rig *r, struct rig_conn *c, uint32_t job,
	uint32_t epoch, const char *ca, uint8_t csr)
{
	struct store_claim claim = {.job_id = rig_id(r, job),
		.epoch = epoch,
		.ca = cc_view_text(ca),
		.csr_sha256 = rig_digest(csr),
		.spki_sha256 = rig_digest(csr),
		.txid = cc_view_part(rig_digest(csr), 0, 16)};
	struct store_claim_out out = rig_claim(
		r, (struct store_claim_in){.session = c->s, .claims = &claim, .count = 1});
	assert_int_equal(out.err, CC_OK);
	return out.result == STORE_OK ? r->items[0].result : out.result;
}

static inline enum store_result rig_claim_one(
	struct rig *r, struct rig_conn *c, uint32_t job, uint32_t epoch)
{
	return rig_claim_at(r, c, job, epoch, "corp-ca", 40);
}

static inline enum store_result rig_park_one(
	struct rig *r, struct rig_conn *c, uint32_t job, uint32_t epoch)
{
	return rig_park(r, (struct store_park_in){.session = c->s,
				   .job_id = rig_id(r, job),
				   .epoch = epoch,
				   .deadline_ms = 7 * 86400 * 1000,
				   .ref = cc_view_text("4711")})
		.result;
}

static inline struct store_complete_in rig_success(
	struct rig *r, cc_view connector, uint32_t job, uint32_t epoch, uint8_t certificate)
{
	return (struct store_complete_in){.tenant = T,
		.connector = connector,
		.transport_sha256 = rig_digest(9),
		.job_id = rig_id(r, job),
		.epoch = epoch,
		.success = true,
		.digest = rig_digest(certificate),
		.bundle = cc_view_text("bundle"),
		.certificate = rig_certificate(certificate)};
}

static inline enum store_result rig_succeed(
	struct rig *r, cc_view connector, uint32_t job, uint32_t epoch, uint8_t certificate)
{
	return rig_complete(r, rig_success(r, connector, job, epoch, certificate)).result;
}

static inline enum store_result rig_fail(struct rig *r, cc_view connector, uint32_t job,
	uint32_t epoch, enum store_settlement settle)
{
	return rig_complete(r, (struct store_complete_in){.tenant = T,
				       .connector = connector,
				       .transport_sha256 = rig_digest(9),
				       .job_id = rig_id(r, job),
				       .epoch = epoch,
				       .error_code = cc_view_text("policy_denied"),
				       .error_event = 5102,
				       .settle = settle})
		.result;
}

static inline struct store_nack_in rig_nack_in(struct rig *r, struct rig_conn *c, uint32_t job,
	uint32_t epoch, enum store_nack_reason reason)
{
	return (struct store_nack_in){
		.session = c->s, .job_id = rig_id(r, job), .epoch = epoch, .reason = reason};
}

static inline enum store_result rig_settle_at(struct rig *r, cc_view connector, uint32_t job,
	uint32_t epoch, const char *ca, enum store_settlement outcome)
{
	return rig_settle(r, (struct store_settle_in){.tenant = T,
				     .connector = connector,
				     .transport_sha256 = rig_digest(9),
				     .job_id = rig_id(r, job),
				     .epoch = epoch,
				     .ca = cc_view_text(ca),
				     .outcome = outcome})
		.result;
}

static inline enum store_result rig_cancel_job(struct rig *r, uint32_t job, bool by_operator)
{
	return rig_cancel(r,
		(struct store_cancel_in){
			.tenant = T, .job_id = rig_id(r, job), .by_operator = by_operator})
		.result;
}

static inline enum store_result rig_take_over(struct rig *r, uint32_t job, const char *by)
{
	return rig_takeover(r, (struct store_takeover_in){T, rig_id(r, job), cc_view_text(by)})
		.result;
}

/* Fetched: r->items[0] has its state, reason, epoch, run, winner and holder. */
static inline enum store_state rig_state(struct rig *r, uint32_t job)
{
	struct store_fetch_out out =
		rig_fetch(r, (struct store_fetch_in){T, rig_id(r, job), .want_document = true,
				     .want_result = true});
	assert_int_equal(out.err, CC_OK);
	assert_int_equal(out.result, STORE_OK);
	return out.job.state;
}

static inline struct store_sweep_out rig_sweep_all(struct rig *r)
{
	struct store_sweep_out out = rig_sweep(r, (struct store_sweep_in){0});
	assert_int_equal(out.err, CC_OK);
	return out;
}

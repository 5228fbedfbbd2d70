/*
 * Rig: a connector's flow between a fake cloud, a fake keyvault and fake runners, in one process.
 *
 * The cloud is a struct wire; keyvault and runners are the other ends of socketpairs.  All of them
 * answer by themselves as the rig's members say, and record what they were asked, so that a test
 * changes one thing and looks at what came of it.  rig_turn runs the loop until nothing happens any more.
 */
#pragma once

#include "tests/support/connector_rig_peers.h"

/* ---- running ---- */

/* Nothing happened for a while, twice, and nothing is on its way to the disk. */
static inline void rig_quiet(void *arg)
{
	struct rig *r = arg;
	bool commits = r->flow != NULL && r->held_commits == NULL && journal_is_busy(r->journal);
	bool frames = r->inbox_count > 0 || r->opening || r->ending;
	if (commits || frames)
		r->quiet_times = 0; /* what comes back has its consequences yet */
	else
		r->quiet_times++;
	if (r->quiet_times >= 2)
		loop_stop(r->loop);
	else
		loop_timer_set(r->quiet, RIG_QUIET_MS / 2);
}

/* Nothing reaches the disk from here on until rig_release_commits. */
static inline void rig_hold_commits(struct rig *r)
{
	assert_int_equal(
		mdb_txn_begin(db_env(journal_db(r->journal)), NULL, 0, &r->held_commits), 0);
}

static inline void rig_release_commits(struct rig *r)
{
	mdb_txn_abort(r->held_commits);
	r->held_commits = NULL;
}

static inline void rig_turn(struct rig *r)
{
	rig_busy(r);
	loop_run(r->loop);
}

/* Time passes at once; what is due is done.  A session does not survive a minute of it. */
static inline void rig_jump(struct rig *r, int64_t ms)
{
	r->shift += ms;
	clock_shift_for_test(r->shift, r->shift);
	flow_run_due(r->flow);
	rig_turn(r);
}

/* Time passes, in steps that a session survives; a long time is one jump, and a new session. */
static inline void rig_pass(struct rig *r, int64_t ms)
{
	int64_t step = ms > 600000 ? ms : 15000;
	for (int64_t left = ms; left > 0; left -= step)
		rig_jump(r, left < step ? left : step);
}

static inline void rig_conversation_lost(void *arg, const char *ca)
{
	struct rig *r = arg;
	if (ca == NULL && !r->vault_away)
		rig_attach_vault(r);
	for (size_t i = 0; ca != NULL && i < 2; i++) {
		if (strcmp(ca, r->runners[i].name) == 0 && !r->runners[i].away)
			rig_attach_ca(r, i);
	}
}

static inline void rig_on_fatal(void *arg, cc_err err)
{
	((struct rig *)arg)->fatal = err;
}

static inline void rig_on_stopped(void *arg)
{
	((struct rig *)arg)->stopped = true;
}

static inline void rig_open(struct rig *r)
{
	static const struct flow_events events = {.conversation_lost = rig_conversation_lost,
		.fatal = rig_on_fatal,
		.stopped = rig_on_stopped};
	static char one[] = "ca-one", two[] = "ca-two";
	static char *const names[] = {one, two};
	struct journal_settings js = {
		.dir = r->dir, .max_bytes = 64ull << 20, .result_retention_ms = 86400000};
	struct flow_settings fs = {.build_id = RIG_BUILD,
		.tenant = "contoso",
		.connector_id = "hq-1",
		.ca_names = names,
		.ca_count = 2,
		.hold_cas = names,
		.hold_count = r->holds ? 2 : 0,
		.max_inflight = 4,
		.backoff_min_ms = 60000, /* hardly one in the middle of a turn */
		.backoff_max_ms = 60000};
	assert_int_equal(journal_open(&js, r->loop, &r->journal), CC_OK);
	assert_int_equal(flow_new(r->loop, &fs, r->journal, &r->wire, &events, r, &r->flow), CC_OK);
	if (!r->vault_away)
		rig_attach_vault(r);
	for (size_t i = 0; i < 2; i++) {
		if (!r->runners[i].away)
			rig_attach_ca(r, i);
	}
	flow_start(r->flow);
}

static inline void rig_close(struct rig *r)
{
	flow_free(r->flow);
	r->flow = NULL;
	r->connected = false;
	r->opening = false;
	r->ending = false;
	rig_clear_inbox(r);
	chan_free(r->vault);
	r->vault = NULL;
	for (size_t i = 0; i < 2; i++) {
		chan_free(r->runners[i].chan);
		r->runners[i].chan = NULL;
	}
}

/* The process ends and starts again, with the same journal. */
static inline void rig_restart(struct rig *r)
{
	rig_close(r);
	rig_open(r);
	rig_turn(r);
}

static inline void rig_kill_vault(struct rig *r)
{
	chan_free(r->vault);
	r->vault = NULL;
	rig_turn(r);
}

static inline void rig_kill_ca(struct rig *r, size_t i)
{
	chan_free(r->runners[i].chan);
	r->runners[i].chan = NULL;
	rig_turn(r);
}

static inline void rig_cut(struct rig *r)
{
	r->ending = true;
	loop_timer_set(r->deliver, 0);
	rig_turn(r);
}

static inline int rig_setup(void **state)
{
	static const struct wire_ops ops = {.connect = rig_connect,
		.send = rig_send,
		.close = rig_wire_close,
		.queued = rig_wire_queued};
	struct rig *r = cc_alloc(sizeof *r);
	const char *tmp = getenv("TMPDIR");
	r->wire.ops = &ops;
	assert_int_equal(loop_new(&r->loop), CC_OK);
	r->quiet = loop_timer_new(r->loop, rig_quiet, r);
	r->deliver = loop_timer_new(r->loop, rig_deliver, r);
	snprintf(r->dir, sizeof r->dir, "%s/conn-XXXXXX",
		tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	fixture_ca_make(&r->ca, "the CA");
	fixture_ca_make(&r->other_ca, "another CA");
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
	r->claim_verdict = CERTQ__CLAIM_VERDICT__CLAIM_GRANTED;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_STORED;
	r->settle_verdict = CERTQ__SETTLE_VERDICT__SETTLE_ACK_OK;
	r->nack_verdict = CERTQ__NACK_VERDICT__NACK_ACK_OK;
	r->generation = 1;
	r->offer_verdict = CERTQ__OFFER_VERDICT__OFFER_SAME;
	r->born_s = clock_realtime_s();
	r->begin_status = r->finish_status = r->rewrap_status = r->reorder_status =
		r->approve_status = r->orphan_status = VAULT__VAULT_STATUS__VAULT_OK;
	r->park_verdict = CERTQ__JOB_VERDICT__VERDICT_KEEP;
	r->revokes_at = "ca-one";
	for (size_t i = 0; i < 2; i++) {
		r->runners[i] = (struct rig_runner){.rig = r,
			.name = i == 0 ? "ca-one" : "ca-two",
			.submit = CA__CA_RESULT__CA_ISSUED,
			.find = CA__CA_RESULT__CA_NOT_ISSUED,
			.revoke = CA__CA_RESULT__CA_DONE,
			.can_revoke = true,
			.poll = CA__CA_RESULT__CA_PENDING,
			.withdraw = CA__CA_RESULT__CA_NOT_ISSUED,
			.can_withdraw = true,
			.resubmit = CA__CA_RESUBMIT__RESUBMIT_SAME_CERT,
			.can_find = CA__CA_FIND__FIND_BY_CSR,
			.signs = &r->ca};
	}
	rig_open(r);
	rig_turn(r);
	*state = r;
	return 0;
}

static inline void rig_remove_dir(const char *dir)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "LOCK"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = file_join(dir, names[i]);
		unlink(path);
		free(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

static inline void rig_forget_frames(struct rig *r)
{
	for (size_t i = 0; i < r->out_count; i++)
		codec_free(r->out[i]);
	r->out_count = 0;
}

static inline int rig_teardown(void **state)
{
	struct rig *r = *state;
	if (r->held_commits != NULL)
		rig_release_commits(r);
	rig_close(r);
	rig_forget_frames(r);
	cc_blob_free(&r->signer);
	loop_timer_free(r->quiet);
	loop_timer_free(r->deliver);
	loop_free(r->loop);
	rig_remove_dir(r->dir);
	fixture_ca_clear(&r->ca);
	fixture_ca_clear(&r->other_ca);
	clock_shift_for_test(0, 0);
	free(r);
	return 0;
}

/* ---- what the cloud sends ---- */

static inline void rig_job_id(const char *name, uint8_t ret[16])
{
	uint8_t digest[32];
	hash_sha256(cc_view_text(name), digest);
	memcpy(ret, digest, 16);
}

struct rig_job {
	const char *name;
	Certq__JobDocument__KindCase kind;
	uint32_t epoch;
	uint32_t life_s;             /* 0: an hour */
	bool own_prior, other_prior; /* a claim before this one: with our CSR, with another's */
	bool two_priors;             /* with our CSR at each CA */
	bool other_document;
};

static inline void rig_cloud_job(struct rig *r, struct rig_job j)
{
	Certq__Job m = CERTQ__JOB__INIT;
	Certq__JobDocument d = CERTQ__JOB_DOCUMENT__INIT;
	Certq__Issue issue = CERTQ__ISSUE__INIT;
	Certq__Rewrap rewrap = CERTQ__REWRAP__INIT;
	Certq__Revoke revoke = CERTQ__REVOKE__INIT;
	Certq__Chain chain = CERTQ__CHAIN__INIT;
	Certq__SignedDocument document, signer;
	Certq__PriorClaim prior = CERTQ__PRIOR_CLAIM__INIT, second = CERTQ__PRIOR_CLAIM__INIT,
			  *priors[2] = {&prior, &second};
	uint8_t id[16], body[8] = {0}, csr[32];
	cc_blob packed;
	rig_job_id(j.name, id);
	d.version = 1;
	d.tenant = codec_text("contoso");
	d.idempotency_key = codec_text(j.name);
	d.not_before_s = r->born_s; /* a job that comes again is the same */
	d.not_after_s = d.not_before_s + (j.life_s > 0 ? j.life_s : 3600);
	d.correlation_id = codec_text(j.other_document ? "corr-2" : "corr-1");
	d.kind_case = j.kind;
	switch (j.kind) {
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		d.rewrap = &rewrap;
		break;
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		revoke.reason = 1;
		d.revoke = &revoke;
		break;
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		chain.ca_profile = codec_text("corp-user");
		d.chain = &chain;
		break;
	default:
		d.kind_case = CERTQ__JOB_DOCUMENT__KIND_ISSUE;
		issue.ca_profile = codec_text("corp-user");
		d.issue = &issue;
	}
	packed = codec_pack(&d);
	document = rig_document(body);
	document.body = codec_bytes(cc_blob_view(&packed));
	signer = rig_document(body);
	if (r->signer.size > 0)
		signer.body = codec_bytes(cc_blob_view(&r->signer));
	m.job_id = codec_bytes(cc_view_of(id, 16));
	m.epoch = j.epoch == 0 ? 1 : j.epoch;
	m.run = 1;
	m.lease_ms = 120000;
	m.job = &document;
	m.signer = &signer;
	if (j.own_prior || j.other_prior || j.two_priors) {
		hash_sha256(cc_view_text(j.other_prior ? "another's csr" : "csr"), csr);
		prior.spki_sha256 = codec_bytes(cc_view_of(csr, 32));
		prior.txid = codec_bytes(cc_view_of(csr, 16));
		prior.ca = codec_text("ca-two");
		prior.csr_sha256 = codec_bytes(cc_view_of(csr, 32));
		second = prior;
		if (j.two_priors)
			prior.ca = codec_text("ca-one");
		m.n_prior = j.two_priors ? 2 : 1;
		m.prior = priors;
	}
	RIG_POST(r, JOB, job, &m);
	cc_blob_free(&packed);
}

static inline void rig_issue(struct rig *r, const char *name)
{
	rig_cloud_job(r, (struct rig_job){.name = name});
}

/* A job comes, and all is done that can be done now. */
static inline void rig_do(struct rig *r, const char *name)
{
	rig_issue(r, name);
	rig_turn(r);
}

static inline void rig_come_again(struct rig *r, uint32_t epoch)
{
	rig_cloud_job(r, (struct rig_job){.name = "job-1", .epoch = epoch});
	rig_turn(r);
}

/* The first CA is asked, and its answer never comes. */
static inline void rig_do_without_answer(struct rig *r)
{
	r->runners[0].silent = true;
	rig_do(r, "job-1");
	r->runners[0].silent = false;
}

/* The claim of epoch 1 was taken from us after a restart, and the CA does not answer yet. */
static inline void rig_lose_claim(struct rig *r)
{
	rig_do_without_answer(r);
	r->held_verdict = CERTQ__JOB_VERDICT__VERDICT_LOST;
	r->runners[0].find = CA__CA_RESULT__CA_NOT_SENT;
	rig_restart(r);
}

/* The job is over, and another certificate is its result. */
static inline void rig_name_other_winner(struct rig *r)
{
	r->winner = &r->other_ca;
	r->result_verdict = CERTQ__RESULT_VERDICT__RESULT_ALREADY_DONE;
}

/* A time, and what is due by then. */
static inline void rig_pass_due(struct rig *r, int64_t ms)
{
	rig_pass(r, ms);
	rig_pass(r, 61000);
}

static inline void rig_gone(struct rig *r, const char *name, Certq__JobVerdict verdict)
{
	Certq__JobGone m = CERTQ__JOB_GONE__INIT;
	uint8_t id[16];
	rig_job_id(name, id);
	m.job_id = codec_bytes(cc_view_of(id, 16));
	m.epoch = 1;
	m.verdict = verdict;
	RIG_POST(r, JOB_GONE, job_gone, &m);
}

/* ---- what is looked at ---- */

static inline size_t rig_count(const struct rig *r, Certq__Envelope__BodyCase body)
{
	size_t count = 0;
	for (size_t i = 0; i < r->out_count; i++)
		count += r->out[i]->body_case == body;
	return count;
}

/* The last of this kind; the test fails when there is none. */
static inline const Certq__Envelope *rig_last(const struct rig *r, Certq__Envelope__BodyCase body)
{
	for (size_t i = r->out_count; i > 0; i--) {
		if (r->out[i - 1]->body_case == body)
			return r->out[i - 1];
	}
	fail_msg("no frame of kind %d was sent", (int)body);
	return NULL;
}

#define RIG_SENT(r, KIND) rig_count((r), CERTQ__ENVELOPE__BODY_##KIND)
#define RIG_LAST(r, KIND) rig_last((r), CERTQ__ENVELOPE__BODY_##KIND)
#define RIG_ASSERT_SETTLED(r, OUTCOME)                                                             \
	assert_int_equal(RIG_LAST(r, SETTLE)->settle->outcome, CERTQ__SETTLEMENT__SETTLE_##OUTCOME)
#define RIG_IN(r, STATE)          flow_state_count((r)->flow, JOURNAL__JOB_STATE__STATE_##STATE)
#define assert_text(bytes, words) assert_true(text_equal(codec_view(bytes), (words)))

/* Every job of the table, in whatever state. */
static inline size_t rig_jobs(const struct rig *r)
{
	size_t count = 0;
	for (int s = JOURNAL__JOB_STATE__STATE_RECEIVED;
		s <= JOURNAL__JOB_STATE__STATE_READY_TO_SEND; s++)
		count += flow_state_count(r->flow, (Journal__JobState)s);
	return count;
}

static inline cc_err rig_count_one(void *arg, cc_view job_id, const Journal__OpenJob *record)
{
	(void)job_id;
	(void)record;
	(*(size_t *)arg)++;
	return CC_OK;
}

static inline size_t rig_journal_open(const struct rig *r)
{
	size_t count = 0;
	assert_int_equal(journal_each_open(r->journal, rig_count_one, &count), CC_OK);
	return count;
}

static inline void rig_assert_done(const struct rig *r, const char *name, const char *outcome)
{
	Journal__DoneJob *done = NULL;
	uint8_t id[16];
	rig_job_id(name, id);
	assert_int_equal(journal_get_done(r->journal, cc_view_of(id, 16), &done), CC_OK);
	assert_text(done->outcome, outcome);
	codec_free(done);
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

/*
 * Fills the journal of a stopped connector, and the store of its stopped queue, as after years of work:
 * many finished jobs, and many that wait for their CA.  Both sides agree on every job.
 *
 *   restart_maker STORE-DIR JOURNAL-DIR TENANT CONNECTOR CA FINISHED OPEN
 *
 * All goes through the rooms' own calls.  Ids ascend, so that the trees are filled from left to right; a
 * start reads the same rows either way.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "cloud-queue/store.h"
#include "connector/journal.h"
#include "proto/codec.h"
#include "proto/job.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS      (INT64_C(86400) * 1000)
#define CHANGE_JOBS 2000 /* jobs in one change */
#define COUNT_MAX   100000000u

struct maker {
	struct loop *loop;
	struct store *store;
	struct journal *journal;
	cc_view tenant, connector, ca;
	struct store_session session;
	uint8_t nonce[STORE_NONCE_SIZE];
	size_t waiting; /* answers */
	cc_err err;     /* the first that was not as it should be */
};

static void answered(struct maker *m, cc_err err, bool as_expected)
{
	if (m->err == CC_OK && err != CC_OK)
		m->err = err;
	if (m->err == CC_OK && !as_expected)
		m->err = cc_fail(CC_INTERNAL, "another answer than expected");
	if (--m->waiting == 0)
		loop_stop(m->loop);
}

static cc_err wait_for_answers(struct maker *m)
{
	while (m->waiting > 0)
		loop_run(m->loop);
	return m->err;
}

static cc_view id_of(bool open, uint32_t number, uint8_t ret[JOB_ID_SIZE])
{
	memset(ret, 0x5a, JOB_ID_SIZE);
	for (size_t i = 0; i < 4; i++)
		ret[1 + i] = (uint8_t)(number >> (24 - 8 * i));
	ret[0] = open ? 0x80 : 0;
	return cc_view_of(ret, JOB_ID_SIZE);
}

/* ---- the store ---------------------------------------------------------------------------------- */

#define EXPECT(name, wanted)                                                                       \
	static void on_##name(void *arg, const struct store_##name##_out *out)                     \
	{                                                                                          \
		answered(arg, out->err, out->result == (wanted));                                  \
	}
EXPECT(session_resume, STORE_OK)
EXPECT(set_capabilities, STORE_OK)
EXPECT(enqueue, STORE_NEW)
EXPECT(lease, STORE_OK)
EXPECT(park, STORE_KEEP)
EXPECT(session_close, STORE_OK)

static void on_claim(void *arg, const struct store_claim_out *out)
{
	answered(arg, out->err, out->count == 1 && out->items[0].result == STORE_GRANTED);
}

static void on_session_open(void *arg, const struct store_session_open_out *out)
{
	struct maker *m = arg;

	m->session = (struct store_session){m->tenant, m->connector, out->session_epoch};
	memcpy(m->nonce, out->nonce, sizeof(m->nonce));
	answered(m, out->err, out->result == STORE_OK);
}

/* As the connector that is enrolled: with the certificate of its enrolment, which comes as it is asked. */
static void on_connector(void *arg, const struct store_connector_get_out *out)
{
	struct maker *m = arg;
	const uint8_t instance[16] = {1};
	struct store_session_open_in in = {.tenant = m->tenant,
		.connector = m->connector,
		.instance_id = cc_view_of(instance, sizeof(instance)),
		.journal_id = journal_id(m->journal),
		.nonce = journal_nonce(m->journal),
		.certificate_sha256 = out->connector.certificate_sha256};

	m->waiting++;
	store_session_open(m->store, &in, on_session_open, m);
	answered(m, out->err, out->result == STORE_OK);
}

static cc_err open_session(struct maker *m)
{
	struct store_connector_get_in get = {m->tenant, m->connector};
	struct store_session_resume_in resume = {.last = true};
	struct store_set_capabilities_in offer = {.kinds = STORE_KIND_BIT(STORE_ISSUE)};
	cc_err err = CC_OK;

	m->waiting = 1;
	store_connector_get(m->store, &get, on_connector, m);
	TRY(wait_for_answers(m));
	resume.session = m->session;
	resume.nonce = cc_view_of(m->nonce, sizeof(m->nonce));
	offer.session = m->session;
	m->waiting = 2;
	store_session_resume(m->store, &resume, on_session_resume, m);
	store_set_capabilities(m->store, &offer, on_set_capabilities, m);
	TRY(wait_for_answers(m));
out:
	return err;
}

static void fill_claim(struct maker *m, cc_view id, struct store_claim *ret)
{
	static const uint8_t digest[SHA256_SIZE] = {7};

	*ret = (struct store_claim){.job_id = id,
		.epoch = 1,
		.ca = m->ca,
		.csr_sha256 = cc_view_of(digest, SHA256_SIZE),
		.spki_sha256 = cc_view_of(digest, SHA256_SIZE),
		.txid = cc_view_of(digest, TXID_SIZE)};
}

/* Each job is leased right after it was put in, so that the lease is of this one. */
static void hand_over_parked(struct maker *m, uint32_t number)
{
	static const uint8_t document[1500] = {1};
	uint8_t id[JOB_ID_SIZE], body[SHA256_SIZE];
	struct store_claim claim;
	struct store_enqueue_in put = {.tenant = m->tenant,
		.job_id = id_of(true, number, id),
		.document = cc_view_of(document, sizeof(document)),
		.body_sha256 = cc_view_of(body, sizeof(body)),
		.route = {.kind = STORE_ISSUE},
		.not_after_ms = clock_realtime_ms() + 7 * DAY_MS};
	struct store_lease_in lease = {.session = m->session, .max_jobs = 1};
	struct store_claim_in claims = {.session = m->session, .claims = &claim, .count = 1};
	struct store_park_in park = {.session = m->session,
		.job_id = put.job_id,
		.epoch = 1,
		.deadline_ms = 30 * DAY_MS};

	hash_sha256(put.job_id, body);
	fill_claim(m, put.job_id, &claim);
	m->waiting += 4;
	store_enqueue(m->store, &put, on_enqueue, m);
	store_lease(m->store, &lease, on_lease, m);
	store_claim(m->store, &claims, on_claim, m);
	store_park(m->store, &park, on_park, m);
}

static cc_err fill_store(struct maker *m, uint32_t open)
{
	struct store_session_close_in end;
	cc_err err = CC_OK;

	TRY(open_session(m));
	for (uint32_t i = 0; i < open; i++) {
		hand_over_parked(m, i);
		if (i % 500 == 499 || i + 1 == open)
			TRY(wait_for_answers(m));
	}
	end.session = m->session;
	m->waiting = 1;
	store_session_close(m->store, &end, on_session_close, m);
	TRY(wait_for_answers(m));
out:
	return err;
}

/* ---- the journal -------------------------------------------------------------------------------- */

static void on_committed(void *arg, cc_err err)
{
	answered(arg, err, true);
}

static cc_err commit(struct maker *m, struct journal_change *change)
{
	m->waiting = 1;
	journal_commit(change, on_committed, m);
	return wait_for_answers(m);
}

static void add_open(struct maker *m, struct journal_change *change, uint32_t number)
{
	static const uint8_t digest[SHA256_SIZE] = {7}, bytes[2048] = {1};
	uint8_t id[JOB_ID_SIZE];
	cc_view job = id_of(true, number, id);
	int64_t now = clock_realtime_ms();
	Journal__OpenJob record = JOURNAL__OPEN_JOB__INIT;
	ProtobufCBinaryData ca = codec_bytes(m->ca);

	record.state = JOURNAL__JOB_STATE__STATE_PENDING;
	record.kind = codec_text("issue");
	record.epoch = 1;
	record.run = 1;
	record.ca = ca;
	record.txid = codec_bytes(cc_view_of(digest, TXID_SIZE));
	record.csr_sha256 = codec_bytes(cc_view_of(digest, SHA256_SIZE));
	record.spki_sha256 = record.csr_sha256;
	record.deadline_ms = now + 30 * DAY_MS;
	record.next_due_ms = now + DAY_MS;
	record.created_ms = now;
	record.not_after_s = now / 1000 + 7 * 86400;
	record.finish_by_s = record.not_after_s;
	record.n_cas = 1;
	record.cas = &ca;
	journal_change_open(change, job, &record);
	journal_change_blob(change, job, JOURNAL_JOB, cc_view_of(bytes, 1500));
	journal_change_blob(change, job, JOURNAL_CSR, cc_view_of(bytes, 400));
	journal_change_blob(change, job, JOURNAL_TICKET, cc_view_of(bytes, 1000));
	journal_change_blob(change, job, JOURNAL_COOKIE, cc_view_of(bytes, 200));
}

static void add_finished(struct maker *m, struct journal_change *change, uint32_t number)
{
	static const uint8_t digest[SHA256_SIZE] = {9};
	uint8_t id[JOB_ID_SIZE];
	Journal__DoneJob record = JOURNAL__DONE_JOB__INIT;

	record.state = JOURNAL__JOB_STATE__STATE_DONE;
	record.epoch = 1;
	record.run = 1;
	record.kind = codec_text("issue");
	record.outcome = codec_text("stored");
	record.ca = codec_bytes(m->ca);
	record.cert_sha256 = codec_bytes(cc_view_of(digest, SHA256_SIZE));
	record.result_sha256 = record.cert_sha256;
	record.time_ms = clock_realtime_ms();
	record.keep_until_ms = record.time_ms + 7 * DAY_MS;
	journal_change_done(change, id_of(false, number, id), &record);
}

static cc_err fill_journal(struct maker *m, uint32_t finished, uint32_t open)
{
	struct journal_change *change = journal_change_new(m->journal);
	cc_err err = CC_OK;

	journal_change_session(change, cc_view_of(m->nonce, sizeof(m->nonce)), m->session.epoch,
		store_generation(m->store), false);
	for (uint32_t i = 0; i < open + finished; i++) {
		if (i < open)
			add_open(m, change, i);
		else
			add_finished(m, change, i - open);
		if (i % CHANGE_JOBS == CHANGE_JOBS - 1) {
			err = commit(m, change);
			change = journal_change_new(m->journal);
			TRY(err);
		}
	}
	err = commit(m, change);
	change = NULL;
out:
	journal_change_free(change);
	return err;
}

static void on_fatal(void *arg, cc_err err)
{
	(void)arg;
	cc_die("the store: %s", cc_err_detail(err));
}

static cc_err run(struct maker *m, char **argv)
{
	struct store_config store = {.lease_ms = 120 * 1000};
	struct journal_settings journal = {
		.dir = argv[2], .max_bytes = UINT64_C(64) << 30, .result_retention_ms = DAY_MS};
	uint64_t finished, open;
	cc_err err = CC_OK;

	TRY(text_to_u64(cc_view_text(argv[6]), 0, COUNT_MAX, &finished));
	TRY(text_to_u64(cc_view_text(argv[7]), 0, COUNT_MAX, &open));
	TRY(loop_new(&m->loop));
	TRY(journal_open(&journal, m->loop, &m->journal));
	TRY(store_lmdb_open(m->loop, argv[1], &store, on_fatal, m, &m->store));
	TRY(fill_store(m, (uint32_t)open));
	TRY(fill_journal(m, (uint32_t)finished, (uint32_t)open));
out:
	store_close(m->store);
	journal_close(m->journal);
	if (m->loop != NULL)
		loop_free(m->loop);
	return err;
}

int main(int argc, char **argv)
{
	struct maker m = {0};

	if (argc != 8) {
		fprintf(stderr, "usage: restart_maker STORE-DIR JOURNAL-DIR TENANT CONNECTOR CA "
				"FINISHED OPEN\n");
		return EXIT_USAGE;
	}
	m.tenant = cc_view_text(argv[3]);
	m.connector = cc_view_text(argv[4]);
	m.ca = cc_view_text(argv[5]);
	if (run(&m, argv) == CC_OK)
		return EXIT_OK;
	fprintf(stderr, "restart_maker: %s\n", cc_err_detail(m.err));
	return EXIT_FAILED;
}

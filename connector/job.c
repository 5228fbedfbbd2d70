/*
 * The table of jobs by id, and the way between a job in memory and its record in the journal.
 *
 * Job ids are digests, so their own bytes are the hash.  Nothing here decides anything: states are
 * changed by flow.c and the steps.
 */
#include "connector/job.h"

#include "proto/codec.h"
#include "proto/job.h"
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct jobs {
	struct job *bucket[BUCKETS];
	size_t count;
};

static size_t bucket_of(cc_view job_id)
{
	return cc_get_u32(job_id.data) % BUCKETS;
}

struct jobs *jobs_new(void)
{
	return cc_alloc(sizeof(struct jobs));
}

static void free_job(struct job *job)
{
	for (size_t i = 0; i < job->ca_count; i++)
		free(job->cas[i]);
	free(job->cas);
	free(job->settle_ca);
	free(job->correlation);
	free(job->code);
	free(job->reference);
	codec_free(job->delivery);
	cc_blob_free(&job->csr);
	cc_blob_free(&job->ticket);
	cc_blob_free(&job->order);
	cc_blob_free(&job->chain);
	cc_blob_free(&job->cookie);
	cc_blob_free(&job->certificate.sha256);
	cc_blob_free(&job->certificate.issuer);
	cc_blob_free(&job->certificate.serial);
	cc_blob_free(&job->result);
	cc_blob_free(&job->winner_sha256);
	cc_blob_free(&job->body_sha256);
	while (job->earlier_count > 0)
		job_drop_earlier(job, 0);
	free(job->earlier);
	free(job);
}

void jobs_free(struct jobs *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (t->bucket[i] != NULL) {
			struct job *job = t->bucket[i];
			t->bucket[i] = job->next;
			free_job(job);
		}
	}
	free(t);
}

struct job *jobs_find(const struct jobs *t, cc_view job_id)
{
	if (job_id.size != JOB_ID_SIZE)
		return NULL;
	for (struct job *job = t->bucket[bucket_of(job_id)]; job != NULL; job = job->next) {
		if (cc_view_equal(job_id_view(job), job_id))
			return job;
	}
	return NULL;
}

struct job *jobs_add(struct jobs *t, cc_view job_id)
{
	struct job *job = cc_alloc(sizeof *job);
	size_t at = bucket_of(job_id);
	memcpy(job->id, job_id.data, JOB_ID_SIZE);
	job->correlation = cc_strdup("");
	job->code = cc_strdup("");
	job->reference = cc_strdup("");
	job->next = t->bucket[at];
	t->bucket[at] = job;
	t->count++;
	return job;
}

void jobs_drop(struct jobs *t, struct job *job)
{
	struct job **link = &t->bucket[bucket_of(job_id_view(job))];
	while (*link != job)
		link = &(*link)->next;
	*link = job->next;
	job->next = NULL;
	t->count--;
	job->dropped = true;
	if (job->holds == 0)
		free_job(job);
}

size_t jobs_count(const struct jobs *t)
{
	return t->count;
}

void jobs_each(struct jobs *t, jobs_fn fn, void *arg)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		struct job *next = NULL;
		for (struct job *job = t->bucket[i]; job != NULL; job = next) {
			next = job->next;
			fn(arg, job);
		}
	}
}

void job_hold(struct job *job)
{
	job->holds++;
}

bool job_release(struct job *job)
{
	job->holds--;
	if (!job->dropped)
		return true;
	if (job->holds == 0)
		free_job(job);
	return false;
}

cc_view job_id_view(const struct job *job)
{
	return cc_view_of(job->id, JOB_ID_SIZE);
}

cc_view job_ca(const struct job *job)
{
	return job->ca_at < job->ca_count ? cc_view_text(job->cas[job->ca_at]) : CC_VIEW_NONE;
}

static const char *const kind_texts[] = {
	[JOB_KIND_ISSUE] = "issue",
	[JOB_KIND_REWRAP] = "rewrap",
	[JOB_KIND_REVOKE] = "revoke",
	[JOB_KIND_CHAIN] = "chain",
};

const char *job_kind_text(enum job_kind kind)
{
	return kind_texts[kind];
}

void job_choose_ca(struct job *job, size_t index, cc_view tenant)
{
	job->ca_at = index;
	job->not_sent = 0;
	job_txid(tenant, job_id_view(job), job_ca(job), cc_view_of(job->csr_sha256, 32), job->txid);
}

void job_set_only_ca(struct job *job, cc_view name)
{
	char *only = cc_strndup(name);
	for (size_t i = 0; i < job->ca_count; i++)
		free(job->cas[i]);
	free(job->cas);
	job->cas = cc_alloc(sizeof *job->cas);
	job->cas[0] = only;
	job->ca_count = 1;
	job->ca_at = 0;
}

void job_set_code(struct job *job, cc_view code, uint32_t event)
{
	char *copy = text_is_clean(code, 64) ? cc_strndup(code) : cc_strdup("internal");
	free(job->code);
	job->code = copy;
	job->event = event;
}

void job_set_certificate(struct job *job, cc_view sha256, cc_view issuer, cc_view serial)
{
	cc_blob_free(&job->certificate.sha256);
	cc_blob_free(&job->certificate.issuer);
	cc_blob_free(&job->certificate.serial);
	job->certificate.sha256 = cc_blob_copy(sha256);
	job->certificate.issuer = cc_blob_copy(issuer);
	job->certificate.serial = cc_blob_copy(serial);
}

void job_forget_delivery(struct job *job)
{
	codec_free(job->delivery);
	job->delivery = NULL;
}

void job_forget_blobs(struct job *job)
{
	cc_blob_free(&job->csr);
	cc_blob_free(&job->ticket);
	cc_blob_free(&job->order);
	cc_blob_free(&job->cookie);
	cc_blob_free(&job->chain);
	cc_blob_free(&job->result);
}

/* ---- claims of earlier epochs ---- */

static void add_earlier(struct job *job, uint32_t epoch, cc_view ca, Certq__Settlement outcome)
{
	struct job_claim *grown = cc_alloc((job->earlier_count + 1) * sizeof *grown);
	if (job->earlier_count > 0)
		memcpy(grown, job->earlier, job->earlier_count * sizeof *grown);
	free(job->earlier);
	job->earlier = grown;
	grown[job->earlier_count++] =
		(struct job_claim){.epoch = epoch, .outcome = outcome, .ca = cc_strndup(ca)};
}

/* Exact is what says that there is no certificate, or none any more; the rest the CA is asked about. */
void job_keep_claim(struct job *job)
{
	Certq__Settlement outcome = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	if (job->state == JOURNAL__JOB_STATE__STATE_SETTLING &&
		(job->settle == CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED ||
			job->settle == CERTQ__SETTLEMENT__SETTLE_ORPHAN_REVOKED))
		outcome = job->settle;
	if (job->settle_ca != NULL) { /* the claim at the present CA was not made yet */
		add_earlier(job, job->epoch, cc_view_text(job->settle_ca),
			CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED);
		free(job->settle_ca);
		job->settle_ca = NULL;
	} else {
		add_earlier(job, job->epoch, job_ca(job), outcome);
	}
}

void job_return_claim(struct job *job)
{
	struct job_claim *last =
		job->earlier_count == 0 ? NULL : &job->earlier[job->earlier_count - 1];
	uint32_t epoch = job->epoch;
	if (last == NULL)
		return;
	job->epoch = last->epoch;
	*last = (struct job_claim){
		.epoch = epoch, .outcome = CERTQ__SETTLEMENT__SETTLE_NOT_ISSUED, .ca = last->ca};
}

void job_drop_earlier(struct job *job, size_t at)
{
	free(job->earlier[at].ca);
	job->earlier_count--;
	memmove(job->earlier + at, job->earlier + at + 1,
		(job->earlier_count - at) * sizeof *job->earlier);
}

void job_forget_told(struct job *job)
{
	for (size_t i = 0; i < job->earlier_count; i++)
		job->earlier[i].told = false;
}

/* ---- the record ---- */

static void record_earlier(const struct job *job, struct job_record_room *room, Journal__OpenJob *r)
{
	for (size_t i = 0; i < job->earlier_count; i++) {
		journal__earlier_claim__init(&room->claims[i]);
		room->claims[i].epoch = job->earlier[i].epoch;
		room->claims[i].ca = codec_text(job->earlier[i].ca);
		room->claims[i].outcome = (uint32_t)job->earlier[i].outcome;
		room->earlier[i] = &room->claims[i];
	}
	r->n_earlier = job->earlier_count;
	r->earlier = room->earlier;
}

void job_record(const struct job *job, struct job_record_room *room, Journal__OpenJob *ret)
{
	Journal__OpenJob r = JOURNAL__OPEN_JOB__INIT;
	for (size_t i = 0; i < job->ca_count; i++)
		room->cas[i] = codec_text(job->cas[i]);
	record_earlier(job, room, &r);
	/* a claim is the queue's record; here the job is still at INTENT */
	r.state = job->state == JOURNAL__JOB_STATE__STATE_CLAIMED ? JOURNAL__JOB_STATE__STATE_INTENT
								  : job->state;
	r.kind = codec_text(job_kind_text(job->kind));
	r.epoch = job->epoch;
	r.run = job->run;
	r.ca = codec_bytes(job_ca(job));
	r.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	r.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	r.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	r.deadline_ms = job->deadline_ms;
	r.watch_until_ms = job->watch_until_ms;
	r.settle = (uint32_t)job->settle;
	r.risked = job->risked;
	r.reference = codec_text(job->reference);
	r.next_due_ms = job->next_due_ms;
	r.created_ms = job->created_ms;
	r.correlation_id = codec_text(job->correlation);
	r.cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	r.issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	r.serial = codec_bytes(cc_blob_view(&job->certificate.serial));
	r.attempts = job->attempts;
	r.success = job->success;
	r.finish_by_s = job->finish_by_s;
	r.not_after_s = job->not_after_s;
	r.settle_ca = codec_text(job->settle_ca);
	r.winner_sha256 = codec_bytes(cc_blob_view(&job->winner_sha256));
	r.winner_told_ms = job->winner_told_ms;
	r.winner_generation = job->winner_generation;
	r.hold_until_ms = job->hold_until_ms;
	r.hold_generation = job->hold_generation;
	r.stored = job->stored;
	r.revoking = job->revoking;
	r.body_sha256 = codec_bytes(cc_blob_view(&job->body_sha256));
	r.n_cas = job->ca_count;
	r.cas = room->cas;
	r.code = codec_text(job->code);
	r.event = job->event;
	*ret = r;
}

static cc_err copy_fixed(ProtobufCBinaryData from, uint8_t *to, size_t size)
{
	if (from.len != size)
		return cc_fail(CC_CORRUPT, "a digest in a journal record has %zu bytes", from.len);
	memcpy(to, from.data, size);
	return CC_OK;
}

static cc_err copy_cas(struct job *job, const Journal__OpenJob *r)
{
	if (r->n_cas > JOB_CAS_MAX)
		return cc_fail(CC_CORRUPT, "a journal record names %zu CAs", r->n_cas);
	job->cas = cc_alloc((r->n_cas + 1) * sizeof *job->cas);
	job->ca_at = r->n_cas;
	for (size_t i = 0; i < r->n_cas; i++) {
		cc_view name = codec_view(r->cas[i]);
		if (!text_is_name(name))
			return cc_fail(CC_CORRUPT, "a journal record has an impossible CA name");
		job->cas[job->ca_count++] = cc_strndup(name);
		if (cc_view_equal(name, codec_view(r->ca)))
			job->ca_at = i;
	}
	if (job->ca_at == r->n_cas)
		return cc_fail(CC_CORRUPT, "a journal record names a CA that is not in its list");
	return CC_OK;
}

static cc_err copy_earlier(struct job *job, const Journal__OpenJob *r)
{
	if (r->n_earlier > JOB_EARLIER_MAX)
		return cc_fail(
			CC_CORRUPT, "a journal record names %zu earlier claims", r->n_earlier);
	for (size_t i = 0; i < r->n_earlier; i++) {
		const Journal__EarlierClaim *claim = r->earlier[i];
		if (!text_is_name(codec_view(claim->ca)) ||
			claim->outcome > CERTQ__SETTLEMENT__SETTLE_IN_DOUBT)
			return cc_fail(CC_CORRUPT, "a journal record has an impossible claim");
		add_earlier(job, claim->epoch, codec_view(claim->ca),
			(Certq__Settlement)claim->outcome);
	}
	return CC_OK;
}

static bool is_on_disk(Journal__JobState state)
{
	switch (state) {
	case JOURNAL__JOB_STATE__STATE_INTENT:
	case JOURNAL__JOB_STATE__STATE_PENDING:
	case JOURNAL__JOB_STATE__STATE_ISSUED:
	case JOURNAL__JOB_STATE__STATE_RESULT:
	case JOURNAL__JOB_STATE__STATE_SETTLING:
	case JOURNAL__JOB_STATE__STATE_WATCH:
	case JOURNAL__JOB_STATE__STATE_ORPHAN:
		return true;
	default:
		return false;
	}
}

cc_err job_from_record(struct job *job, const Journal__OpenJob *r)
{
	cc_err err = CC_OK;
	ENSURE(is_on_disk(r->state),
		cc_fail(CC_CORRUPT, "a journal record is in state %d", (int)r->state));
	ENSURE(text_equal(codec_view(r->kind), kind_texts[JOB_KIND_ISSUE]),
		cc_fail(CC_CORRUPT, "a journal record is of an unknown kind"));
	ENSURE(r->settle <= CERTQ__SETTLEMENT__SETTLE_IN_DOUBT,
		cc_fail(CC_CORRUPT, "a journal record has settlement %u", r->settle));
	ENSURE(text_is_clean(codec_view(r->correlation_id), 256) &&
			text_is_clean(codec_view(r->code), 64) &&
			text_is_clean(codec_view(r->reference), JOB_REFERENCE_MAX),
		cc_fail(CC_CORRUPT, "a journal record holds text that is not clean"));
	TRY(copy_fixed(r->txid, job->txid, sizeof job->txid));
	TRY(copy_fixed(r->csr_sha256, job->csr_sha256, sizeof job->csr_sha256));
	TRY(copy_fixed(r->spki_sha256, job->spki_sha256, sizeof job->spki_sha256));
	TRY(copy_cas(job, r));
	TRY(copy_earlier(job, r));
	if (r->settle_ca.len > 0) {
		ENSURE(text_is_name(codec_view(r->settle_ca)),
			cc_fail(CC_CORRUPT, "a journal record has an impossible CA name"));
		job->settle_ca = cc_strndup(codec_view(r->settle_ca));
	}
	job->kind = JOB_KIND_ISSUE;
	job->state = r->state;
	job->durable = true;
	job->replayed = true;
	/* nobody knows what was sent before the restart, unless the certificate is here, or the claim at this CA
	 * could not be made yet */
	job->doubtful = r->state != JOURNAL__JOB_STATE__STATE_ISSUED && r->settle_ca.len == 0;
	job->epoch = r->epoch;
	job->run = r->run;
	job->deadline_ms = r->deadline_ms;
	job->watch_until_ms = r->watch_until_ms;
	job->risked = r->risked;
	free(job->reference);
	job->reference = cc_strndup(codec_view(r->reference));
	job->next_due_ms = r->next_due_ms;
	job->created_ms = r->created_ms;
	free(job->correlation);
	job->correlation = cc_strndup(codec_view(r->correlation_id));
	job_set_certificate(
		job, codec_view(r->cert_sha256), codec_view(r->issuer), codec_view(r->serial));
	job->success = r->success;
	job->finish_by_s = r->finish_by_s;
	job->not_after_s = r->not_after_s;
	job->winner_sha256 = cc_blob_copy(codec_view(r->winner_sha256));
	job->winner_told_ms = r->winner_told_ms;
	job->winner_generation = r->winner_generation;
	job->hold_until_ms = r->hold_until_ms;
	job->hold_generation = r->hold_generation;
	job->stored = r->stored;
	job->revoking = r->revoking;
	job->body_sha256 = cc_blob_copy(codec_view(r->body_sha256));
	job_set_code(job, codec_view(r->code), r->event);
	job->settle = (Certq__Settlement)r->settle;
out:
	return err;
}

/*
 * A queue whose store went back in time: what was finished here is offered to it, before any work comes.
 *
 * The jobs that are done are read from the journal in pages, a slice a turn of the loop; the next page goes
 * out when the last one is answered, what the answer changed is on disk, and not too many results are on
 * their way.  Offered is what the store must not be without: the claims that are open here, a success, and
 * a certificate or a doubt that nobody got.  A result that the store has lost is sent again (RESULT), for one that is not kept any more
 * RESULT_EXPIRED; nothing is issued or revoked.  The generation is recorded as offered at the end, so that
 * an offer that was cut off begins anew.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include <stdlib.h>
#include <string.h>

enum {
	PAGE = 128,
	LOOK_AT = 1000,     /* entries of the journal in one turn */
	RESULTS_OPEN = 256, /* that were opened again and are not answered yet */
};

struct row {
	uint8_t id[JOB_ID_SIZE];
	Journal__DoneJob *done;
	Certq__Settlement settle; /* UNSPECIFIED: a success, or open */
	bool open;                /* it is not done: its claim only is told */
};

struct flow_offer {
	struct loop_timer *turn;
	uint8_t (*open)[JOB_ID_SIZE]; /* jobs whose claims are open */
	size_t open_count, open_at;
	struct journal_place place;
	struct row rows[PAGE];
	size_t count;
	bool sent, last; /* the page was sent; it is the last */
	uint64_t offered, lost, unknown, other;
};

static void on_turn(void *arg)
{
	flow_offer_go(arg);
}

/* A CA was, or may have been, asked; an INTENT is claimed again by itself. */
static bool has_open_claim(const struct job *job)
{
	return job->durable && job->nack.reason == 0 &&
	       (flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_ISSUED) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN));
}

static void note_open(void *arg, struct job *job)
{
	struct flow_offer *o = arg;
	if (has_open_claim(job))
		memcpy(o->open[o->open_count++], job->id, JOB_ID_SIZE);
}

void flow_offer_begin(struct flow *f)
{
	struct flow_offer *o = cc_alloc(sizeof *o);
	flow_offer_end(f);
	f->offer = o;
	o->turn = loop_timer_new(f->loop, on_turn, f);
	o->open = cc_alloc((jobs_count(f->jobs) + 1) * sizeof *o->open);
	jobs_each(f->jobs, note_open, o);
	flow_offer_go(f);
}

static void clear_page(struct flow_offer *o)
{
	for (size_t i = 0; i < o->count; i++)
		codec_free(o->rows[i].done);
	o->count = 0;
	o->sent = false;
}

void flow_offer_end(struct flow *f)
{
	if (f->offer == NULL)
		return;
	clear_page(f->offer);
	loop_timer_free(f->offer->turn);
	free(f->offer->open);
	free(f->offer);
	f->offer = NULL;
}

/* ---- a page ---- */

/* False: no certificate is behind it, and the store is free to have the job done again. */
static bool is_worth_it(const Journal__DoneJob *done, Certq__Settlement *ret)
{
	static const struct {
		const char *outcome;
		Certq__Settlement settle;
	} ends[] = {
		{"orphan_kept", CERTQ__SETTLEMENT__SETTLE_ORPHAN_KEPT},
		{"orphan_revoked", CERTQ__SETTLEMENT__SETTLE_ORPHAN_REVOKED},
		{"in_doubt", CERTQ__SETTLEMENT__SETTLE_IN_DOUBT},
	};
	*ret = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	if (done->state == JOURNAL__JOB_STATE__STATE_DONE)
		return done->cert_sha256.len > 0;
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		if (text_equal(codec_view(done->outcome), ends[i].outcome))
			*ret = ends[i].settle;
	}
	return *ret != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
}

static bool take_row(void *arg, cc_view job_id, Journal__DoneJob *done)
{
	struct flow_offer *o = arg;
	struct row *row = &o->rows[o->count];
	if (done->keep_until_ms <= clock_realtime_ms() || !is_worth_it(done, &row->settle) ||
		done->epoch == 0) {
		codec_free(done);
		return true;
	}
	memcpy(row->id, job_id.data, JOB_ID_SIZE);
	row->done = done;
	row->open = false;
	return ++o->count < PAGE;
}

static cc_err take_open(struct flow_offer *o, const struct job *job)
{
	struct row *row = &o->rows[o->count];
	Journal__DoneJob done = JOURNAL__DONE_JOB__INIT;
	cc_blob packed = CC_BLOB_NONE;
	cc_err err = CC_OK;
	done.epoch = job->epoch;
	done.ca = codec_bytes(job_ca(job));
	done.cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	done.issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	done.serial = codec_bytes(cc_blob_view(&job->certificate.serial));
	done.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	done.csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	done.spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	packed = codec_pack(&done);
	TRY(codec_decode(&journal__done_job__descriptor, cc_blob_view(&packed), WIRE_MESSAGE_MAX,
		&row->done));
	memcpy(row->id, job->id, JOB_ID_SIZE);
	row->settle = CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
	row->open = true;
	o->count++;
out:
	cc_blob_free(&packed);
	return err;
}

static cc_err take_opens(struct flow *f)
{
	struct flow_offer *o = f->offer;
	cc_err err = CC_OK;
	while (o->open_at < o->open_count && o->count < PAGE) {
		const struct job *job =
			jobs_find(f->jobs, cc_view_of(o->open[o->open_at++], JOB_ID_SIZE));
		if (job != NULL && has_open_claim(job))
			TRY(take_open(o, job));
	}
out:
	return err;
}

static void fill(const struct row *row, Certq__OfferedJob *to, Certq__CertificateId *certificate)
{
	const Journal__DoneJob *done = row->done;
	certq__offered_job__init(to);
	to->job_id = codec_bytes(cc_view_of(row->id, JOB_ID_SIZE));
	to->epoch = done->epoch;
	to->success = done->state == JOURNAL__JOB_STATE__STATE_DONE;
	to->settle = row->settle;
	to->ca = done->ca;
	to->csr_sha256 = done->csr_sha256;
	to->spki_sha256 = done->spki_sha256;
	to->txid = done->txid;
	if (done->cert_sha256.len == 0)
		return;
	certq__certificate_id__init(certificate);
	certificate->cert_sha256 = done->cert_sha256;
	certificate->issuer = done->issuer;
	certificate->serial = done->serial;
	to->certificate = certificate;
}

static void send_page(struct flow *f)
{
	struct flow_offer *o = f->offer;
	Certq__Offer m = CERTQ__OFFER__INIT;
	Certq__OfferedJob items[PAGE], *list[PAGE];
	Certq__CertificateId certificates[PAGE];
	for (size_t i = 0; i < o->count; i++) {
		fill(&o->rows[i], &items[i], &certificates[i]);
		list[i] = &items[i];
	}
	m.n_jobs = o->count;
	m.jobs = list;
	m.last = o->last = o->place.over && o->count == 0;
	o->offered += o->count;
	o->sent = true;
	session_send_offer(f->session, &m);
}

/* One that waits for its time was answered: it may wait long. */
static void count_open(void *arg, struct job *job)
{
	unsigned *count = arg;
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) && (job->sent || job->heap_index == 0))
		(*count)++;
}

void flow_offer_go(struct flow *f)
{
	struct flow_offer *o = f->offer;
	unsigned open = 0;
	if (o == NULL || o->sent || !session_can_send(f->session) || journal_is_busy(f->journal))
		return; /* an answer, or the end of a commit, looks again */
	jobs_each(f->jobs, count_open, &open);
	if (open >= RESULTS_OPEN)
		return;
	cc_err err = take_opens(f);
	if (err == CC_OK && !o->place.over && o->count < PAGE)
		err = journal_next_done(f->journal, &o->place, LOOK_AT, take_row, o);
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else if (o->count == PAGE || o->place.over)
		send_page(f);
	else
		loop_timer_set(o->turn, 0);
}

/* ---- a result that the store has lost ---- */

static cc_view fixed(ProtobufCBinaryData bytes, size_t size)
{
	static const uint8_t none[32];
	return bytes.len == size ? codec_view(bytes) : cc_view_of(none, size);
}

/* The exact bytes, under the epoch that the store has for it now. */
static cc_err keep_bytes(struct flow *f, struct journal_change *c, cc_view id, uint32_t epoch)
{
	Certq__Result *result = NULL;
	cc_blob bytes = CC_BLOB_NONE, packed = CC_BLOB_NONE;
	cc_err err = CC_OK;
	TRY(journal_get_blob(f->journal, id, JOURNAL_RESULT, &bytes));
	TRY(codec_decode(
		&certq__result__descriptor, cc_blob_view(&bytes), WIRE_MESSAGE_MAX, &result));
	if (result->epoch != epoch) {
		result->epoch = epoch;
		packed = codec_pack(result);
		journal_change_blob(c, id, JOURNAL_RESULT, cc_blob_view(&packed));
	}
out:
	cc_blob_free(&bytes);
	cc_blob_free(&packed);
	codec_free(result);
	return err;
}

static void put_expired(struct journal_change *c, cc_view id, Journal__OpenJob *r)
{
	Certq__Result result = CERTQ__RESULT__INIT;
	Certq__CertificateId certificate = CERTQ__CERTIFICATE_ID__INIT;
	cc_blob packed = CC_BLOB_NONE;
	r->success = false;
	r->code = codec_text("result_expired");
	certificate.cert_sha256 = r->cert_sha256;
	certificate.issuer = r->issuer;
	certificate.serial = r->serial;
	result.job_id = codec_bytes(id);
	result.epoch = r->epoch;
	result.code = r->code;
	result.certificate = &certificate;
	result.settle = CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
	packed = codec_pack(&result);
	journal_change_blob(c, id, JOURNAL_RESULT, cc_blob_view(&packed));
	cc_blob_free(&packed);
}

static void fill_record(const Journal__DoneJob *done, uint32_t epoch, Journal__OpenJob *r)
{
	journal__open_job__init(r);
	r->state = JOURNAL__JOB_STATE__STATE_RESULT;
	r->kind = done->kind;
	r->epoch = epoch;
	r->run = done->run;
	r->ca = text_is_name(codec_view(done->ca)) ? done->ca : codec_text("unknown");
	r->txid = codec_bytes(fixed(done->txid, 16));
	r->csr_sha256 = codec_bytes(fixed(done->csr_sha256, 32));
	r->spki_sha256 = codec_bytes(fixed(done->spki_sha256, 32));
	r->created_ms = done->time_ms;
	r->correlation_id = done->correlation_id;
	r->cert_sha256 = done->cert_sha256;
	r->issuer = done->issuer;
	r->serial = done->serial;
	r->success = true;
	r->stored = true;
	r->not_after_s = done->not_after_s;
	r->hold_until_ms = clock_realtime_ms() + FLOW_HOLD_MS;
	r->n_cas = 1;
	r->cas = &r->ca;
}

static cc_err send_again(struct flow *f, const struct row *row, uint32_t epoch)
{
	cc_view id = cc_view_of(row->id, JOB_ID_SIZE);
	struct journal_change *c = NULL;
	struct job *job = NULL;
	Journal__OpenJob record;
	cc_err err = CC_OK;
	if (jobs_find(f->jobs, id) != NULL)
		return CC_OK; /* it is open again, and speaks for itself */
	c = flow_change(f);
	fill_record(row->done, epoch, &record);
	err = keep_bytes(f, c, id, epoch);
	if (err == CC_NOT_FOUND || err == CC_MALFORMED)
		put_expired(c, id, &record);
	else
		TRY(err);
	err = CC_OK;
	job = jobs_add(f->jobs, id);
	TRY(job_from_record(job, &record));
	flow_set_state(f, job, JOURNAL__JOB_STATE__STATE_RESULT);
	journal_change_reopen(c, id, &record);
	flow_commit_step(f, job, c);
	c = NULL;
out:
	journal_change_free(c);
	return err;
}

/* ---- the answers ---- */

/* Another certificate stands in its place, or none can: ours was delivered once and is not touched. */
static void report_other(const struct row *row, const Certq__OfferAnswer *a)
{
	if (row->settle != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED)
		return; /* it was reported when it ended */
	log_event(EV_ORPHAN_KEPT, LV_JOB(cc_view_of(row->id, JOB_ID_SIZE)),
		LV_VIEW("ca", codec_view(row->done->ca)),
		LV_HEX("certificate", codec_view(row->done->cert_sha256)),
		LV_HEX("serial", codec_view(row->done->serial)),
		LV_TEXT("reason", "the queue's store went back, and the job has another end there"),
		LV_I64("verdict", a->verdict),
		LV_HEX("winner",
			a->winner != NULL ? codec_view(a->winner->cert_sha256) : CC_VIEW_NONE),
		LV_VIEW("correlation", codec_view(row->done->correlation_id)));
}

static cc_err take_answer(struct flow *f, const struct row *row, const Certq__OfferAnswer *a,
	struct journal_change *holds)
{
	struct flow_offer *o = f->offer;
	if (row->open) /* its own state says what is next */
		return CC_OK;
	switch (a->verdict) {
	case CERTQ__OFFER_VERDICT__OFFER_SEND:
		o->lost++;
		return row->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED
			       ? send_again(f, row, a->epoch)
			       : CC_OK;
	case CERTQ__OFFER_VERDICT__OFFER_UNKNOWN_JOB:
		o->unknown++;
		journal_change_hold(holds, cc_view_of(row->id, JOB_ID_SIZE),
			clock_realtime_ms() + FLOW_HOLD_MS);
		return CC_OK;
	case CERTQ__OFFER_VERDICT__OFFER_SAME:
		return CC_OK;
	default:
		o->other++;
		report_other(row, a);
		return CC_OK;
	}
}

static void on_recorded(void *arg, cc_err err)
{
	struct flow *f = arg;
	if (err != CC_OK && !f->ending)
		f->events->fatal(f->arg, err);
}

static void take_page(struct flow *f, const Certq__OfferAck *ack)
{
	struct journal_change *holds = journal_change_new(f->journal);
	cc_err err = CC_OK;
	for (size_t i = 0; i < ack->n_answers && err == CC_OK; i++)
		err = take_answer(f, &f->offer->rows[i], ack->answers[i], holds);
	clear_page(f->offer);
	if (journal_change_is_empty(holds))
		journal_change_free(holds);
	else
		journal_commit(holds, on_recorded, f);
	if (err != CC_OK)
		f->events->fatal(f->arg, err);
	else
		flow_offer_go(f);
}

static void kick(void *arg, struct job *job)
{
	if (flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT))
		flow_step(arg, job);
}

/* On disk: from here on this generation is asked no more. */
static void on_offered(void *arg, cc_err err)
{
	struct flow *f = arg;
	struct flow_offer *o = f->offer;
	on_recorded(f, err);
	if (err != CC_OK || f->ending || o == NULL || !o->last)
		return;
	log_event(EV_RESULTS_OFFERED, LV_U64("jobs", o->offered), LV_U64("lost", o->lost),
		LV_U64("unknown", o->unknown), LV_U64("other", o->other));
	flow_offer_end(f);
	jobs_each(f->jobs, kick, f);
	flow_soon(f);
}

static bool fits(const struct flow_offer *o, const Certq__OfferAck *ack)
{
	if (o == NULL || !o->sent || ack->n_answers != o->count || ack->last != o->last)
		return false;
	for (size_t i = 0; i < ack->n_answers; i++) {
		if (!cc_view_equal(codec_view(ack->answers[i]->job_id),
			    cc_view_of(o->rows[i].id, JOB_ID_SIZE)))
			return false;
	}
	return true;
}

bool flow_take_offer_ack(struct flow *f, const Certq__OfferAck *ack)
{
	if (!fits(f->offer, ack))
		return false;
	if (ack->last) {
		struct journal_change *c = journal_change_new(f->journal);
		journal_change_offered(c);
		journal_commit(c, on_offered, f);
	} else {
		take_page(f, ack);
	}
	return true;
}

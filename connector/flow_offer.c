/*
 * A queue whose store went back in time: what was finished here is offered to it, before any work comes.
 *
 * The jobs that are done are read from the journal in pages, a slice a turn of the loop; the next page goes
 * out when the last one is answered, what the answer changed is on disk, and not too many results are on
 * their way.  Offered is what the store must not be without: the claims that are open here, a success, and
 * a certificate or a doubt that nobody got.  A result that the store has lost is sent again (flow_recall.c);
 * nothing is issued or revoked.  The generation is recorded as offered at the end, so that
 * an offer that was cut off begins anew.
 */
#include "connector/flow_int.h"

#include "base/clock.h"
#include "proto/job.h"
#include <stdlib.h>
#include <string.h>

enum {
	PAGE = 128,
	LOOK_AT = 1000,     /* entries of the journal in one turn */
	RESULTS_OPEN = 256, /* that were opened again and are not answered yet */
	DIGEST_SIZE = 32,
};

struct row {
	uint8_t id[JOB_ID_SIZE];
	Journal__DoneJob *done;
	Certq__Settlement settle; /* UNSPECIFIED: a success, or open */
	bool open;                /* it is not done: a claim of it only is told */
};

struct open_claim {
	uint8_t id[JOB_ID_SIZE];
	uint32_t epoch; /* the job's, or of an earlier claim */
};

struct flow_offer {
	const struct jobs *jobs;
	struct loop_timer *turn;
	struct open_claim *open;
	size_t open_count, open_at;
	struct journal_place place;
	struct row rows[PAGE];
	size_t count;
	size_t most, page; /* rows that a message has room for; that the present one has */
	bool sent, last;   /* the page was sent; it is the last */
	uint64_t offered, lost, unknown, other;
};

static void on_turn(void *arg)
{
	flow_offer_go(arg);
}

/* A CA was, or may have been, asked; another INTENT is claimed again by itself. */
static bool has_open_claim(const struct job *job)
{
	return job->durable && job->nack.reason == 0 &&
	       ((flow_is(job, JOURNAL__JOB_STATE__STATE_INTENT) && job->doubtful) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_CLAIMED) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_PENDING) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_ISSUED) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_RESULT) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_SETTLING) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_WATCH) ||
		       flow_is(job, JOURNAL__JOB_STATE__STATE_ORPHAN));
}

/* Without a list it is only counted. */
static void note_claim(struct flow_offer *o, const struct job *job, uint32_t epoch)
{
	if (o->open != NULL) {
		memcpy(o->open[o->open_count].id, job->id, JOB_ID_SIZE);
		o->open[o->open_count].epoch = epoch;
	}
	o->open_count++;
}

/* One that has made nothing the store may forget. */
static bool is_open(const struct job_claim *claim)
{
	return claim->outcome == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED ||
	       claim->outcome == CERTQ__SETTLEMENT__SETTLE_IN_DOUBT;
}

static void note_open(void *arg, struct job *job)
{
	struct flow_offer *o = arg;
	if (has_open_claim(job))
		note_claim(o, job, job->epoch);
	for (size_t i = 0; i < job->earlier_count; i++) {
		if (is_open(&job->earlier[i]))
			note_claim(o, job, job->earlier[i].epoch);
	}
}

void flow_offer_begin(struct flow *f)
{
	struct flow_offer *o = cc_alloc(sizeof *o);
	flow_offer_end(f);
	f->offer = o;
	o->jobs = f->jobs;
	o->turn = loop_timer_new(f->loop, on_turn, f);
	o->most = PAGE;
	jobs_each(f->jobs, note_open, o);
	o->open = cc_alloc((o->open_count + 1) * sizeof *o->open);
	o->open_count = 0;
	jobs_each(f->jobs, note_open, o);
	flow_offer_go(f);
}

static void drop_rows(struct flow_offer *o, size_t count)
{
	for (size_t i = 0; i < count; i++)
		codec_free(o->rows[i].done);
	o->count -= count;
	memmove(o->rows, o->rows + count, o->count * sizeof o->rows[0]);
	o->sent = false;
}

void flow_offer_end(struct flow *f)
{
	if (f->offer == NULL)
		return;
	drop_rows(f->offer, f->offer->count);
	loop_timer_free(f->offer->turn);
	free(f->offer->open);
	free(f->offer);
	f->offer = NULL;
}

/* ---- a page ---- */

/* An earlier release took certificates that the queue refuses: no such result was ever stored there. */
static bool is_tellable(const Journal__DoneJob *done)
{
	return done->cert_sha256.len == DIGEST_SIZE && done->issuer.len <= FLOW_ISSUER_MAX &&
	       done->serial.len <= FLOW_SERIAL_MAX;
}

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
		return is_tellable(done);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		if (text_equal(codec_view(done->outcome), ends[i].outcome))
			*ret = ends[i].settle;
	}
	return *ret != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED;
}

/* The same request of a later run is open and was offered as that: to the store they are one claim, and the end of the
 * earlier run is not its end. */
static bool is_open_again(const struct flow_offer *o, cc_view job_id, const Journal__DoneJob *done)
{
	const struct job *job = jobs_find(o->jobs, job_id);
	return job != NULL && has_open_claim(job) &&
	       cc_view_equal(codec_view(done->ca), job_ca(job)) &&
	       cc_view_equal(codec_view(done->csr_sha256),
		       cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
}

static bool take_row(void *arg, cc_view job_id, Journal__DoneJob *done)
{
	struct flow_offer *o = arg;
	struct row *row = &o->rows[o->count];
	if (done->keep_until_ms <= clock_realtime_ms() || !is_worth_it(done, &row->settle) ||
		done->epoch == 0 ||
		(row->settle != CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED &&
			is_open_again(o, job_id, done))) {
		codec_free(done);
		return true;
	}
	memcpy(row->id, job_id.data, JOB_ID_SIZE);
	row->done = done;
	row->open = false;
	return ++o->count < PAGE;
}

static cc_err add_row(struct flow_offer *o, const struct job *job, Journal__DoneJob *claim,
	Certq__Settlement settle)
{
	struct row *row = &o->rows[o->count];
	cc_blob packed = CC_BLOB_NONE;
	cc_err err = CC_OK;
	claim->csr_sha256 = codec_bytes(cc_view_of(job->csr_sha256, sizeof job->csr_sha256));
	claim->spki_sha256 = codec_bytes(cc_view_of(job->spki_sha256, sizeof job->spki_sha256));
	packed = codec_pack(claim);
	TRY(codec_decode(&journal__done_job__descriptor, cc_blob_view(&packed), WIRE_MESSAGE_MAX,
		&row->done));
	memcpy(row->id, job->id, JOB_ID_SIZE);
	row->settle = settle;
	row->open = true;
	o->count++;
out:
	cc_blob_free(&packed);
	return err;
}

static cc_err take_present(struct flow_offer *o, const struct job *job)
{
	Journal__DoneJob claim = JOURNAL__DONE_JOB__INIT;
	claim.epoch = job->epoch;
	claim.ca = codec_bytes(job_ca(job));
	claim.txid = codec_bytes(cc_view_of(job->txid, sizeof job->txid));
	claim.cert_sha256 = codec_bytes(cc_blob_view(&job->certificate.sha256));
	claim.issuer = codec_bytes(cc_blob_view(&job->certificate.issuer));
	claim.serial = codec_bytes(cc_blob_view(&job->certificate.serial));
	return add_row(o, job, &claim, CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED);
}

static cc_err take_earlier(
	const struct flow *f, const struct job *job, const struct job_claim *earlier)
{
	Journal__DoneJob claim = JOURNAL__DONE_JOB__INIT;
	uint8_t txid[sizeof job->txid];
	job_txid(cc_view_text(f->tenant), job_id_view(job), cc_view_text(earlier->ca),
		cc_view_of(job->csr_sha256, sizeof job->csr_sha256), txid);
	claim.epoch = earlier->epoch;
	claim.ca = codec_text(earlier->ca);
	claim.txid = codec_bytes(cc_view_of(txid, sizeof txid));
	return add_row(f->offer, job, &claim, earlier->outcome);
}

/* It may have moved on since the list was made. */
static cc_err take_open(struct flow *f, const struct open_claim *open)
{
	const struct job *job = jobs_find(f->jobs, cc_view_of(open->id, JOB_ID_SIZE));
	if (job == NULL)
		return CC_OK;
	if (job->epoch == open->epoch)
		return has_open_claim(job) ? take_present(f->offer, job) : CC_OK;
	for (size_t i = 0; i < job->earlier_count; i++) {
		if (job->earlier[i].epoch == open->epoch && is_open(&job->earlier[i]))
			return take_earlier(f, job, &job->earlier[i]);
	}
	return CC_OK;
}

static cc_err take_opens(struct flow *f)
{
	struct flow_offer *o = f->offer;
	cc_err err = CC_OK;
	while (o->open_at < o->open_count && o->count < PAGE)
		TRY(take_open(f, &o->open[o->open_at++]));
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
	if (!is_tellable(done))
		return;
	certq__certificate_id__init(certificate);
	certificate->cert_sha256 = done->cert_sha256;
	certificate->issuer = done->issuer;
	certificate->serial = done->serial;
	to->certificate = certificate;
}

static bool send_rows(struct flow *f, size_t count)
{
	struct flow_offer *o = f->offer;
	Certq__Offer m = CERTQ__OFFER__INIT;
	Certq__OfferedJob items[PAGE], *list[PAGE];
	Certq__CertificateId certificates[PAGE];
	for (size_t i = 0; i < count; i++) {
		fill(&o->rows[i], &items[i], &certificates[i]);
		list[i] = &items[i];
	}
	m.n_jobs = count;
	m.jobs = list;
	m.last = o->last;
	return session_send_offer(f->session, &m);
}

/* Fewer at a time where the queue takes no such message; what does not fit alone is left out. */
static void send_page(struct flow *f)
{
	struct flow_offer *o = f->offer;
	o->last = o->place.over && o->count == 0;
	o->page = o->count < o->most ? o->count : o->most;
	while (!send_rows(f, o->page)) {
		if (!session_can_send(f->session))
			return; /* the next session begins anew */
		if (o->page <= 1) {
			drop_rows(o, o->page);
			loop_timer_set(o->turn, 0);
			return;
		}
		o->most = o->page /= 2;
	}
	o->offered += o->page;
	o->sent = true;
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
		return a->verdict == CERTQ__OFFER_VERDICT__OFFER_SAME
			       ? flow_renumber(f, cc_view_of(row->id, JOB_ID_SIZE),
					 row->done->epoch, a->epoch)
			       : CC_OK;
	switch (a->verdict) {
	case CERTQ__OFFER_VERDICT__OFFER_SEND:
		o->lost++;
		return row->settle == CERTQ__SETTLEMENT__SETTLE_UNSPECIFIED
			       ? flow_send_again(
					 f, cc_view_of(row->id, JOB_ID_SIZE), row->done, a->epoch)
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
	drop_rows(f->offer, f->offer->page);
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
	if (o == NULL || !o->sent || ack->n_answers != o->page || ack->last != o->last)
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
	if (ack->recall) {
		flow_take_recalls(f, ack);
		return true;
	}
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

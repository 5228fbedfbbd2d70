/*
 * local: requests of templates with `approval: manual`.
 *
 * A request is a row in the database until it is issued or withdrawn; a denied one stays, and says no
 * again.  The person's decision is a file (proto/ca_request.h) that is taken when somebody asks about the
 * request, and at the CA's upkeep: the decision becomes durable in the database, certificate, serial and
 * request in one transaction, and then its files go.  What a crash leaves of the files is cleared at the
 * next start.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "ca-backends/local/local_int.h"
#include "proto/ca_request.h"
#include "proto/codec.h"
#include <stdlib.h>
#include <unistd.h>

#define KEEP_DENIED_S (90 * 86400)
#define ROW_MAX       (128u * 1024u)

struct reference {
	char text[CA_REQUEST_REFERENCE_SIZE];
};

static struct reference reference_of(const struct ca_request *r)
{
	struct reference ref;

	ca_request_reference(r->tenant, r->job_id, r->csr_sha256, ref.text);
	return ref;
}

/* NULL when there is none. */
static cc_err read_row(const struct local *l, const char *reference, Ca__PendingRequest **ret)
{
	Ca__PendingRequest *row = NULL;
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = local_db_pending(l->db, cc_view_text(reference), &bytes);

	if (err == CC_NOT_FOUND)
		return CC_OK;
	TRY(err);
	TRY(codec_decode(&ca__pending_request__descriptor, cc_blob_view(&bytes), ROW_MAX, &row));
	*ret = row;
out:
	cc_blob_free(&bytes);
	return err;
}

static cc_err write_row(struct local *l, const Ca__PendingRequest *row)
{
	cc_blob bytes = codec_pack(row);
	cc_err err = local_db_pending_put(l->db, codec_view(row->reference), cc_blob_view(&bytes));

	cc_blob_free(&bytes);
	return err;
}

/* The database has it: a file that stays is cleared at the next start. */
static void remove_files(const struct local *l, const char *reference)
{
	cc_ignore(ca_request_remove(l->dir, reference), "cleared at the next start");
	cc_ignore(ca_request_remove_decision(l->dir, reference), "cleared at the next start");
}

static void log_row(const struct local *l, event_id event, const Ca__PendingRequest *row,
	const char *outcome, cc_view reason)
{
	log_event(event, LV_JOB(codec_view(row->job_id)), LV_TEXT("ca", l->context->name),
		LV_VIEW("reference", codec_view(row->reference)), LV_TEXT("outcome", outcome),
		LV_VIEW("reason", reason));
}

/* ---- decisions ---- */

static cc_err deny(struct local *l, Ca__PendingRequest *row, cc_view reason)
{
	Ca__PendingRequest denied = *row;
	cc_err err;

	denied.denied = true;
	denied.reason = codec_bytes(reason);
	denied.decided_s = clock_realtime_s();
	err = write_row(l, &denied);
	if (err == CC_OK)
		log_row(l, EV_CA_REQUEST_DECIDED, row, "denied", reason);
	return err;
}

/* The template is read as it stands now; what it no longer allows is denied in its words. */
static cc_err approve(struct local *l, Ca__PendingRequest *row)
{
	struct ca_request r = {.tenant = codec_view(row->tenant),
		.job_id = codec_view(row->job_id),
		.csr = codec_view(row->csr),
		.csr_sha256 = codec_view(row->csr_sha256),
		.template_name = codec_view(row->template_),
		.validity_s = row->validity_s};
	struct local_template t = {0};
	cc_blob der = CC_BLOB_NONE;
	char *words = NULL;
	cc_err err = local_template_read(l->context, r.template_name, &t);

	if (err == CC_NOT_FOUND)
		err = cc_fail(CC_CONFIG, "%s", cc_err_detail(err));
	TRY(err);
	err = local_issue_new(l, &t, &r, codec_view(row->reference), &der);
	if (err == CC_OK) {
		log_row(l, EV_CA_REQUEST_DECIDED, row, "approved", CC_VIEW_NONE);
	} else if (cc_err_category(err) == CC_CAT_REJECTED || cc_err_category(err) == CC_CAT_PEER) {
		words = cc_strdup(cc_err_detail(err));
		err = deny(l, row, cc_view_text(words));
	}
out:
	free(words);
	local_template_clear(&t);
	cc_blob_free(&der);
	return err;
}

/* Take the decision about this request, if there is one. */
static cc_err take_decision(struct local *l, const char *reference)
{
	Ca__PendingRequest *row = NULL;
	Ca__RequestDecision *d = NULL;
	cc_err err = ca_request_read_decision(l->dir, reference, &d);

	if (err == CC_NOT_FOUND)
		return CC_OK;
	if (err != CC_OK && err != CC_CORRUPT && cc_err_category(err) != CC_CAT_PEER)
		return err;
	if (err == CC_OK) {
		TRY(read_row(l, reference, &row));
		if (row != NULL && !row->denied &&
			cc_view_equal(codec_view(d->csr_sha256), codec_view(row->csr_sha256)))
			TRY(d->approve ? approve(l, row) : deny(l, row, codec_view(d->reason)));
	} else { /* damaged: it decides nothing */
		log_event(EV_CA_FAILED, LV_TEXT("ca", l->context->name),
			LV_TEXT("reference", reference), LV_ERR(err));
		err = ca_request_remove_decision(l->dir, reference);
		goto out;
	}
	remove_files(l, reference);
out:
	codec_free(d);
	codec_free(row);
	return err;
}

/* ---- what is to be said of a request ---- */

static void answer_waits(const struct local *l, const char *reference, struct ca_answer *ret)
{
	ca_answer_set(ret, CA__CA_RESULT__CA_PENDING, "%s", "");
	ret->reference = cc_strdup(reference);
	ret->cookie = cc_blob_copy(cc_view_text(reference));
	ret->delay_s = (uint32_t)l->poll_after_s;
}

static void answer_denied(const Ca__PendingRequest *row, struct ca_answer *ret)
{
	char *reason = text_printable(codec_view(row->reason));

	ca_answer_set(ret, CA__CA_RESULT__CA_REJECTED, "denied by the CA's administrator%s%s",
		reason[0] != '\0' ? ": " : "", reason);
	ret->reference = cc_strndup(codec_view(row->reference));
	free(reason);
}

cc_err local_pending_tell(struct local *l, const struct ca_request *r, struct ca_answer *ret)
{
	struct local_request request = {r->tenant, r->job_id, r->csr_sha256};
	struct reference ref = reference_of(r);
	Ca__PendingRequest *row = NULL;
	cc_blob der = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(take_decision(l, ref.text));
	err = local_db_find(l->db, &request, &der);
	if (err == CC_OK) {
		local_answer_issued(l, cc_blob_view(&der), ret);
		goto out;
	}
	ENSURE(err == CC_NOT_FOUND, err);
	TRY(read_row(l, ref.text, &row));
	if (row == NULL)
		ca_answer_set(
			ret, CA__CA_RESULT__CA_NOT_ISSUED, "nothing was issued for this request");
	else if (row->denied)
		answer_denied(row, ret);
	else
		answer_waits(l, ref.text, ret);
out:
	codec_free(row);
	cc_blob_free(&der);
	return err;
}

cc_err local_pending_add(struct local *l, const struct local_template *t,
	const struct ca_request *r, struct ca_answer *ret)
{
	struct reference ref = reference_of(r);
	Ca__PendingRequest row = CA__PENDING_REQUEST__INIT;
	cc_err err = CC_OK;

	TRY(local_issue_check(&l->ca, t, r->csr, r->validity_s, clock_realtime_s()));
	/* what was decided about an earlier one, that was withdrawn, does not count for this one */
	TRY(ca_request_remove_decision(l->dir, ref.text));
	row.version = CA_REQUEST_VERSION;
	row.reference = codec_text(ref.text);
	row.tenant = codec_bytes(r->tenant);
	row.job_id = codec_bytes(r->job_id);
	row.csr = codec_bytes(r->csr);
	row.csr_sha256 = codec_bytes(r->csr_sha256);
	row.template_ = codec_bytes(r->template_name);
	row.validity_s = r->validity_s;
	row.asked_s = clock_realtime_s();
	TRY(write_row(l, &row));
	err = ca_request_write(l->dir, &row);
	if (err != CC_OK) /* the row counts; upkeep writes the file */
		log_event(EV_CA_FAILED, LV_TEXT("ca", l->context->name), LV_ERR(err));
	log_row(l, EV_CA_REQUEST_WAITS, &row, NULL, CC_VIEW_NONE);
	answer_waits(l, ref.text, ret);
	err = CC_OK;
out:
	return err;
}

cc_err local_pending_withdraw(struct local *l, const struct ca_request *r)
{
	struct reference ref = reference_of(r);
	cc_err err = local_db_pending_delete(l->db, cc_view_text(ref.text));

	if (err != CC_OK)
		return err;
	remove_files(l, ref.text);
	log_event(EV_CA_REQUEST_DECIDED, LV_JOB(r->job_id), LV_TEXT("ca", l->context->name),
		LV_TEXT("reference", ref.text), LV_TEXT("outcome", "withdrawn"));
	return CC_OK;
}

/* ---- upkeep ---- */

/* One whose template is gone waits for the configuration; the others do not wait for it. */
static cc_err take_one(void *arg, const char *reference)
{
	const struct local *l = arg;
	cc_err err = take_decision(arg, reference);

	if (err != CC_CONFIG)
		return err;
	log_event(EV_CA_FAILED, LV_TEXT("ca", l->context->name), LV_TEXT("reference", reference),
		LV_ERR(err));
	return CC_OK;
}

/* A file of a request that does not wait. */
static cc_err clear_one(void *arg, const char *reference)
{
	const struct local *l = arg;
	Ca__PendingRequest *row = NULL;
	cc_err err = read_row(l, reference, &row);

	if (err == CC_OK && (row == NULL || row->denied))
		remove_files(l, reference);
	codec_free(row);
	return err;
}

struct old_rows {
	struct local *local;
	cc_blob references; /* 16 characters each */
};

static cc_err look_at_row(void *arg, cc_view key, cc_view value)
{
	struct old_rows *old = arg;
	const struct local *l = old->local;
	Ca__PendingRequest *row = NULL;
	char *reference = cc_strndup(key), *path = NULL;
	cc_err err = codec_decode(&ca__pending_request__descriptor, value, ROW_MAX, &row);

	TRY(err);
	if (row->denied && clock_realtime_s() - row->decided_s > KEEP_DENIED_S)
		cc_blob_append(&old->references, key);
	path = cc_asprintf("%s/" CA_REQUEST_REQUESTS_DIR "/%s", l->dir, reference);
	if (!row->denied && access(path, F_OK) != 0)
		TRY(ca_request_write(l->dir, row));
out:
	codec_free(row);
	free(reference);
	free(path);
	return err;
}

cc_err local_pending_tend(struct local *l)
{
	struct old_rows old = {.local = l};
	const size_t size = CA_REQUEST_REFERENCE_SIZE - 1;
	cc_err err = CC_OK;

	TRY(ca_request_each(l->dir, CA_REQUEST_DECISIONS_DIR, take_one, l));
	TRY(local_db_each_pending(l->db, look_at_row, &old));
	for (size_t i = 0; i + size <= old.references.size; i += size)
		TRY(local_db_pending_delete(
			l->db, cc_view_part(cc_blob_view(&old.references), i, size)));
	TRY(ca_request_each(l->dir, CA_REQUEST_REQUESTS_DIR, clear_one, l));
out:
	cc_blob_free(&old.references);
	return err;
}

cc_err local_pending_open(struct local *l)
{
	static const char *const folders[] = {CA_REQUEST_REQUESTS_DIR, CA_REQUEST_DECISIONS_DIR};
	cc_err err = CC_OK;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && err == CC_OK; i++) {
		char *path = file_join(l->dir, folders[i]);
		err = file_make_dir(path, 0700);
		free(path);
	}
	return err;
}

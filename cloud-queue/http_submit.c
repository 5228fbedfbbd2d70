/*
 * From JSON to READY.  The signer's statement is the newest of its key; job_verify judges
 * everything else about the document.  The PFX and the encrypted passwords of a rewrap are copied
 * here, picked by the digests that the job names.
 */
#include "cloud-queue/http_submit.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "cloud-queue/http_graph.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "cloud-queue/route.h"
#include "proto/codec.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_MAX 256u
#define STATEMENT_MAX (16u * 1024u)
#define RECORD_MAX    (256u * 1024u)
#define JOB_BYTES_MAX (224u * 1024u) /* with its parts it has to fit one message */

void http_fault_set(struct http_fault *f, int status, const char *code, const char *pointer,
	const char *format, ...)
{
	va_list args;

	f->status = status;
	f->code = code;
	snprintf(f->pointer, sizeof(f->pointer), "%s", pointer ? pointer : "");
	va_start(args, format);
	vsnprintf(f->detail, sizeof(f->detail), format, args);
	va_end(args);
}

void http_fault_answer(struct http_request *r, const struct http_fault *f)
{
	if (f->store != CC_OK)
		http_answer_store_failed(r, f->store);
	else
		http_answer_fault(
			r, f->status, f->code, f->detail, f->pointer[0] ? f->pointer : NULL);
}

static void store_failed(struct http_submit *s, cc_err err)
{
	http_fault_set(&s->fault, 503, "unavailable", NULL, "the store cannot answer now");
	s->fault.store = err;
}

/* ---- parse ---- */

static const char *text_of(const json_t *from, const char *key)
{
	return json_string_value(json_object_get(from, key));
}

static bool take_signature(const json_t *from, const char *place, cc_blob *ret_key_id,
	cc_blob *ret_signature, struct http_fault *fault)
{
	const json_t *list = json_object_get(from, "signatures");
	const json_t *one = json_array_get(list, 0);
	const char *key = text_of(one, "key_id");
	const char *signature = text_of(one, "signature");

	if (json_array_size(list) == 1 && json_object_size(one) == 2 && key && signature &&
		text_from_hex(cc_view_text(key), ret_key_id) == CC_OK &&
		ret_key_id->size == SHA256_SIZE &&
		text_from_base64(cc_view_text(signature), SIGNATURE_MAX, ret_signature) == CC_OK)
		return true;
	http_fault_set(fault, 400, "malformed_document", place,
		"signatures: exactly one {key_id, signature}, in hex and base64");
	return false;
}

/* A message that codec_free can free is one that codec_decode made. */
static bool own_document(const Certq__SignedDocument *from, Certq__SignedDocument **ret)
{
	cc_blob packed = codec_pack(from);
	bool good = codec_decode(&certq__signed_document__descriptor, cc_blob_view(&packed),
			    DOC_BODY_MAX + 1024, ret) == CC_OK;

	cc_blob_free(&packed);
	return good;
}

bool http_submit_parse(const json_t *from, const char *type, const char *place,
	Certq__SignedDocument **ret, struct http_fault *fault)
{
	Certq__SignedDocument document = CERTQ__SIGNED_DOCUMENT__INIT;
	const char *body_text = text_of(from, "document");
	const char *type_text = text_of(from, "document_type");
	cc_blob body = CC_BLOB_NONE;
	cc_blob key_id = CC_BLOB_NONE;
	cc_blob signature = CC_BLOB_NONE;
	bool good = false;

	if (!body_text || text_from_base64(cc_view_text(body_text), DOC_BODY_MAX, &body) != CC_OK ||
		body.size == 0)
		http_fault_set(fault, 400, "malformed_document", place,
			"document: base64 of at most %u bytes", DOC_BODY_MAX);
	else if (!type_text || strcmp(type_text, type) != 0)
		http_fault_set(
			fault, 400, "malformed_document", place, "document_type must be %s", type);
	else if (take_signature(from, place, &key_id, &signature, fault)) {
		document.body = codec_bytes(cc_blob_view(&body));
		document.key_id = codec_bytes(cc_blob_view(&key_id));
		document.signature = codec_bytes(cc_blob_view(&signature));
		good = own_document(&document, ret);
		if (!good)
			http_fault_set(fault, 400, "malformed_document", place, "document");
	}
	cc_blob_free(&body);
	cc_blob_free(&key_id);
	cc_blob_free(&signature);
	return good;
}

bool http_submit_priority(const json_t *value, enum store_priority *ret, struct http_fault *fault)
{
	static const struct {
		const char *name;
		enum store_priority priority;
	} names[] = {
		{"normal", STORE_NORMAL}, {"interactive", STORE_INTERACTIVE}, {"bulk", STORE_BULK}};

	if (!value) {
		*ret = STORE_NORMAL;
		return true;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (json_is_string(value) && strcmp(json_string_value(value), names[i].name) == 0) {
			*ret = names[i].priority;
			return true;
		}
	}
	http_fault_set(fault, 400, "malformed_json", "/priority", "interactive, normal or bulk");
	return false;
}

bool http_submit_batch(const json_t *value, cc_view *ret, struct http_fault *fault)
{
	cc_view text = CC_VIEW_NONE;

	if (value) {
		text = cc_view_of(json_string_value(value), json_string_length(value));
		if (!json_is_string(value) || !text_is_token(text, 128)) {
			http_fault_set(fault, 400, "malformed_json", "/batch_id",
				"1 to 128 characters of [A-Za-z0-9._:-]");
			return false;
		}
	}
	*ret = text;
	return true;
}

/* ---- verify ---- */

static void fault_of_job(struct http_submit *s, cc_err err)
{
	const char *detail = cc_err_detail(err);

	switch (err) {
	case CC_BAD_SIGNATURE:
		http_fault_set(&s->fault, 422, "signature_invalid", NULL, "%s", detail);
		return;
	case CC_UNKNOWN_KEY:
		http_fault_set(&s->fault, 422, "unknown_key", NULL, "%s", detail);
		return;
	case CC_EXPIRED:
	case CC_NOT_YET_VALID:
		http_fault_set(&s->fault, 422, "expired", NULL, "%s", detail);
		return;
	case CC_WRONG_TENANT:
		http_fault_set(&s->fault, 422, "tenant_mismatch", NULL, "%s", detail);
		return;
	case CC_DENIED:
		http_fault_set(&s->fault, 422, "key_mismatch", NULL, "%s", detail);
		return;
	default:
		http_fault_set(&s->fault, 400, "malformed_document", "/document", "%s", detail);
		return;
	}
}

/* A statement that no longer verifies (past, or of an older root) makes its key an unknown one. */
static cc_err read_statement(const struct http_submit *s, const struct store_signer_get_out *out,
	Certq__SignerStatement **ret)
{
	Certq__SignedDocument *statement = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode(
		&certq__signed_document__descriptor, out->statement, STATEMENT_MAX, &statement));
	TRY(signer_verify(out->job_root, s->tenant, statement, clock_realtime_s(), ret));
out:
	codec_free(statement);
	return err;
}

static void verify(struct http_submit *s, const struct store_signer_get_out *out)
{
	Certq__SignerStatement *signer = NULL;
	cc_err err = read_statement(s, out, &signer);

	if (err != CC_OK) {
		http_fault_set(&s->fault, 422, "unknown_key", NULL, "the signer's statement: %s",
			cc_err_detail(err));
		return;
	}
	err = job_verify(signer, s->document, clock_realtime_s(), &s->job, s->job_id);
	codec_free(signer);
	if (err != CC_OK) {
		fault_of_job(s, err);
		return;
	}
	if (s->idempotency_key &&
		!text_equal(codec_view(s->job->idempotency_key), s->idempotency_key))
		http_fault_set(&s->fault, 422, "key_mismatch", "/idempotency_key",
			"Idempotency-Key is not the key that was signed");
}

/* ---- the record of a rewrap ---- */

static const Queue__PfxRecipient *recipient_of(const Queue__PfxRecord *record, cc_view digest)
{
	uint8_t sha256[SHA256_SIZE];

	for (size_t i = 0; i < record->n_recipients; i++) {
		hash_sha256(codec_view(record->recipients[i]->password), sha256);
		if (cc_view_equal(digest, cc_view_of(sha256, sizeof(sha256))))
			return record->recipients[i];
	}
	return NULL;
}

static void match_record(struct http_submit *s)
{
	const Certq__Rewrap *rewrap = s->job->rewrap;
	uint8_t sha256[SHA256_SIZE];
	size_t size = s->document->body.len + s->record->pfx.len;

	hash_sha256(codec_view(s->record->pfx), sha256);
	if (!cc_view_equal(codec_view(rewrap->pfx_sha256), cc_view_of(sha256, sizeof(sha256)))) {
		http_fault_set(&s->fault, 422, "key_mismatch", "/document",
			"pfx_sha256 is not the digest of the record's PFX");
		return;
	}
	for (size_t i = 0; i < rewrap->n_passwords; i++) {
		const Queue__PfxRecipient *recipient =
			recipient_of(s->record, codec_view(rewrap->passwords[i]->sha256));

		if (!recipient) {
			http_fault_set(&s->fault, 422, "key_mismatch", "/document",
				"the record has no encrypted password with the digest of copy %zu",
				i);
			return;
		}
		size += recipient->password.len;
	}
	if (size > JOB_BYTES_MAX)
		http_fault_set(
			&s->fault, 413, "too_large", "/document", "job and record are too large");
}

static void on_record(void *arg, const struct store_pfx_get_out *out)
{
	struct http_submit *s = arg;

	if (out->err != CC_OK) {
		store_failed(s, out->err);
	} else if (out->result != STORE_OK ||
		   codec_decode(&queue__pfx_record__descriptor, out->record, RECORD_MAX,
			   &s->record) != CC_OK) {
		http_fault_set(&s->fault, 404, "not_found", NULL, "not found");
	} else {
		match_record(s);
	}
	s->done(s);
}

static void on_signer(void *arg, const struct store_signer_get_out *out)
{
	struct http_submit *s = arg;
	struct store_pfx_get_in in = {.tenant = s->tenant};

	if (out->err != CC_OK) {
		store_failed(s, out->err);
	} else if (out->result != STORE_OK) {
		http_fault_set(&s->fault, 422, "unknown_key", "/signatures/0/key_id",
			"no statement of this key is registered");
	} else {
		verify(s, out);
	}
	if (s->fault.status == 0 && s->job->kind_case == CERTQ__JOB_DOCUMENT__KIND_REWRAP) {
		if (http_graph_split_id(
			    codec_view(s->job->rewrap->record_id), &in.user, &in.thumbprint)) {
			store_pfx_get(s->queue->store, &in, on_record, s);
			return;
		}
		http_fault_set(&s->fault, 404, "not_found", NULL, "not found");
	}
	s->done(s);
}

void http_submit_check(struct http_submit *s)
{
	struct store_signer_get_in in = {
		.tenant = s->tenant, .key_id = codec_view(s->document->key_id)};

	store_signer_get(s->queue->store, &in, on_signer, s);
}

/* ---- enqueue ---- */

static void log_accepted(const struct http_submit *s)
{
	log_event(EV_JOB_ACCEPTED, LV_JOB(cc_view_of(s->job_id, sizeof(s->job_id))),
		LV_VIEW("tenant", s->tenant), LV_TEXT("kind", job_kind_name(s->job)),
		LV_VIEW("correlation", codec_view(s->job->correlation_id)));
}

static void take_answer(struct http_submit *s, const struct store_enqueue_out *out)
{
	s->result = out->result;
	s->state = out->state;
	s->dead = out->dead;
	s->seq = out->seq;
	s->created_ms = out->created_ms;
	s->not_after_ms = out->not_after_ms;
	if (out->err != CC_OK) {
		store_failed(s, out->err);
	} else if (out->result == STORE_NEW) {
		log_accepted(s);
	} else if (out->result == STORE_CONFLICT) {
		http_fault_set(&s->fault, 409, "idempotency_conflict", NULL,
			"another document has this idempotency key");
	} else if (out->result == STORE_QUOTA) {
		http_fault_set(&s->fault, 507, "store_full", NULL, "the tenant's room is used up");
	} else if (out->result == STORE_TOO_LARGE) {
		http_fault_set(&s->fault, 413, "too_large", NULL, "the job is too large");
	} else if (out->result == STORE_EXPIRED) {
		http_fault_set(&s->fault, 422, "expired", NULL, "the job's time is over");
	} else if (out->result != STORE_SAME) {
		http_fault_set(&s->fault, 404, "not_found", NULL, "not found");
	}
}

static void on_enqueued(void *arg, const struct store_enqueue_out *out)
{
	struct http_submit *s = arg;

	take_answer(s, out);
	s->done(s);
}

/* `arg` is the first of them; without an answer of the store's own there are no items in `out`. */
static void on_enqueued_all(void *arg, const struct store_enqueue_all_out *out)
{
	struct http_submit *items = arg;

	if (out->err != CC_OK) {
		for (size_t i = 0; i < items->together; i++)
			store_failed(&items[i], out->err);
	} else if (out->result != STORE_OK) {
		take_answer(&items[out->refused], &out->items[out->refused]);
	} else {
		for (size_t i = 0; i < out->count; i++)
			take_answer(&items[i], &out->items[i]);
	}
	items->done(items);
}

/* The copies that the job names, in its order; http_submit_check has found them all. */
static size_t copy_passwords(const struct http_submit *s, cc_view *to)
{
	const Certq__Rewrap *rewrap = s->job->rewrap;
	size_t n = 0;

	for (size_t i = 0; i < rewrap->n_passwords && n < ROUTE_KEYS_MAX; i++)
		to[n++] =
			codec_view(recipient_of(s->record, codec_view(rewrap->passwords[i]->sha256))
					   ->password);
	return n;
}

/* What the operation's input points to until it is handed over. */
struct prepared {
	struct route route;
	uint8_t body_sha256[SHA256_SIZE];
	cc_view passwords[ROUTE_KEYS_MAX];
	cc_blob packed;
};

static struct store_enqueue_in prepare(const struct http_submit *s, struct prepared *p)
{
	struct store_enqueue_in in = {.tenant = s->tenant,
		.job_id = cc_view_of(s->job_id, sizeof(s->job_id)),
		.body_sha256 = cc_view_of(p->body_sha256, sizeof(p->body_sha256)),
		.signer_key_id = codec_view(s->document->key_id),
		.not_after_ms = s->job->not_after_s * 1000,
		.idem_key = codec_view(s->job->idempotency_key),
		.correlation_id = codec_view(s->job->correlation_id),
		.batch_id = s->batch_id,
		.priority = s->priority,
		.passwords = p->passwords};

	p->packed = codec_pack(s->document);
	in.document = cc_blob_view(&p->packed);
	hash_sha256(codec_view(s->document->body), p->body_sha256);
	route_of_job(s->job, &p->route);
	in.route = p->route.in;
	if (s->record) {
		in.pfx = codec_view(s->record->pfx);
		in.password_count = copy_passwords(s, p->passwords);
	}
	return in;
}

void http_submit_enqueue(struct http_submit *s)
{
	struct prepared p;
	struct store_enqueue_in in = prepare(s, &p);

	store_enqueue(s->queue->store, &in, on_enqueued, s);
	cc_blob_free(&p.packed);
}

void http_submit_enqueue_all(struct http_submit *items, size_t count)
{
	struct prepared *prepared = cc_alloc(count * sizeof(*prepared));
	struct store_enqueue_in *in = cc_alloc(count * sizeof(*in));
	const struct store_enqueue_all_in all = {
		.tenant = items->tenant, .items = in, .count = count};

	for (size_t i = 0; i < count; i++)
		in[i] = prepare(&items[i], &prepared[i]);
	items->together = count;
	store_enqueue_all(items->queue->store, &all, on_enqueued_all, items);
	for (size_t i = 0; i < count; i++)
		cc_blob_free(&prepared[i].packed);
	free(prepared);
	free(in);
}

/* ---- answer ---- */

json_t *http_submit_json(const struct http_submit *s)
{
	json_t *to = json_object();

	json_object_set_new(to, "id", queue_json_job_id(cc_view_of(s->job_id, sizeof(s->job_id))));
	json_object_set_new(to, "state", json_string(queue_json_state(s->state, s->dead)));
	json_object_set_new(to, "kind", json_string(job_kind_name(s->job)));
	json_object_set_new(to, "created_at", queue_json_time(s->created_ms / 1000));
	json_object_set_new(to, "not_after", queue_json_time(s->not_after_ms / 1000));
	json_object_set_new(to, "seq", json_integer((json_int_t)s->seq));
	return to;
}

void http_submit_clear(struct http_submit *s)
{
	codec_free(s->document);
	codec_free(s->job);
	codec_free(s->record);
	s->document = NULL;
	s->job = NULL;
	s->record = NULL;
}

/*
 * Imported PFX records in the shape of Graph's userPFXCertificate.
 *
 * The blob is the PFX file itself; its password is encrypted to an on-prem key.  GET never gives
 * either back: it shows their digests, which a signed Rewrap document needs.  Only `content` does, by a
 * scope of its own; its ETag lets a PUT replace exactly what was read.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "cloud-queue/http_graph.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX   (256u * 1024u)
#define PAGE_DEFAULT 100u
#define USER_MAX     128u
#define ETAG_SIZE    (2 * SHA256_SIZE + 3) /* quotes, terminator */

struct pfx {
	struct http_request *request;
	Queue__PfxRecord *record;
	bool replace;
	bool has_version;
	uint8_t version[SHA256_SIZE]; /* that the client has seen */
	uint8_t request_sha256[SHA256_SIZE];
	struct store_repeat repeat; /* POST */
};

static void etag_of(const uint8_t version[SHA256_SIZE], char ret[ETAG_SIZE])
{
	char *hex = text_hex_new(cc_view_of(version, SHA256_SIZE));

	snprintf(ret, ETAG_SIZE, "\"%s\"", hex);
	free(hex);
}

static void pfx_free(struct pfx *p)
{
	codec_free(p->record);
	free(p);
}

/* The record, or NULL when it was answered that there is none. */
static Queue__PfxRecord *found(struct http_request *r, const struct store_pfx_get_out *out)
{
	Queue__PfxRecord *record = NULL;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result != STORE_OK || codec_decode(&queue__pfx_record__descriptor,
						    out->record, RECORD_MAX, &record) != CC_OK)
		http_answer_not_found(r);
	return record;
}

static void answer_put(struct pfx *p)
{
	char etag[ETAG_SIZE];
	uint8_t version[SHA256_SIZE];
	cc_blob packed = codec_pack(p->record);

	hash_sha256(cc_blob_view(&packed), version);
	cc_blob_free(&packed);
	etag_of(version, etag);
	http_answer_header(p->request, "etag", etag);
	http_answer_json(p->request, p->replace ? 200 : 201, http_graph_show(p->record));
}

/* The same request again: the record as it is now, whoever changed it since. */
static void on_again(void *arg, const struct store_pfx_get_out *out)
{
	struct pfx *p = arg;
	struct http_request *r = p->request;
	Queue__PfxRecord *record = found(r, out);
	char etag[ETAG_SIZE];

	if (record) {
		etag_of(out->version, etag);
		http_answer_header(r, "etag", etag);
		http_answer_json(r, 200, http_graph_show(record));
	}
	codec_free(record);
	pfx_free(p);
}

static void answer_again(struct pfx *p)
{
	struct store_pfx_get_in in = {.tenant = http_request_tenant(p->request),
		.user = codec_view(p->record->user_id),
		.thumbprint = codec_view(p->record->thumbprint)};

	store_pfx_get(http_request_queue(p->request)->store, &in, on_again, p);
}

static void on_put(void *arg, const struct store_pfx_put_out *out)
{
	struct pfx *p = arg;
	struct http_request *r = p->request;

	if (out->err == CC_OK && out->result == STORE_SAME) {
		answer_again(p);
		return;
	}
	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_NEW || out->result == STORE_OK)
		answer_put(p);
	else if (out->result == STORE_KEY_TAKEN)
		http_answer_problem(
			r, 409, "idempotency_conflict", "another request has this Idempotency-Key");
	else if (out->result == STORE_CONFLICT && p->replace)
		http_answer_problem(
			r, 412, "version_mismatch", "the record is not the one of this ETag");
	else if (out->result == STORE_CONFLICT)
		http_answer_problem(
			r, 409, "duplicate_record", "a record with this id is there already");
	else if (out->result == STORE_QUOTA)
		http_answer_problem(r, 507, "store_full", "the tenant's room is used up");
	else if (out->result == STORE_TOO_LARGE)
		http_answer_problem(r, 413, "too_large", "the record is too large");
	else
		http_answer_not_found(r);
	pfx_free(p);
}

static void put(struct pfx *p)
{
	struct store_pfx_put_in in = {.tenant = http_request_tenant(p->request),
		.user = codec_view(p->record->user_id),
		.thumbprint = codec_view(p->record->thumbprint),
		.mode = p->replace ? STORE_PFX_REPLACE : STORE_PFX_CREATE,
		.repeat = p->repeat};
	cc_blob packed = codec_pack(p->record);

	if (p->has_version)
		in.if_match = cc_view_of(p->version, sizeof(p->version));
	in.record = cc_blob_view(&packed);
	store_pfx_put(http_request_queue(p->request)->store, &in, on_put, p);
	cc_blob_free(&packed);
}

/* The record in the body.  False: it was answered. */
static bool read_body(struct http_request *r, struct pfx **ret)
{
	struct http_fault fault = {0};
	Queue__PfxRecord *record = NULL;
	json_t *body = NULL;
	bool good;

	if (!http_request_json(r, http_graph_members, &body))
		return false;
	good = http_graph_read(body, clock_realtime_s(), &record, &fault);
	json_decref(body);
	if (!good) {
		http_fault_answer(r, &fault);
		return false;
	}
	*ret = cc_alloc(sizeof(**ret));
	(*ret)->request = r;
	(*ret)->record = record;
	return true;
}

void http_pfx_post(struct http_request *r)
{
	struct pfx *p = NULL;

	if (!read_body(r, &p))
		return;
	if (http_request_repeat(r, p->request_sha256, &p->repeat))
		put(p);
	else
		pfx_free(p);
}

/* ---- PUT, DELETE ---- */

/* The record stays as old as it is. */
static void on_old(void *arg, const struct store_pfx_get_out *out)
{
	struct pfx *p = arg;
	Queue__PfxRecord *old = NULL;

	if (out->err == CC_OK && out->result == STORE_OK &&
		codec_decode(&queue__pfx_record__descriptor, out->record, RECORD_MAX, &old) ==
			CC_OK) {
		p->record->created_s = old->created_s;
		codec_free(old);
		put(p);
		return;
	}
	if (out->err != CC_OK)
		http_answer_store_failed(p->request, out->err);
	else
		http_answer_not_found(p->request);
	pfx_free(p);
}

/* One ETag of ours; "*" is any version.  False: not such a header. */
static bool take_if_match(struct pfx *p)
{
	cc_view text = CC_VIEW_NONE;
	cc_blob version = CC_BLOB_NONE;
	bool good;

	if (!http_request_if_match(p->request, &text) || text_equal(text, "*"))
		return true;
	good = text.size == ETAG_SIZE - 1 && text.data[0] == '"' &&
	       text.data[text.size - 1] == '"' &&
	       text_from_hex(cc_view_part(text, 1, text.size - 2), &version) == CC_OK;
	if (good) {
		memcpy(p->version, version.data, sizeof(p->version));
		p->has_version = true;
	}
	cc_blob_free(&version);
	return good;
}

void http_pfx_put(struct http_request *r)
{
	struct store_pfx_get_in in = {.tenant = http_request_tenant(r)};
	struct pfx *p = NULL;
	cc_view user = CC_VIEW_NONE, thumbprint = CC_VIEW_NONE;

	if (!http_graph_split_id(cc_view_text(http_request_param(r, 0)), &user, &thumbprint)) {
		http_answer_not_found(r);
		return;
	}
	if (!read_body(r, &p))
		return;
	p->replace = true;
	in.user = codec_view(p->record->user_id);
	in.thumbprint = codec_view(p->record->thumbprint);
	if (!cc_view_equal(user, in.user) || !cc_view_equal(thumbprint, in.thumbprint)) {
		http_answer_fault(r, 422, "key_mismatch", "another id than in the path", "/id");
		pfx_free(p);
	} else if (!take_if_match(p)) {
		http_answer_problem(
			r, 412, "version_mismatch", "If-Match is not one ETag of this server");
		pfx_free(p);
	} else {
		store_pfx_get(http_request_queue(r)->store, &in, on_old, p);
	}
}

static void on_delete(void *arg, const struct store_pfx_delete_out *out)
{
	struct http_request *r = arg;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_OK)
		http_answer_empty(r);
	else
		http_answer_not_found(r);
}

void http_pfx_delete(struct http_request *r)
{
	struct store_pfx_delete_in in = {.tenant = http_request_tenant(r)};

	if (http_graph_split_id(cc_view_text(http_request_param(r, 0)), &in.user, &in.thumbprint))
		store_pfx_delete(http_request_queue(r)->store, &in, on_delete, r);
	else
		http_answer_not_found(r);
}

/* ---- GET ---- */

static void on_get(void *arg, const struct store_pfx_get_out *out)
{
	struct http_request *r = arg;
	Queue__PfxRecord *record = found(r, out);

	if (record)
		http_answer_json(r, 200, http_graph_show(record));
	codec_free(record);
}

static void on_content(void *arg, const struct store_pfx_get_out *out)
{
	struct http_request *r = arg;
	Queue__PfxRecord *record = found(r, out);
	char etag[ETAG_SIZE];

	if (record) {
		etag_of(out->version, etag);
		http_answer_header(r, "etag", etag);
		http_answer_json(r, 200, http_graph_content(record));
	}
	codec_free(record);
}

static void get(struct http_request *r, store_pfx_get_done done)
{
	struct store_pfx_get_in in = {.tenant = http_request_tenant(r)};

	if (http_graph_split_id(cc_view_text(http_request_param(r, 0)), &in.user, &in.thumbprint))
		store_pfx_get(http_request_queue(r)->store, &in, done, r);
	else
		http_answer_not_found(r);
}

void http_pfx_get(struct http_request *r)
{
	get(r, on_get);
}

void http_pfx_content(struct http_request *r)
{
	get(r, on_content);
}

/* ---- list ---- */

static void on_list(void *arg, const struct store_pfx_list_out *out)
{
	struct http_request *r = arg;
	Queue__PfxRecord *record = NULL;
	json_t *list, *answer, *last = NULL;

	if (out->err != CC_OK) {
		http_answer_store_failed(r, out->err);
		return;
	}
	list = json_array();
	for (size_t i = 0; i < out->count; i++) {
		if (codec_decode(&queue__pfx_record__descriptor, out->records[i], RECORD_MAX,
			    &record) != CC_OK)
			continue;
		json_array_append_new(list, http_graph_show(record));
		codec_free(record);
		record = NULL;
	}
	answer = json_pack("{s:o}", "records", list);
	if (out->more && json_array_size(list) > 0) {
		last = json_object_get(json_array_get(list, json_array_size(list) - 1), "id");
		json_object_set_new(answer, "next_cursor",
			queue_json_hex(cc_view_text(json_string_value(last))));
	}
	http_answer_json(r, 200, answer);
}

/* The cursor is the last record's id in hex: an id may hold anything that a URL cannot. */
void http_pfx_list(struct http_request *r)
{
	struct store_pfx_list_in in = {.tenant = http_request_tenant(r)};
	uint64_t limit = PAGE_DEFAULT;
	cc_view text = CC_VIEW_NONE;
	cc_blob id = CC_BLOB_NONE;

	if (!http_request_number(r, "limit", 1, STORE_LIST_MAX, &limit))
		return;
	if (http_request_query(r, "user", &in.user) &&
		(in.user.size == 0 || !text_is_clean(in.user, USER_MAX))) {
		http_answer_fault(r, 400, "malformed_json", "not a user's id", "/user");
		return;
	}
	if (http_request_query(r, "cursor", &text) &&
		(text_from_hex(text, &id) != CC_OK ||
			!http_graph_split_id(
				cc_blob_view(&id), &in.after_user, &in.after_thumbprint))) {
		http_answer_fault(r, 400, "malformed_json", "not a cursor of ours", "/cursor");
		cc_blob_free(&id);
		return;
	}
	in.limit = (size_t)limit;
	store_pfx_list(http_request_queue(r)->store, &in, on_list, r);
	cc_blob_free(&id);
}

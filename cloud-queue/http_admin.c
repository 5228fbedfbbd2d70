/*
 * What is not a job: statements of signers, keys to import under, connectors, health.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/http_submit.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_DEFAULT 100u

/* ---- PUT signers/{key_id} ---- */

struct signer {
	struct http_request *request;
	Certq__SignedDocument *document;
	Certq__SignerStatement *statement;
	cc_blob key_id;
};

static void signer_free(struct signer *s)
{
	codec_free(s->document);
	codec_free(s->statement);
	cc_blob_free(&s->key_id);
	free(s);
}

static json_t *signer_json(const struct signer *s)
{
	const Certq__SignerStatement *st = s->statement;
	json_t *kinds = json_array();

	if (st->issue)
		json_array_append_new(kinds, json_string("issue"));
	if (st->rewrap)
		json_array_append_new(kinds, json_string("rewrap"));
	if (st->revoke)
		json_array_append_new(kinds, json_string("revoke"));
	if (st->chain)
		json_array_append_new(kinds, json_string("chain"));
	return json_pack("{s:o, s:I, s:o, s:o}", "key_id", queue_json_hex(cc_blob_view(&s->key_id)),
		"revision", (json_int_t)st->revision, "not_after", queue_json_time(st->not_after_s),
		"kinds", kinds);
}

static void on_signer_put(void *arg, const struct store_signer_put_out *out)
{
	struct signer *s = arg;
	struct http_request *r = s->request;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_NEW)
		http_answer_json(r, 201, signer_json(s));
	else if (out->result == STORE_OK || out->result == STORE_SAME)
		http_answer_json(r, 200, signer_json(s));
	else if (out->result == STORE_CONFLICT)
		http_answer_problem(
			r, 409, "too_late", "a newer statement of this key is registered");
	else
		http_answer_not_found(r);
	signer_free(s);
}

/* A statement whose time is over is taken: with a newer revision it withdraws the key. */
static cc_err verify_statement(cc_view job_root, cc_view tenant,
	const Certq__SignedDocument *document, Certq__SignerStatement **ret)
{
	Certq__SignerStatement *peeked = NULL;
	cc_err err = signer_verify(job_root, tenant, document, clock_realtime_s(), ret);

	if (err != CC_EXPIRED)
		return err;
	TRY(codec_decode_document(&certq__signer_statement__descriptor, codec_view(document->body),
		DOC_BODY_MAX, &peeked));
	TRY(signer_verify(job_root, tenant, document, peeked->not_before_s, ret));
out:
	codec_free(peeked);
	return err;
}

static bool statement_fits(
	struct signer *s, const struct store_signer_get_out *out, char *detail, size_t room)
{
	uint8_t id[SHA256_SIZE];
	cc_err err = verify_statement(
		out->job_root, http_request_tenant(s->request), s->document, &s->statement);

	if (err != CC_OK) {
		snprintf(detail, room, "%s", cc_err_detail(err));
		return false;
	}
	dsse_key_id(codec_view(s->statement->spki), id);
	snprintf(detail, room, "the statement is about another key");
	return cc_view_equal(cc_blob_view(&s->key_id), cc_view_of(id, sizeof(id)));
}

static void on_job_root(void *arg, const struct store_signer_get_out *out)
{
	struct signer *s = arg;
	struct http_request *r = s->request;
	struct store_signer_put_in in = {.tenant = http_request_tenant(r)};
	char detail[256] = "";
	cc_blob packed;

	if (out->err != CC_OK || out->job_root.size == 0) {
		if (out->err != CC_OK)
			http_answer_store_failed(r, out->err);
		else
			http_answer_not_found(r);
		signer_free(s);
		return;
	}
	if (!statement_fits(s, out, detail, sizeof(detail))) {
		http_answer_problem(
			r, 422, s->statement ? "key_mismatch" : "signature_invalid", detail);
		signer_free(s);
		return;
	}
	packed = codec_pack(s->document);
	in.key_id = cc_blob_view(&s->key_id);
	in.revision = s->statement->revision;
	in.statement = cc_blob_view(&packed);
	in.not_after_s = s->statement->not_after_s;
	store_signer_put(http_request_queue(r)->store, &in, on_signer_put, s);
	cc_blob_free(&packed);
}

void http_admin_signer_put(struct http_request *r)
{
	static const char *const members[] = {"document", "document_type", "signatures", NULL};
	struct http_fault fault = {0};
	struct store_signer_get_in in = {.tenant = http_request_tenant(r)};
	json_t *body = NULL;
	struct signer *s;

	if (!http_request_json(r, members, &body))
		return;
	s = cc_alloc(sizeof(*s));
	s->request = r;
	if (text_from_hex(cc_view_text(http_request_param(r, 0)), &s->key_id) != CC_OK ||
		s->key_id.size != SHA256_SIZE) {
		http_answer_not_found(r);
		signer_free(s);
	} else if (!http_submit_parse(body, DOC_SIGNER, "/document", &s->document, &fault)) {
		http_fault_answer(r, &fault);
		signer_free(s);
	} else {
		in.key_id = cc_blob_view(&s->key_id);
		store_signer_get(http_request_queue(r)->store, &in, on_job_root, s);
	}
	json_decref(body);
}

/* ---- GET connectors ---- */

static void on_connectors(void *arg, const struct store_connector_list_out *out)
{
	struct http_request *r = arg;
	json_t *list, *answer;

	if (out->err != CC_OK) {
		http_answer_store_failed(r, out->err);
		return;
	}
	list = json_array();
	for (size_t i = 0; i < out->count; i++)
		json_array_append_new(list, queue_json_connector(&out->connectors[i]));
	answer = json_pack("{s:o}", "connectors", list);
	if (out->more && out->count > 0)
		json_object_set_new(
			answer, "next_cursor", queue_json_text(out->connectors[out->count - 1].id));
	http_answer_json(r, 200, answer);
}

void http_admin_connectors(struct http_request *r)
{
	struct store_connector_list_in in = {.tenant = http_request_tenant(r)};
	uint64_t limit = PAGE_DEFAULT;

	if (!http_request_number(r, "limit", 1, STORE_LIST_MAX, &limit))
		return;
	if (http_request_query(r, "cursor", &in.after) && !text_is_name(in.after)) {
		http_answer_fault(r, 400, "malformed_json", "not a cursor of ours", "/cursor");
		return;
	}
	in.limit = (size_t)limit;
	store_connector_list(http_request_queue(r)->store, &in, on_connectors, r);
}

/* ---- GET import-keys: the decryption keys of all connectors, each once ---- */

struct keys {
	struct http_request *request;
	json_t *list;
};

static json_t *find_key(json_t *list, const json_t *key_id)
{
	size_t i;
	json_t *one;

	json_array_foreach(list, i, one)
	{
		if (json_equal(json_object_get(one, "key_id"), key_id))
			return one;
	}
	return NULL;
}

static void add_key(json_t *list, const struct store_key *key, cc_view holder)
{
	json_t *key_id = queue_json_hex(key->key_id);
	json_t *entry = find_key(list, key_id);

	if (!entry) {
		entry = json_pack("{s:O, s:o, s:[]}", "key_id", key_id, "spki",
			queue_json_base64(key->spki), "holders");
		json_array_append_new(list, entry);
	}
	json_array_append_new(json_object_get(entry, "holders"), queue_json_text(holder));
	json_decref(key_id);
}

static void on_keys(void *arg, const struct store_connector_list_out *out)
{
	struct keys *k = arg;
	struct store_connector_list_in in = {
		.tenant = http_request_tenant(k->request), .limit = STORE_LIST_MAX};

	if (out->err != CC_OK) {
		http_answer_store_failed(k->request, out->err);
		json_decref(k->list);
		free(k);
		return;
	}
	for (size_t i = 0; i < out->count; i++) {
		const struct store_connector *c = &out->connectors[i];

		for (size_t n = 0; n < c->key_count; n++)
			add_key(k->list, &c->keys[n], c->id);
	}
	if (out->more && out->count > 0) {
		in.after = out->connectors[out->count - 1].id;
		store_connector_list(http_request_queue(k->request)->store, &in, on_keys, k);
		return;
	}
	http_answer_json(k->request, 200, json_pack("{s:o}", "keys", k->list));
	free(k);
}

void http_admin_import_keys(struct http_request *r)
{
	struct keys *k = cc_alloc(sizeof(*k));
	struct store_connector_list_in in = {
		.tenant = http_request_tenant(r), .limit = STORE_LIST_MAX};

	k->request = r;
	k->list = json_array();
	store_connector_list(http_request_queue(r)->store, &in, on_keys, k);
}

/* ---- GET health ---- */

void http_admin_health(struct http_request *r)
{
	bool draining = http_request_queue(r)->draining;

	http_answer_json(r, draining ? 503 : 200,
		json_pack("{s:s, s:s}", "status", draining ? "draining" : "ok", "version",
			CC_RELEASE));
}

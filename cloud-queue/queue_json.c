/*
 * Jobs, results and connectors as JSON.  A result's parts are taken from the signed document that
 * was verified when it came; the document itself goes along, so that a client may check again.
 */
#include "cloud-queue/queue_json.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/route.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>

#define TEXT_MAX   4096u
#define BUNDLE_MAX (512u * 1024u)

/* ---- values ---- */

static json_t *take_text(cc_blob *b)
{
	json_t *value = json_stringn((const char *)b->data, b->size);

	cc_blob_free(b);
	return value;
}

json_t *queue_json_base64(cc_view bytes)
{
	cc_blob text = CC_BLOB_NONE;

	text_base64(bytes, &text);
	return text.size ? take_text(&text) : json_string("");
}

json_t *queue_json_hex(cc_view bytes)
{
	cc_blob text = CC_BLOB_NONE;

	text_hex(bytes, &text);
	return text.size ? take_text(&text) : json_string("");
}

json_t *queue_json_text(cc_view text)
{
	return text.size && text_is_clean(text, TEXT_MAX)
		       ? json_stringn((const char *)text.data, text.size)
		       : json_string("");
}

json_t *queue_json_time(int64_t seconds)
{
	char text[RFC3339_SIZE];

	text_rfc3339(seconds, text);
	return json_string(text);
}

json_t *queue_json_job_id(cc_view job_id)
{
	char text[JOB_TEXT_SIZE];

	text_job_id(job_id, text);
	return json_string(text);
}

static void set_text(json_t *to, const char *key, cc_view text)
{
	if (text.size)
		json_object_set_new(to, key, queue_json_text(text));
}

/* ---- jobs ---- */

const char *queue_json_state(enum store_state state, enum store_dead dead)
{
	switch (state) {
	case STORE_READY:
		return "ready";
	case STORE_LEASED:
	case STORE_CLAIMED:
	case STORE_HELD:
		return "leased";
	case STORE_PARKED:
		return "pending_ca";
	case STORE_DONE:
		return "done";
	case STORE_DEAD:
		return dead == STORE_DEAD_FAILURE ? "failed" : "dead";
	case STORE_CANCELLED_STATE:
		return "cancelled";
	}
	return "unknown";
}

bool queue_json_is_final(enum store_state state)
{
	return state == STORE_DONE || state == STORE_DEAD || state == STORE_CANCELLED_STATE;
}

static const char *dead_code(enum store_dead dead)
{
	switch (dead) {
	case STORE_DEAD_POISON:
		return "poison";
	case STORE_DEAD_EXPIRED:
		return "expired";
	case STORE_DEAD_DEADLINE:
		return "deadline";
	case STORE_DEAD_ATTEMPTS:
		return "attempts_used_up";
	case STORE_DEAD_BURIED:
		return "buried";
	default:
		return "failed";
	}
}

static json_t *job_error(const struct store_job *job)
{
	json_t *error = json_object();
	uint32_t number = job->error_event ? job->error_event : (uint32_t)EV_JOB_DEAD;
	const struct event_info *event = event_find(number);

	json_object_set_new(error, "code",
		job->error_code.size ? queue_json_text(job->error_code)
				     : json_string(dead_code(job->dead)));
	json_object_set_new(error, "event", json_integer(number));
	set_text(error, "detail", job->error_detail);
	json_object_set_new(error, "retryable", json_boolean(job->retryable));
	if (event && event->next_step[0])
		json_object_set_new(error, "next_step", json_string(event->next_step));
	return error;
}

json_t *queue_json_job(const struct store_job *job)
{
	json_t *to = json_object();

	json_object_set_new(to, "id", queue_json_job_id(job->job_id));
	json_object_set_new(to, "state", json_string(queue_json_state(job->state, job->dead)));
	json_object_set_new(to, "kind", json_string(route_kind_name(job->kind)));
	if (job->state == STORE_READY && job->given_back == STORE_NACK_APPROVAL)
		json_object_set_new(to, "waits_for", json_string("approval"));
	json_object_set_new(to, "attempts", json_integer(job->attempts));
	json_object_set_new(to, "deliveries", json_integer(job->deliveries));
	set_text(to, "connector", job->connector);
	set_text(to, "correlation_id", job->correlation_id);
	set_text(to, "batch_id", job->batch_id);
	json_object_set_new(to, "created_at", queue_json_time(job->created_ms / 1000));
	json_object_set_new(to, "not_after", queue_json_time(job->not_after_ms / 1000));
	if (job->finished_ms)
		json_object_set_new(to, "finished_at", queue_json_time(job->finished_ms / 1000));
	json_object_set_new(to, "seq", json_integer((json_int_t)job->seq));
	if (job->state == STORE_DEAD)
		json_object_set_new(to, "error", job_error(job));
	return to;
}

/* ---- results ---- */

static const char *seal_name(Certq__Seal seal)
{
	switch (seal) {
	case CERTQ__SEAL__SEAL_OAEP_SHA256:
		return "oaep-sha256";
	case CERTQ__SEAL__SEAL_WINDOWS:
		return "windows";
	default:
		return "cms-auth";
	}
}

static void set_not_after(json_t *to, cc_view der)
{
	const unsigned char *at = der.data;
	X509 *x = d2i_X509(NULL, &at, (long)der.size);
	int64_t end_s = x ? clock_asn1_s(X509_get0_notAfter(x)) : -1;

	if (end_s != -1)
		json_object_set_new(to, "not_after", queue_json_time(end_s));
	X509_free(x);
	ERR_clear_error();
}

static void set_certificate(
	json_t *to, const struct store_job *job, const Certq__ResultDocument *document)
{
	json_t *chain = json_array();

	if (document->certificate.len > 0) {
		json_object_set_new(
			to, "certificate", queue_json_base64(codec_view(document->certificate)));
		json_object_set_new(to, "serial", queue_json_hex(job->certificate.serial));
		set_not_after(to, codec_view(document->certificate));
	}
	for (size_t i = 0; i < document->n_chain; i++)
		json_array_append_new(chain, queue_json_base64(codec_view(document->chain[i])));
	json_object_set_new(to, "chain", chain);
	if (document->renew_at_s)
		json_object_set_new(to, "renew_at", queue_json_time(document->renew_at_s));
}

static void set_sealed(
	json_t *to, const Certq__ResultBundle *bundle, const Certq__ResultDocument *document)
{
	uint8_t id[SHA256_SIZE];
	json_t *sealed;

	if (bundle->sealed_password.len == 0)
		return;
	dsse_key_id(codec_view(document->device_spki), id);
	sealed = json_object();
	json_object_set_new(sealed, "form", json_string(seal_name(document->seal)));
	json_object_set_new(
		sealed, "recipient_spki_sha256", queue_json_hex(cc_view_of(id, sizeof(id))));
	json_object_set_new(sealed, "data", queue_json_base64(codec_view(bundle->sealed_password)));
	json_object_set_new(to, "sealed_password", sealed);
}

static void set_pfx(json_t *to, cc_view pfx, const Certq__ResultDocument *document)
{
	if (pfx.size == 0)
		return;
	json_object_set_new(to, "pfx", queue_json_base64(pfx));
	if (document->pfx_profile != CERTQ__PFX_PROFILE__PFX_UNSPECIFIED)
		json_object_set_new(to, "pfx_profile",
			json_string(document->pfx_profile == CERTQ__PFX_PROFILE__PFX_COMPAT
					    ? "compat"
					    : "modern"));
}

static void set_document(json_t *to, const Certq__SignedDocument *from)
{
	json_t *signature = json_object();

	json_object_set_new(signature, "key_id", queue_json_hex(codec_view(from->key_id)));
	json_object_set_new(signature, "signature", queue_json_base64(codec_view(from->signature)));
	json_object_set_new(to, "document", queue_json_base64(codec_view(from->body)));
	json_object_set_new(to, "signature", signature);
}

json_t *queue_json_result(const struct store_job *job, cc_view packed, cc_view pfx)
{
	Certq__ResultBundle *bundle = NULL;
	Certq__ResultDocument *document = NULL;
	json_t *to = json_object();
	bool signed_result = packed.size > 0;

	json_object_set_new(to, "type", json_string(route_kind_name(job->kind)));
	set_text(to, "ca_profile", job->ca_profile);
	json_object_set_new(to, "attested", json_boolean(signed_result));
	if (!signed_result)
		return to;
	if (codec_decode(&certq__result_bundle__descriptor, packed, BUNDLE_MAX, &bundle) != CC_OK ||
		!bundle->result ||
		codec_decode_document(&certq__result_document__descriptor,
			codec_view(bundle->result->body), DOC_BODY_MAX, &document) != CC_OK) {
		codec_free(bundle);
		json_decref(to);
		return NULL;
	}
	set_pfx(to, bundle->pfx.len ? codec_view(bundle->pfx) : pfx, document);
	set_sealed(to, bundle, document);
	set_certificate(to, job, document);
	set_document(to, bundle->result);
	codec_free(document);
	codec_free(bundle);
	return to;
}

/* ---- connectors ---- */

static json_t *text_list(const cc_view *items, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, queue_json_text(items[i]));
	return list;
}

static json_t *kind_list(uint32_t kinds)
{
	json_t *list = json_array();

	for (int i = 1; i < STORE_KIND_COUNT; i++) {
		if (kinds & STORE_KIND_BIT(i))
			json_array_append_new(
				list, json_string(route_kind_name((enum store_kind)i)));
	}
	return list;
}

static const char *health_of(const struct store_connector *c)
{
	if (c->disabled)
		return "disabled";
	if (c->suspended)
		return "suspended";
	return c->online ? "ok" : "offline";
}

json_t *queue_json_connector(const struct store_connector *c)
{
	json_t *to = json_object();
	json_t *key = json_object();
	uint8_t id[SHA256_SIZE];

	dsse_key_id(c->result_spki, id);
	json_object_set_new(key, "key_id", queue_json_hex(cc_view_of(id, sizeof(id))));
	json_object_set_new(key, "spki", queue_json_base64(c->result_spki));
	json_object_set_new(to, "id", queue_json_text(c->id));
	json_object_set_new(to, "groups", text_list(c->groups, c->group_count));
	json_object_set_new(to, "online", json_boolean(c->online));
	json_object_set_new(to, "health", json_string(health_of(c)));
	json_object_set_new(to, "enrolled_at", queue_json_time(c->enrolled_ms / 1000));
	if (c->last_seen_ms)
		json_object_set_new(to, "last_seen", queue_json_time(c->last_seen_ms / 1000));
	set_text(to, "version", c->software);
	json_object_set_new(to, "kinds", kind_list(c->kinds));
	json_object_set_new(to, "ca_profiles", text_list(c->ca_profiles, c->ca_profile_count));
	json_object_set_new(to, "result_key", key);
	return to;
}

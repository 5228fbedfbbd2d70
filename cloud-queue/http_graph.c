/*
 * Reading and showing userPFXCertificate.
 */
#include "cloud-queue/http_graph.h"

#include "base/hash.h"
#include "cloud-queue/graph_words.h"
#include "cloud-queue/queue_json.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PFX_MAX        (96u * 1024u)
#define PASSWORD_MAX   1024u
#define RECIPIENTS_MAX 16u
#define USER_MAX       128u
#define THUMBPRINT_HEX 40u
#define TEXT_MAX       256u

const char *const http_graph_members[] = {"@odata.type", "@odata.context", "id", "thumbprint",
	"intendedPurpose", "userPrincipalName", "startDateTime", "expirationDateTime",
	"providerName", "keyName", "paddingScheme", "encryptedPfxBlob", "encryptedPfxPassword",
	"createdDateTime", "lastModifiedDateTime", "binding", "keyId", "recipients", NULL};

/* What is read before it is packed; the views and blobs live until then. */
struct reading {
	const json_t *from;
	struct http_fault *fault;
	Queue__PfxRecord record;
	cc_blob upn, pfx;
	size_t count;
	cc_blob keys[RECIPIENTS_MAX], passwords[RECIPIENTS_MAX];
	Queue__PfxRecipient rows[RECIPIENTS_MAX];
	Queue__PfxRecipient *list[RECIPIENTS_MAX];
};

static bool refuse(struct reading *g, const char *pointer, const char *why)
{
	http_fault_set(g->fault, 400, "malformed_document", pointer, "%s", why);
	return false;
}

static cc_view text_view(const json_t *value)
{
	return cc_view_of(json_string_value(value), json_string_length(value));
}

/* ---- identifiers and times ---- */

static bool is_hex(cc_view text)
{
	for (size_t i = 0; i < text.size; i++) {
		if (!strchr("0123456789abcdef", text.data[i]) || text.data[i] == 0)
			return false;
	}
	return true;
}

bool http_graph_split_id(cc_view id, cc_view *ret_user, cc_view *ret_thumbprint)
{
	size_t user_size;
	cc_view user, thumbprint;

	if (id.size < THUMBPRINT_HEX + 2)
		return false;
	user_size = id.size - THUMBPRINT_HEX - 1;
	user = cc_view_part(id, 0, user_size);
	thumbprint = cc_view_part(id, user_size + 1, THUMBPRINT_HEX);
	if (id.data[user_size] != '-' || !is_hex(thumbprint) || user.size > USER_MAX ||
		!text_is_clean(user, USER_MAX))
		return false;
	*ret_user = user;
	*ret_thumbprint = thumbprint;
	return true;
}

static bool digits(const char **at, size_t count, int *ret)
{
	int value = 0;

	for (size_t i = 0; i < count; i++) {
		if (**at < '0' || **at > '9')
			return false;
		value = value * 10 + (*(*at)++ - '0');
	}
	*ret = value;
	return true;
}

static bool literal(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

static bool zone(const char **at, int *ret_s)
{
	int hours = 0, minutes = 0, sign;

	if (literal(at, 'Z')) {
		*ret_s = 0;
		return true;
	}
	sign = **at == '-' ? -1 : 1;
	if (**at != '-' && **at != '+')
		return false;
	(*at)++;
	if (!digits(at, 2, &hours) || !literal(at, ':') || !digits(at, 2, &minutes) || hours > 14 ||
		minutes > 59)
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

bool http_graph_time(cc_view text, int64_t *ret)
{
	char buffer[40] = "";
	const char *at = buffer;
	struct tm tm = {0};
	int offset = 0;

	if (text.size == 0 || text.size >= sizeof(buffer))
		return false;
	memcpy(buffer, text.data, text.size);
	if (!digits(&at, 4, &tm.tm_year) || !literal(&at, '-') || !digits(&at, 2, &tm.tm_mon) ||
		!literal(&at, '-') || !digits(&at, 2, &tm.tm_mday) || !literal(&at, 'T') ||
		!digits(&at, 2, &tm.tm_hour) || !literal(&at, ':') || !digits(&at, 2, &tm.tm_min) ||
		!literal(&at, ':') || !digits(&at, 2, &tm.tm_sec))
		return false;
	if (*at == '.')
		at += 1 + strspn(at + 1, "0123456789");
	if (!zone(&at, &offset) || *at != '\0' || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
		tm.tm_sec > 60 || tm.tm_year < 1970)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret = (int64_t)timegm(&tm) - offset;
	return true;
}

/* ---- read ---- */

static bool read_id(struct reading *g)
{
	const json_t *id = json_object_get(g->from, "id");
	const json_t *thumbprint = json_object_get(g->from, "thumbprint");
	cc_view user = CC_VIEW_NONE, digest = CC_VIEW_NONE;

	if (!json_is_string(id) || !http_graph_split_id(text_view(id), &user, &digest))
		return refuse(g, "/id",
			"{userId}-{thumbprint}, the thumbprint in 40 lower-case hex digits");
	if (thumbprint &&
		(!json_is_string(thumbprint) || !cc_view_equal(text_view(thumbprint), digest)))
		return refuse(g, "/thumbprint", "another thumbprint than in id");
	g->record.user_id = codec_bytes(user);
	g->record.thumbprint = codec_bytes(digest);
	return true;
}

static bool read_upn(struct reading *g)
{
	const json_t *value = json_object_get(g->from, "userPrincipalName");

	if (!json_is_string(value) || json_string_length(value) == 0 ||
		!text_is_clean(text_view(value), TEXT_MAX))
		return refuse(g, "/userPrincipalName", "a user's principal name");
	g->upn = cc_blob_copy(text_view(value));
	text_lower_ascii(&g->upn); /* UPNs fold case by ASCII only */
	g->record.upn = codec_bytes(cc_blob_view(&g->upn));
	return true;
}

static bool read_purpose(struct reading *g)
{
	const char *purpose = graph_words_purpose(json_object_get(g->from, "intendedPurpose"));

	if (!purpose)
		return refuse(g, "/intendedPurpose",
			"unassigned, smimeEncryption, smimeSigning, vpn or wifi");
	g->record.purpose = codec_text(purpose);
	return true;
}

static bool read_padding(struct reading *g)
{
	Certq__Padding padding;

	if (!graph_words_padding(json_object_get(g->from, "paddingScheme"), &padding))
		return refuse(g, "/paddingScheme",
			"oaepSha256, oaepSha384, oaepSha512 or none (SHA-512)");
	g->record.padding = padding;
	return true;
}

static bool read_optional(struct reading *g, const char *name, ProtobufCBinaryData *to)
{
	const json_t *value = json_object_get(g->from, name);
	char pointer[32];

	if (!value || json_is_null(value))
		return true;
	if (json_is_string(value) && text_is_clean(text_view(value), TEXT_MAX)) {
		*to = codec_bytes(text_view(value));
		return true;
	}
	snprintf(pointer, sizeof(pointer), "/%s", name);
	return refuse(g, pointer, "plain text of at most 256 bytes");
}

static bool read_time(struct reading *g, const char *name, int64_t *to)
{
	const json_t *value = json_object_get(g->from, name);
	char pointer[32];

	if (!value || json_is_null(value))
		return true;
	if (json_is_string(value) && http_graph_time(text_view(value), to))
		return true;
	snprintf(pointer, sizeof(pointer), "/%s", name);
	return refuse(g, pointer, "a time like 2026-11-21T05:00:00.0000000+00:00");
}

static bool add_recipient(struct reading *g, const json_t *key, const json_t *password)
{
	size_t i = g->count;

	if (i == RECIPIENTS_MAX)
		return refuse(g, "/recipients", "at most 16 recipients");
	if (key && (!json_is_string(key) || text_from_hex(text_view(key), &g->keys[i]) != CC_OK ||
			   g->keys[i].size != SHA256_SIZE)) {
		cc_blob_free(&g->keys[i]);
		return refuse(g, "/keyId", "64 lower-case hex digits: SHA-256 of the key's SPKI");
	}
	g->count++;
	if (!json_is_string(password) ||
		text_from_base64(text_view(password), PASSWORD_MAX, &g->passwords[i]) != CC_OK ||
		g->passwords[i].size == 0)
		return refuse(g, "/encryptedPfxPassword", "base64 of an encrypted password");
	queue__pfx_recipient__init(&g->rows[i]);
	g->rows[i].key_id = codec_bytes(cc_blob_view(&g->keys[i]));
	g->rows[i].password = codec_bytes(cc_blob_view(&g->passwords[i]));
	g->list[i] = &g->rows[i];
	return true;
}

static bool read_recipients(struct reading *g)
{
	const json_t *list = json_object_get(g->from, "recipients");
	const json_t *binding = json_object_get(g->from, "binding");
	size_t i;
	json_t *one;

	if (binding && (!json_is_integer(binding) || json_integer_value(binding) < 0 ||
			       json_integer_value(binding) > 1))
		return refuse(g, "/binding", "0 or 1");
	g->record.binding = (uint32_t)json_integer_value(binding);
	if (!add_recipient(g, json_object_get(g->from, "keyId"),
		    json_object_get(g->from, "encryptedPfxPassword")))
		return false;
	if (list && !json_is_array(list))
		return refuse(g, "/recipients", "a list of {keyId, encryptedPfxPassword}");
	json_array_foreach(list, i, one)
	{
		const json_t *key = json_object_get(one, "keyId");

		if (json_object_size(one) != 2 || !key)
			return refuse(g, "/recipients", "a list of {keyId, encryptedPfxPassword}");
		if (!add_recipient(g, key, json_object_get(one, "encryptedPfxPassword")))
			return false;
	}
	if (g->record.binding == 0 && g->count > 1)
		return refuse(g, "/binding", "a record that is not bound has one recipient");
	g->record.n_recipients = g->count;
	g->record.recipients = g->list;
	return true;
}

static bool read_blob(struct reading *g)
{
	const json_t *value = json_object_get(g->from, "encryptedPfxBlob");

	if (!json_is_string(value) ||
		text_from_base64(text_view(value), PFX_MAX, &g->pfx) != CC_OK || g->pfx.size == 0)
		return refuse(g, "/encryptedPfxBlob", "base64 of a PFX of at most 96 KiB");
	g->record.pfx = codec_bytes(cc_blob_view(&g->pfx));
	return true;
}

static bool read_all(struct reading *g)
{
	return read_id(g) && read_upn(g) && read_purpose(g) && read_padding(g) &&
	       read_optional(g, "providerName", &g->record.provider_name) &&
	       read_optional(g, "keyName", &g->record.key_name) &&
	       read_time(g, "startDateTime", &g->record.start_s) &&
	       read_time(g, "expirationDateTime", &g->record.expiration_s) && read_blob(g) &&
	       read_recipients(g);
}

bool http_graph_read(
	const json_t *from, int64_t now_s, Queue__PfxRecord **ret, struct http_fault *fault)
{
	struct reading *g = cc_alloc(sizeof(*g));
	cc_blob packed = CC_BLOB_NONE;
	bool good;

	queue__pfx_record__init(&g->record);
	g->from = from;
	g->fault = fault;
	g->record.created_s = now_s;
	g->record.modified_s = now_s;
	good = read_all(g);
	if (good) {
		packed = codec_pack(&g->record); /* one that owns its bytes */
		good = codec_decode(&queue__pfx_record__descriptor, cc_blob_view(&packed),
			       packed.size, ret) == CC_OK ||
		       refuse(g, "", "the record cannot be kept");
	}
	cc_blob_free(&packed);
	cc_blob_free(&g->upn);
	cc_blob_free(&g->pfx);
	for (size_t i = 0; i < RECIPIENTS_MAX; i++) {
		cc_blob_free(&g->keys[i]);
		cc_blob_free(&g->passwords[i]);
	}
	free(g);
	return good;
}

/* ---- show ---- */

static json_t *digest_of(cc_view bytes)
{
	uint8_t sha256[SHA256_SIZE];

	hash_sha256(bytes, sha256);
	return queue_json_hex(cc_view_of(sha256, sizeof(sha256)));
}

static json_t *show_recipients(const Queue__PfxRecord *record)
{
	json_t *list = json_array();

	for (size_t i = 0; i < record->n_recipients; i++) {
		json_t *one = json_object();

		if (record->recipients[i]->key_id.len > 0)
			json_object_set_new(one, "keyId",
				queue_json_hex(codec_view(record->recipients[i]->key_id)));
		json_object_set_new(one, "passwordSha256",
			digest_of(codec_view(record->recipients[i]->password)));
		json_array_append_new(list, one);
	}
	return list;
}

static void show_text(json_t *to, const char *key, ProtobufCBinaryData text)
{
	if (text.len > 0)
		json_object_set_new(to, key, queue_json_text(codec_view(text)));
}

json_t *http_graph_show(const Queue__PfxRecord *record)
{
	json_t *to = json_object();
	cc_blob id = CC_BLOB_NONE;

	cc_blob_append(&id, codec_view(record->user_id));
	cc_blob_append_byte(&id, '-');
	cc_blob_append(&id, codec_view(record->thumbprint));
	json_object_set_new(to, "id", queue_json_text(cc_blob_view(&id)));
	cc_blob_free(&id);
	show_text(to, "thumbprint", record->thumbprint);
	show_text(to, "intendedPurpose", record->purpose);
	show_text(to, "userPrincipalName", record->upn);
	if (record->start_s)
		json_object_set_new(to, "startDateTime", queue_json_time(record->start_s));
	if (record->expiration_s)
		json_object_set_new(
			to, "expirationDateTime", queue_json_time(record->expiration_s));
	show_text(to, "providerName", record->provider_name);
	show_text(to, "keyName", record->key_name);
	json_object_set_new(
		to, "paddingScheme", json_string(graph_words_padding_name(record->padding)));
	json_object_set_new(to, "createdDateTime", queue_json_time(record->created_s));
	json_object_set_new(to, "lastModifiedDateTime", queue_json_time(record->modified_s));
	json_object_set_new(to, "binding", json_integer(record->binding));
	json_object_set_new(to, "pfxSha256", digest_of(codec_view(record->pfx)));
	json_object_set_new(to, "recipients", show_recipients(record));
	return to;
}

json_t *http_graph_content(const Queue__PfxRecord *record)
{
	json_t *to = http_graph_show(record);
	json_t *more = json_array();

	json_object_del(to, "pfxSha256");
	json_object_set_new(to, "encryptedPfxBlob", queue_json_base64(codec_view(record->pfx)));
	for (size_t i = 0; i < record->n_recipients; i++) {
		const Queue__PfxRecipient *from = record->recipients[i];
		json_t *one = i == 0 ? to : json_object();

		if (from->key_id.len > 0)
			json_object_set_new(one, "keyId", queue_json_hex(codec_view(from->key_id)));
		json_object_set_new(
			one, "encryptedPfxPassword", queue_json_base64(codec_view(from->password)));
		if (i > 0)
			json_array_append_new(more, one);
	}
	if (json_array_size(more) > 0)
		json_object_set(to, "recipients", more);
	else
		json_object_del(to, "recipients");
	json_decref(more);
	return to;
}

/*
 * certqueuectl record list, and the record's part of a signed rewrap.
 *
 * A job names the digest of the file and, for every recipient, key and digest of the encrypted
 * password; which of them a keyvault can use is its own affair.  The digests are in what the queue
 * shows of a record, so a signer needs neither the file nor the passwords.
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "base/tool.h"
#include "cloud-queue/certqueuectl.h"
#include "cloud-queue/graph_words.h"
#include "cloud-queue/job_json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PFX_MAX      (96u * 1024u)
#define PASSWORD_MAX 1024u

/* `shown` is the digest in hex, `whole` the content in base64: one of them is there. */
static cc_err add_digest(json_t *to, const char *name, const json_t *from, const char *shown,
	const char *whole, size_t max)
{
	const char *hex = json_string_value(json_object_get(from, shown));
	const char *content = json_string_value(json_object_get(from, whole));
	uint8_t digest[SHA256_SIZE];
	cc_blob bytes = CC_BLOB_NONE;
	char *text = NULL;
	cc_err err = CC_OK;

	ENSURE(hex || content, cc_fail(CC_MALFORMED, "neither %s nor %s", whole, shown));
	if (content) {
		TRY(text_from_base64(cc_view_text(content), max, &bytes));
		hash_sha256(cc_blob_view(&bytes), digest);
		text = text_base64_new(cc_view_of(digest, sizeof(digest)));
	} else {
		TRY(text_from_hex(cc_view_text(hex), &bytes));
		text = text_base64_new(cc_blob_view(&bytes));
	}
	json_object_set_new(to, name, json_string(text));
out:
	free(text);
	cc_blob_free(&bytes);
	return err;
}

/* `from` is the record itself or one of its recipients. */
static cc_err add_copy(json_t *copies, const json_t *from, const char *key_id)
{
	const char *key = json_string_value(json_object_get(from, "keyId"));
	json_t *copy = json_object();
	cc_blob id = CC_BLOB_NONE;
	char *text = NULL;
	cc_err err = CC_OK;

	if (!key)
		key = key_id;
	ENSURE(key, cc_fail(CC_USAGE, "the record names no key; --key-id says which one it is"));
	TRY(text_from_hex(cc_view_text(key), &id));
	ENSURE(id.size == SHA256_SIZE, cc_fail(CC_USAGE, "a key id has 64 hex digits"));
	text = text_base64_new(cc_blob_view(&id));
	json_object_set_new(copy, "key_id", json_string(text));
	TRY(add_digest(
		copy, "sha256", from, "passwordSha256", "encryptedPfxPassword", PASSWORD_MAX));
	json_array_append(copies, copy);
out:
	free(text);
	cc_blob_free(&id);
	json_decref(copy);
	return err;
}

/* A record that was put has its first recipient in its own members; the queue lists all of them. */
static cc_err add_copies(json_t *rewrap, const json_t *record, const char *key_id)
{
	json_t *copies = json_array();
	size_t i;
	json_t *one;
	cc_err err = CC_OK;

	if (json_object_get(record, "encryptedPfxPassword"))
		TRY(add_copy(copies, record, key_id));
	json_array_foreach(json_object_get(record, "recipients"), i, one)
		TRY(add_copy(copies, one, key_id));
	ENSURE(json_array_size(copies) > 0, cc_fail(CC_MALFORMED, "a record without a recipient"));
	json_object_set(rewrap, "passwords", copies);
out:
	json_decref(copies);
	return err;
}

static cc_err add_words(json_t *rewrap, const json_t *record)
{
	const ProtobufCEnumDescriptor *words = &certq__padding__descriptor;
	const char *purpose = graph_words_purpose(json_object_get(record, "intendedPurpose"));
	Certq__Padding padding = CERTQ__PADDING__PADDING_UNSPECIFIED;
	char *word = NULL;
	cc_err err = CC_OK;

	ENSURE(purpose, cc_fail(CC_MALFORMED, "intendedPurpose is not one of Graph's"));
	ENSURE(graph_words_padding(json_object_get(record, "paddingScheme"), &padding),
		cc_fail(CC_NOT_SUPPORTED,
			"paddingScheme is not oaepSha256, oaepSha384, oaepSha512 or none"));
	word = job_json_word(protobuf_c_enum_descriptor_get_value(words, (int)padding));
	json_object_set_new(rewrap, "purpose", json_string(purpose));
	json_object_set_new(rewrap, "padding", json_string(word));
	json_object_set(rewrap, "record_id", json_object_get(record, "id"));
	if (json_object_get(record, "binding"))
		json_object_set(rewrap, "binding", json_object_get(record, "binding"));
out:
	free(word);
	return err;
}

cc_err queuectl_record_add(json_t *request, const char *record_file, const char *key_id)
{
	json_t *rewrap = json_object_get(request, "rewrap");
	json_t *record = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(record_file, &record));
	ENSURE(json_is_object(rewrap), cc_fail(CC_MALFORMED, "the request is not for a record"));
	TRY(add_digest(rewrap, "pfx_sha256", record, "pfxSha256", "encryptedPfxBlob", PFX_MAX));
	TRY(add_copies(rewrap, record, key_id));
	TRY(add_words(rewrap, record));
out:
	if (err != CC_OK)
		err = cc_fail_in(err, "%s", record_file);
	json_decref(record);
	return err;
}

/* ---- list ---- */

static cc_err keep_record(const json_t *record, const char *out)
{
	const char *id = json_string_value(json_object_get(record, "id"));
	const char *thumbprint = json_string_value(json_object_get(record, "thumbprint"));
	char *text = NULL, *path = NULL, *words = NULL;
	cc_blob digest = CC_BLOB_NONE;
	cc_err err = CC_OK;

	/* the thumbprint becomes a file's name */
	ENSURE(id && thumbprint && text_from_hex(cc_view_text(thumbprint), &digest) == CC_OK,
		cc_fail(CC_PROTOCOL, "the queue lists a record without id and thumbprint"));
	if (out) {
		path = cc_asprintf("%s/%s.json", out, thumbprint);
		text = json_dumps(record, JSON_COMPACT);
		TRY(file_write_atomic(path, cc_view_text(text), 0600));
	}
	words = text_printable(cc_view_text(id));
	printf("%s\n", words);
out:
	free(words);
	cc_blob_free(&digest);
	free(path);
	free(text);
	return err;
}

static cc_err keep_page(const json_t *page, const char *purpose, const char *out)
{
	size_t i;
	json_t *record;
	cc_err err = CC_OK;

	json_array_foreach(json_object_get(page, "records"), i, record)
	{
		const char *own = json_string_value(json_object_get(record, "intendedPurpose"));

		if (!purpose || (own && strcmp(purpose, own) == 0))
			TRY(keep_record(record, out));
	}
out:
	return err;
}

/* An id may hold anything that a URL cannot. */
static char *query_of(const char *user)
{
	cc_blob query = CC_BLOB_NONE;
	char *text;

	if (user)
		cc_blob_printf(&query, "&user=");
	for (const char *at = user; at && *at; at++) {
		if (text_is_token(cc_view_of(at, 1), 1))
			cc_blob_append_byte(&query, (uint8_t)*at);
		else
			cc_blob_printf(&query, "%%%02X", (unsigned)(uint8_t)*at);
	}
	text = cc_strndup(cc_blob_view(&query));
	cc_blob_free(&query);
	return text;
}

cc_err queuectl_record_list(
	const struct queuectl_api *api, const char *user, const char *purpose, const char *out)
{
	char *user_part = query_of(user);
	char *cursor = cc_strdup("");
	json_t *page = NULL;
	cc_err err = CC_OK;

	while (cursor) {
		char *path = cc_asprintf("/user-pfx?limit=500%s%s", user_part, cursor);

		err = queuectl_api_ask(api, NULL, path, NULL, &page);
		free(path);
		free(cursor);
		cursor = NULL;
		TRY(err);
		TRY(keep_page(page, purpose, out));
		const char *next = json_string_value(json_object_get(page, "next_cursor"));
		if (next)
			cursor = cc_asprintf("&cursor=%s", next);
		json_decref(page);
		page = NULL;
	}
out:
	json_decref(page);
	free(cursor);
	free(user_part);
	return err;
}

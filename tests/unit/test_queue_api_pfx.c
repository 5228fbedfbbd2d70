/*
 * Imported PFX records from outside: list, content, replace, delete.
 */
#include "tests/support/queue_rig.h"

#include "base/hash.h"

#define PFX           "/v1/tenants/contoso/user-pfx"
#define THUMBPRINT(c) "0123456789abcdef0123456789abcdef0123456" c

/* A record of made-up bytes with two recipients. */
static char *record_body(const char *user, const char *thumbprint, const char *bytes)
{
	uint8_t key_id[SHA256_SIZE] = {1};
	char *blob = text_base64_new(cc_view_text(bytes));
	char *key = text_hex_new(cc_view_of(key_id, sizeof(key_id)));
	char *body = cc_asprintf("{\"id\":\"%s-%s\",\"intendedPurpose\":\"smimeSigning\","
				 "\"userPrincipalName\":\"Bob@Contoso.com\",\"paddingScheme\":4,"
				 "\"binding\":1,\"encryptedPfxBlob\":\"%s\","
				 "\"encryptedPfxPassword\":\"b25l\",\"keyId\":\"%s\","
				 "\"recipients\":[{\"keyId\":\"%s\","
				 "\"encryptedPfxPassword\":\"dHdv\"}]}",
		user, thumbprint, blob, key, key);

	free(blob);
	free(key);
	return body;
}

static void put_record(struct qrig *q, const char *user, const char *thumbprint)
{
	char *body = record_body(user, thumbprint, "the pfx");

	assert_int_equal(qrig_ask(q, "POST", PFX, body, NULL), 201);
	free(body);
}

static const char *text_of(const json_t *from, const char *name)
{
	const char *text = json_string_value(json_object_get(from, name));

	assert_non_null(text);
	return text;
}

static char *content_token(struct qrig *q)
{
	return qrig_token(q, "contoso", "reader", "[\"pfx:content\"]");
}

/* The content as JSON and its ETag; free both. */
static json_t *read_content(struct qrig *q, const char *path, char **ret_etag)
{
	char *token = content_token(q);
	char *content = cc_asprintf("%s/content", path);
	struct tls_client_reply r = qrig_ask_with(q, token, "GET", content, NULL);
	json_t *json = json_loads(cc_blob_text(&r.body), 0, NULL);
	const char *at = strstr(cc_blob_text(&r.head), "\r\netag: ");

	assert_int_equal(r.status, 200);
	assert_non_null(at);
	at += strlen("\r\netag: ");
	*ret_etag = cc_strndup(cc_view_of(at, strcspn(at, "\r")));
	tls_client_reply_clear(&r);
	free(token);
	free(content);
	return json;
}

/* A refusal must be 412 version_mismatch. */
static int put_if_match(struct qrig *q, const char *path, const char *etag, const char *body)
{
	struct tls_client_reply reply;
	char *request = cc_asprintf("PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
				    "Content-Type: application/json\r\nContent-Length: %zu\r\n"
				    "If-Match: %s\r\n\r\n%s",
		path, q->token, strlen(body), etag, body);
	int status;

	reply = qrig_raw(q, request);
	status = reply.status;
	if (status != 200)
		assert_non_null(strstr(cc_blob_text(&reply.body), "\"version_mismatch\""));
	tls_client_reply_clear(&reply);
	free(request);
	return status;
}

static void records_are_listed_by_page_and_by_user(void **state)
{
	struct qrig *q = *state;
	json_t *page = NULL;
	char *path = cc_strdup(PFX "?user=list-a&limit=2");
	size_t seen = 0;

	put_record(q, "list-a", THUMBPRINT("1"));
	put_record(q, "list-a", THUMBPRINT("2"));
	put_record(q, "list-a", THUMBPRINT("3"));
	put_record(q, "list-b", THUMBPRINT("1"));
	while (path) {
		const char *cursor;
		json_t *record;
		size_t i;

		assert_int_equal(qrig_ask(q, "GET", path, NULL, &page), 200);
		free(path);
		path = NULL;
		json_array_foreach(json_object_get(page, "records"), i, record)
		{
			seen++;
			assert_int_equal(strncmp(text_of(record, "id"), "list-a-", 7), 0);
			assert_null(json_object_get(record, "encryptedPfxBlob"));
			assert_null(json_object_get(record, "encryptedPfxPassword"));
		}
		cursor = json_string_value(json_object_get(page, "next_cursor"));
		if (cursor)
			path = cc_asprintf(PFX "?user=list-a&limit=2&cursor=%s", cursor);
		json_decref(page);
	}
	assert_int_equal(seen, 3);
	assert_int_equal(qrig_ask(q, "GET", PFX, NULL, &page), 200);
	assert_true(json_array_size(json_object_get(page, "records")) >= 4);
	json_decref(page);
	qrig_refused(q, "GET", PFX "?cursor=zz", NULL, 400, "malformed_json");
	qrig_refused(q, "GET", PFX "?limit=501", NULL, 400, "malformed_json");
}

static void content_needs_its_own_scope_and_is_what_was_stored(void **state)
{
	static const char path[] = PFX "/content-" THUMBPRINT("1");
	struct qrig *q = *state;
	char *etag = NULL;
	json_t *content;

	put_record(q, "content", THUMBPRINT("1"));
	qrig_refused(
		q, "GET", PFX "/content-" THUMBPRINT("1") "/content", NULL, 403, "scope_missing");
	content = read_content(q, path, &etag);
	assert_string_equal(text_of(content, "encryptedPfxBlob"), "dGhlIHBmeA==");
	assert_string_equal(text_of(content, "encryptedPfxPassword"), "b25l");
	assert_int_equal(json_array_size(json_object_get(content, "recipients")), 1);
	assert_string_equal(text_of(json_array_get(json_object_get(content, "recipients"), 0),
				    "encryptedPfxPassword"),
		"dHdv");
	json_decref(content);
	free(etag);
}

static void the_token_of_content_may_do_nothing_else(void **state)
{
	struct qrig *q = *state;
	char *token = content_token(q);

	assert_int_equal(qrig_status(qrig_ask_with(q, token, "GET", PFX, NULL)), 403);
	assert_int_equal(qrig_status(qrig_ask_with(q, token, "GET", QRIG_JOBS, NULL)), 403);
	free(token);
}

static void content_goes_back_by_put_only_to_the_version_that_was_read(void **state)
{
	static const char path[] = PFX "/swap-" THUMBPRINT("1");
	struct qrig *q = *state;
	char *etag = NULL, *later = NULL, *body;
	json_t *content, *again;

	put_record(q, "swap", THUMBPRINT("1"));
	content = read_content(q, path, &etag);
	json_object_set_new(content, "encryptedPfxPassword", json_string("bmV3"));
	body = qrig_dump(json_deep_copy(content));
	assert_int_equal(put_if_match(q, path, etag, body), 200);
	again = read_content(q, path, &later);
	assert_string_equal(text_of(again, "encryptedPfxPassword"), "bmV3");
	assert_string_equal(text_of(again, "createdDateTime"), text_of(content, "createdDateTime"));
	assert_string_not_equal(etag, later);
	assert_int_equal(put_if_match(q, path, etag, body), 412); /* it is another one now */
	assert_int_equal(put_if_match(q, path, "\"abc\"", body), 412);
	assert_int_equal(put_if_match(q, path, later, body), 200);
	assert_int_equal(put_if_match(q, path, "*", body), 200);
	json_decref(content);
	json_decref(again);
	free(etag);
	free(later);
	free(body);
}

static void put_replaces_what_is_there_under_this_id(void **state)
{
	static const char path[] = PFX "/put-" THUMBPRINT("1");
	struct qrig *q = *state;
	char *body = record_body("put", THUMBPRINT("1"), "another pfx");
	char *other = record_body("put", THUMBPRINT("2"), "another pfx");
	json_t *before = NULL, *after = NULL;

	qrig_refused(q, "PUT", path, body, 404, "not_found");
	put_record(q, "put", THUMBPRINT("1"));
	assert_int_equal(qrig_ask(q, "GET", path, NULL, &before), 200);
	qrig_refused(q, "PUT", path, other, 422, "key_mismatch");
	qrig_refused(q, "PUT", path, "{\"id\":7}", 400, "malformed_document");
	assert_int_equal(qrig_ask(q, "PUT", path, body, &after), 200);
	assert_string_not_equal(text_of(before, "pfxSha256"), text_of(after, "pfxSha256"));
	json_decref(before);
	json_decref(after);
	free(body);
	free(other);
}

static void a_deleted_record_is_gone(void **state)
{
	static const char path[] = PFX "/delete-" THUMBPRINT("1");
	struct qrig *q = *state;
	struct tls_client_reply r;

	put_record(q, "delete", THUMBPRINT("1"));
	r = qrig_ask_with(q, q->token, "DELETE", path, NULL);
	assert_int_equal(r.status, 204);
	assert_null(strstr(cc_blob_text(&r.head), "content-length"));
	tls_client_reply_clear(&r);
	qrig_refused(q, "GET", path, NULL, 404, "not_found");
	qrig_refused(q, "DELETE", path, NULL, 404, "not_found");
	qrig_refused(q, "DELETE", PFX "/nobody", NULL, 404, "not_found");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_listed_by_page_and_by_user),
		cmocka_unit_test(content_needs_its_own_scope_and_is_what_was_stored),
		cmocka_unit_test(the_token_of_content_may_do_nothing_else),
		cmocka_unit_test(content_goes_back_by_put_only_to_the_version_that_was_read),
		cmocka_unit_test(put_replaces_what_is_there_under_this_id),
		cmocka_unit_test(a_deleted_record_is_gone),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

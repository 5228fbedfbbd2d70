/*
 * Reading a request's parts and writing its answer: JSON by jansson, problems by RFC 9457.
 */
#include "base/log.h"
#include "base/text.h"
#include "cloud-queue/http_int.h"
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER    "2"
#define REPEAT_KEY_MAX 128u

void http_request_free(struct http_request *r)
{
	r->server->requests--;
	r->server->body_bytes -= r->body.size;
	cc_blob_free(&r->body);
	cc_blob_free(&r->headers);
	cc_blob_free(&r->out);
	free(r);
}

struct queue *http_request_queue(const struct http_request *r)
{
	return r->server->queue;
}

cc_view http_request_tenant(const struct http_request *r)
{
	return cc_view_text(r->params[0]);
}

const char *http_request_param(const struct http_request *r, size_t i)
{
	return i + 1 < HTTP_PARAMS_MAX ? r->params[i + 1] : "";
}

cc_view http_request_body(const struct http_request *r)
{
	return cc_blob_view(&r->body);
}

const char *http_request_idempotency_key(const struct http_request *r)
{
	return r->idempotency_key[0] ? r->idempotency_key : NULL;
}

bool http_request_repeat(
	struct http_request *r, uint8_t room[SHA256_SIZE], struct store_repeat *ret)
{
	cc_view key = cc_view_text(r->idempotency_key);

	if (key.size == 0)
		return true;
	if (!text_is_token(key, REPEAT_KEY_MAX)) {
		http_answer_fault(r, 400, "malformed_json",
			"Idempotency-Key is 1 to 128 characters of [A-Za-z0-9._:-]",
			"/Idempotency-Key");
		return false;
	}
	HASH_ITEMS(room, cc_view_text(r->route->path), cc_view_text(r->params[0]),
		cc_view_text(r->params[1]), cc_blob_view(&r->body));
	*ret = (struct store_repeat){.key = key, .request_sha256 = cc_view_of(room, SHA256_SIZE)};
	return true;
}

bool http_request_accepts(const struct http_request *r, const char *type)
{
	return strstr(r->accept, type) != NULL;
}

bool http_request_query(const struct http_request *r, const char *name, cc_view *ret)
{
	size_t n = strlen(name);

	for (const char *at = r->query; *at; at += strcspn(at, "&") + 1) {
		if (strncmp(at, name, n) == 0 && at[n] == '=') {
			*ret = cc_view_of(at + n + 1, strcspn(at + n + 1, "&"));
			return true;
		}
	}
	return false;
}

bool http_request_number(
	struct http_request *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret)
{
	cc_view text = CC_VIEW_NONE;
	char pointer[32], detail[96];

	if (!http_request_query(r, name, &text) || text_to_u64(text, min, max, ret) == CC_OK)
		return true;
	snprintf(pointer, sizeof(pointer), "/%s", name);
	snprintf(detail, sizeof(detail), "%s is %llu to %llu", name, (unsigned long long)min,
		(unsigned long long)max);
	http_answer_fault(r, 400, "malformed_json", detail, pointer);
	return false;
}

bool http_request_if_match(const struct http_request *r, cc_view *ret)
{
	if (!r->if_match[0])
		return false;
	*ret = cc_view_text(r->if_match);
	return true;
}

/* ---- JSON in ---- */

static bool is_member(const char *key, const char *const *members)
{
	for (; *members; members++) {
		if (strcmp(key, *members) == 0)
			return true;
	}
	return false;
}

bool http_request_json(struct http_request *r, const char *const *members, json_t **ret)
{
	json_error_t where;
	json_t *body = json_loadb(
		(const char *)r->body.data, r->body.size, JSON_REJECT_DUPLICATES, &where);
	const char *key;
	json_t *value;
	char detail[256];

	if (!json_is_object(body)) {
		snprintf(detail, sizeof(detail), "line %d, column %d: %s", where.line, where.column,
			body ? "not an object" : where.text);
		json_decref(body);
		http_answer_problem(r, 400, "malformed_json", detail);
		return false;
	}
	json_object_foreach(body, key, value)
	{
		char pointer[64];

		if (is_member(key, members))
			continue;
		snprintf(pointer, sizeof(pointer), "/%s", key);
		json_decref(body);
		http_answer_fault(
			r, 400, "unknown_member", "a member that is not known here", pointer);
		return false;
	}
	*ret = body;
	return true;
}

/* ---- answers ---- */

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"},
		{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
		{409, "Conflict"}, {412, "Precondition Failed"}, {411, "Length Required"},
		{413, "Content Too Large"}, {415, "Unsupported Media Type"},
		{422, "Unprocessable Content"}, {429, "Too Many Requests"},
		{503, "Service Unavailable"}, {507, "Insufficient Storage"}};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Internal Server Error";
}

void http_answer_header(struct http_request *r, const char *name, const char *value)
{
	cc_blob_printf(&r->headers, "%s: %s\r\n", name, value);
}

void http_answer_bytes(struct http_request *r, int status, const char *type, cc_view body)
{
	cc_blob head = CC_BLOB_NONE;

	cc_blob_printf(&head, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
	if (status != 204) /* which has no body by definition */
		cc_blob_printf(
			&head, "content-type: %s\r\ncontent-length: %zu\r\n", type, body.size);
	cc_blob_printf(&head, "x-request-id: %s\r\ncache-control: no-store\r\n", r->request_id);
	if (r->close_after)
		cc_blob_printf(&head, "connection: close\r\n");
	cc_blob_append(&head, cc_blob_view(&r->headers));
	cc_blob_append(&head, cc_view_text("\r\n"));

	r->out = cc_blob_new(LWS_PRE);
	cc_blob_reserve(&r->out, LWS_PRE + head.size + body.size);
	cc_blob_append(&r->out, cc_blob_view(&head));
	cc_blob_append(&r->out, body);
	cc_blob_free(&head);
	http_server_send(r);
}

static void answer_text(struct http_request *r, int status, const char *type, json_t *body)
{
	char *text = json_dumps(body, JSON_COMPACT);

	json_decref(body);
	if (!text) /* only out of memory: all texts were checked to be UTF-8 */
		cc_die("an answer cannot be written as JSON");
	http_answer_bytes(r, status, type, cc_view_text(text));
	free(text);
}

void http_answer_json(struct http_request *r, int status, json_t *body)
{
	answer_text(r, status, "application/json", body);
}

void http_answer_empty(struct http_request *r)
{
	http_answer_bytes(r, 204, NULL, CC_VIEW_NONE);
}

void http_answer_fault(struct http_request *r, int status, const char *code, const char *detail,
	const char *pointer)
{
	bool retryable = status == 429 || status == 503 || status == 507;
	json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:s, s:b, s:s}", "type", "about:blank",
		"title", reason_of(status), "status", status, "code", code, "detail",
		text_is_clean(cc_view_text(detail), 4096) ? detail : "", "retryable", retryable,
		"request_id", r->request_id);

	if (pointer && text_is_clean(cc_view_text(pointer), 256))
		json_object_set_new(body, "errors",
			json_pack("[{s:s, s:s}]", "pointer", pointer, "code", code));
	if (retryable)
		http_answer_header(r, "retry-after", RETRY_AFTER);
	if (status == 401)
		http_answer_header(r, "www-authenticate", "Bearer");
	log_event(EV_PRODUCER_REFUSED, LV_TEXT("tenant", r->params[0]),
		LV_TEXT("request_id", r->request_id), LV_U64("status", (uint64_t)status),
		LV_TEXT("code", code), LV_TEXT("detail", detail));
	answer_text(r, status, "application/problem+json", body);
}

void http_answer_problem(struct http_request *r, int status, const char *code, const char *detail)
{
	http_answer_fault(r, status, code, detail, NULL);
}

void http_answer_not_found(struct http_request *r)
{
	http_answer_problem(r, 404, "not_found", "not found");
}

void http_answer_store_failed(struct http_request *r, cc_err err)
{
	log_event(EV_PRODUCER_REFUSED, LV_TEXT("request_id", r->request_id), LV_ERR(err));
	if (err == CC_FULL)
		http_answer_problem(r, 507, "store_full", "the queue has no room");
	else if (err == CC_TOO_LARGE)
		http_answer_problem(r, 413, "too_large", "a value is larger than the store takes");
	else
		http_answer_problem(r, 503, "unavailable", "the store cannot answer now");
}

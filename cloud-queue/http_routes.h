/*
 * Routes of the producers' API: one table of method, path, scope and handler (http_routes.c).
 *
 * Loop's thread.  openapi.json describes requests and answers; a test compares it with the table.  In
 * short:
 *
 *   POST jobs:batch        as user-pfx:deliver, but any kind of job, and each item is judged by itself:
 *                          200 {["batch_id"], "jobs": [{"status", ...}]}
 *   GET  jobs              {"jobs": [as GET jobs/{id} without result], ["next_cursor"]}
 *   POST jobs/{id}:cancel  202 {"id", "state"}; so does :retry
 *   GET  events            {"events": [{"seq", "job", "state", "at"}], "last_seq"}
 *   POST user-pfx:deliver  {"jobs": [{"document", "document_type", "signatures"}, ..1..100],
 *                           ["priority"], ["batch_id"]}
 *                          202 {"batch_id", "jobs": [{"status": 202|200, "id", "state", ..} or
 *                          {"status": 409, "code", "detail"}]}, in the order of the documents
 *   PUT  signers/{key_id}  {"document", "document_type", "signatures"} -> {"key_id", "revision",
 *                          "not_after", "kinds"}
 *   GET  import-keys       {"keys": [{"key_id", "spki", "holders": [connector ids]}]}
 *   GET  connectors        {"connectors": [{"id", "groups", "online", "last_seen", "version",
 *                          "kinds", "ca_profiles", "result_key": {"key_id", "spki"}, "health"}],
 *                          ["next_cursor"]}
 *   POST user-pfx          201 with the record, as GET user-pfx/{id} shows it: without blob and
 *                          password, with "pfxSha256" and "recipients": [{"keyId", "passwordSha256"}]
 *   POST /v1/enroll        certificate, queue_ca: base64 of DER; chain: a list of such, between the
 *                          two (empty here); job_root: base64 of the SPKI
 *   GET  jobs/{id}/result  application/x-protobuf: the packed certq.v1.ResultBundle as the connector
 *                          brought it; else JSON, the "result" member of GET jobs/{id}
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_request;

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OTHER };

struct http_route {
	enum http_method method;
	const char *path; /* {} stands for one part; the first after /v1/tenants/ is the tenant */
	uint32_t scope;   /* enum store_scope; 0: no authentication */
	void (*handle)(struct http_request *r);
};

/* The route of a request; fills params (each at most `room` - 1 bytes).  NULL: none. */
const struct http_route *http_routes_find(
	enum http_method method, const char *path, char *params, size_t room, size_t count);

/* Each route in turn, then NULL. */
const struct http_route *http_routes_at(size_t i);

/* http_jobs.c */
void http_jobs_post(struct http_request *r);
void http_jobs_get(struct http_request *r);
void http_jobs_result(struct http_request *r);
/* http_list.c, http_steps.c, http_events.c */
void http_list_jobs(struct http_request *r);
void http_steps_cancel(struct http_request *r);
void http_steps_retry(struct http_request *r);
void http_events_get(struct http_request *r);
/* http_pfx.c, http_deliver.c */
void http_pfx_post(struct http_request *r);
void http_pfx_get(struct http_request *r);
void http_pfx_list(struct http_request *r);
void http_pfx_put(struct http_request *r);
void http_pfx_delete(struct http_request *r);
void http_pfx_content(struct http_request *r);
void http_deliver_post(struct http_request *r);
void http_deliver_batch(struct http_request *r);
/* http_admin.c */
void http_admin_signer_put(struct http_request *r);
void http_admin_import_keys(struct http_request *r);
void http_admin_connectors(struct http_request *r);
void http_admin_health(struct http_request *r);
/* http_enroll.c */
void http_enroll_post(struct http_request *r);
/* http_openapi.c */
void http_openapi_get(struct http_request *r);

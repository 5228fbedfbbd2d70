/*
 * Control: the operator's socket of certqueued, RUN/control.sock, a UNIX stream socket of mode 0600.
 *
 * A request is one JSON object on one line (LF), its answer likewise; several may follow each other
 * on one connection, answered in order.  A line is at most 256 KiB.  Whoever may open the socket
 * may do everything that is listed here: the file's mode is the authentication.  Unknown operations
 * and unknown members are refused.
 *
 *   request: {"op": "<name>", ...}
 *   answer:  {"ok": true, ...}  or  {"ok": false, "code": "<stable code>", "detail": "<words>"}
 *
 * Codes: malformed, unknown_op, not_found, conflict, refused, not_due, already, store, internal.
 * Bytes are standard base64 unless said otherwise, key ids lower-case hex, times RFC 3339, jobs
 * "job_..." as producers see them.  Members in [] are optional.
 *
 *   ping                {}                                -> {"version", "connector_port", "producer_port"}
 *   tenant_add          {"tenant", "job_root": SPKI}      -> {"tenant", "job_root_id"}
 *                       The same job root again is ok; another one is `conflict`.
 *   enrolment_token_new {"tenant", "connector_id", ["groups": [..]], ["lifetime_s": 86400]}
 *                       -> {"token": "certq-enroll-1....", "token_id", "not_after"}
 *   producer_token_new  {"tenant", "name", "scopes": [..], ["lifetime_s": 7776000]}
 *                       -> {"token", "not_after"}; scopes: jobs:write jobs:read pfx:write pfx:read
 *                       pfx:content signers:write connectors:read
 *   connector_list      {"tenant"}                        -> {"connectors": [..]}, each as GET
 *                       /v1/tenants/{t}/connectors shows it, and "disabled"
 *   connector_disable   {"tenant", "connector_id", "disabled": bool} -> {}
 *                       A disabled connector's connection is closed at once.
 *   stats               {}  -> {"jobs": {"ready", "leased", "claimed", "parked", "held", "done",
 *                       "dead", "cancelled"}, "connected", "store_bytes", "generation"}
 *   job_show            {"tenant", "job"} -> {"job": as GET /v1/tenants/{t}/jobs/{id}, and in it
 *                       "store_state", "epoch", "run"}
 *   job_takeover        {"tenant", "job"} -> {}  or not_due
 *   job_bury            {"tenant", "job"} -> {}  or already
 *   job_replay          {"tenant", "job"} -> {}  or refused (detail: why)
 *   job_cancel          {"tenant", "job"} -> {}  or already, refused
 *   check               {["cursor": text]} -> {"rows": [..], ["cursor"]}: the rows of jobs and attempts for
 *                       a checker of invariants; without "cursor" in the answer it was the last page
 *
 * Process: certqueued's loop (control_open), and certqueuectl (control_ask, which blocks).
 */
#pragma once

#include "base/blob.h"
#include <jansson.h>

#define CONTROL_SOCKET   "control.sock"
#define CONTROL_LINE_MAX (256u * 1024u)

struct queue;
struct control; /* opaque */

/* Binds the socket in `run_dir` (a stale one of ours is replaced) and serves it. */
cc_err control_open(struct queue *q, const char *run_dir, struct control **ret) CC_MUST_USE;
void control_close(struct control *c); /* accepts NULL; removes the socket */

/* For tools: one request, one answer.  CC_UNREACHABLE when nobody listens.  An answer with
 * "ok": false is CC_OK here; the caller looks.  Free the answer with json_decref. */
cc_err control_ask(
	const char *path, const json_t *request, int64_t timeout_ms, json_t **ret) CC_MUST_USE;

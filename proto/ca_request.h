/*
 * Requests that wait for a person at the embedded CA, as files in the CA's own state directory:
 *
 *	STATE/ca/NAME/local/requests/REFERENCE    what waits; written by the CA, read by the tool
 *	STATE/ca/NAME/local/decisions/REFERENCE   what was decided; written by the tool, taken by the CA
 *
 * Both directories are the CA's user's alone (0700), so who may decide is who may become that user:
 * root, or that user.  No other process of the connector can write there, and no decision passes through
 * one.  A decision names the CSR that was looked at.  Any process; functions without state.
 */
#pragma once

#include "base/hash.h"
#include "ca/v1/request.pb-c.h"

#define CA_REQUEST_VERSION        1
#define CA_REQUEST_REFERENCE_SIZE 17 /* 16 hex digits, and the terminator */
#define CA_REQUEST_REASON_MAX     200u
#define CA_REQUEST_REQUESTS_DIR   "requests"
#define CA_REQUEST_DECISIONS_DIR  "decisions"

/* The same for the same request, always. */
void ca_request_reference(
	cc_view tenant, cc_view job_id, cc_view csr_sha256, char ret[CA_REQUEST_REFERENCE_SIZE]);
bool ca_request_is_reference(const char *text);

/* `dir` is STATE/ca/NAME/local.  Readers check form and that the file is of this reference; free what
 * they give with codec_free.  CC_NOT_FOUND when there is none. */
cc_err ca_request_write(const char *dir, const Ca__PendingRequest *request) CC_MUST_USE;
cc_err ca_request_read(
	const char *dir, const char *reference, Ca__PendingRequest **ret) CC_MUST_USE;
cc_err ca_request_remove(const char *dir, const char *reference) CC_MUST_USE; /* absent is fine */
/* CC_CONFLICT when there is a decision already. */
cc_err ca_request_write_decision(const char *dir, const Ca__RequestDecision *decision) CC_MUST_USE;
cc_err ca_request_read_decision(
	const char *dir, const char *reference, Ca__RequestDecision **ret) CC_MUST_USE;
cc_err ca_request_remove_decision(const char *dir, const char *reference) CC_MUST_USE;

/* Call `fn` for each reference that has a file in `dir`/`folder`; its error ends the walk. */
typedef cc_err (*ca_request_each_fn)(void *arg, const char *reference);
cc_err ca_request_each(
	const char *dir, const char *folder, ca_request_each_fn fn, void *arg) CC_MUST_USE;

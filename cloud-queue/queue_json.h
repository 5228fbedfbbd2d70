/*
 * What the store knows as JSON, in the shapes of the producers' API; the control socket shows the
 * same.  Any thread; no state.  Bytes are base64, key ids and digests lower-case hex, times RFC 3339.
 */
#pragma once

#include "cloud-queue/store.h"
#include <jansson.h>

json_t *queue_json_base64(cc_view bytes);
json_t *queue_json_hex(cc_view bytes);
json_t *queue_json_text(cc_view text); /* empty when it is not clean text */
json_t *queue_json_time(int64_t seconds);
json_t *queue_json_job_id(cc_view job_id);

/* ready leased pending_ca done failed dead cancelled */
const char *queue_json_state(enum store_state state, enum store_dead dead);
bool queue_json_is_final(enum store_state state);

/* A job with its error, without its result. */
json_t *queue_json_job(const struct store_job *job);
/* The "result" member from the packed bundle; `pfx`: the record's copy for a rewrap.  NULL: damaged. */
json_t *queue_json_result(const struct store_job *job, cc_view bundle, cc_view pfx);
json_t *queue_json_connector(const struct store_connector *c);

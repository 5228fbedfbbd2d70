/*
 * userPFXCertificate: Graph's JSON to the stored record and back.
 *
 * Any thread; no state.  Enumerations are taken in any case and written as Graph spells them;
 * PKCS#1 v1.5 and OAEP with SHA-1 are refused.  Our own members beside Graph's: binding, keyId,
 * recipients.
 */
#pragma once

#include "cloud-queue/http_submit.h"

extern const char *const http_graph_members[]; /* what a request may hold; NULL-terminated */

/* False with a fault (400).  Free the record with codec_free. */
bool http_graph_read(
	const json_t *from, int64_t now_s, Queue__PfxRecord **ret, struct http_fault *fault);
/* Without blob and password. */
json_t *http_graph_show(const Queue__PfxRecord *record);
/* With both, in the form that a PUT takes. */
json_t *http_graph_content(const Queue__PfxRecord *record);
/* "{userId}-{thumbprint}": the last '-' splits.  False: not such an id. */
bool http_graph_split_id(cc_view id, cc_view *ret_user, cc_view *ret_thumbprint);
/* ISO 8601 with up to 7 digits of a second and Z or an offset, as .NET writes it. */
bool http_graph_time(cc_view text, int64_t *ret);

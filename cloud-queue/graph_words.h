/*
 * The words of Graph's userPFXCertificate that are ours too: purposes and paddings.
 *
 * Any thread; no state.  Taken in any case, as .NET writes them; spelled as Graph spells them.
 */
#pragma once

#include "certq/v1/job.pb-c.h"
#include <jansson.h>
#include <stdbool.h>

/* As Graph spells it; NULL: not a purpose. */
const char *graph_words_purpose(const json_t *value);
/* A name or Graph's number; `none` is SHA-512.  False: not one that is taken (PKCS#1 v1.5, SHA-1). */
bool graph_words_padding(const json_t *value, Certq__Padding *ret);
const char *graph_words_padding_name(uint32_t padding);

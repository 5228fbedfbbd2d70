/*
 * Text: what came from outside is checked here before it is a name, a path, a key or a log value.
 *
 * Any process, any thread.  Encodings: hex lower case; base64 standard with padding (RFC 4648
 * section 4); base32 lower case without padding (RFC 4648 section 6).  Decoders are strict: no white
 * space, no wrong padding, no bits left over.
 */
#pragma once

#include "base/blob.h"

/* Size of the first character when it is valid UTF-8, else 0. */
size_t text_utf8_char(cc_view text, uint32_t *ret);
/* What may make a reader see other words than are there: controls (C0, DEL, C1), separators of lines, marks that
 * turn the direction of text, and characters without width. */
bool text_is_deceptive(uint32_t point);
/* No NUL, no control character (C0, DEL, C1), valid UTF-8 (shortest form, no surrogates), at most `max` bytes. */
bool text_is_clean(cc_view text, size_t max);
/* 1..max characters of [A-Za-z0-9._:-]. */
bool text_is_token(cc_view text, size_t max);
/* 1..63 of [a-z0-9-], starting with a letter or digit: names of CAs, profiles, connectors, tenants. */
bool text_is_name(cc_view text);
/* For a terminal or a message: words from elsewhere, with '?' for each character that is deceptive,
 * NUL, and each byte that is not UTF-8.  Caller frees. */
char *text_printable(cc_view words);
bool text_equal(cc_view a, const char *b);
bool text_equal_nocase(cc_view a, cc_view b); /* ASCII only */
bool text_ends_nocase(cc_view text, cc_view suffix);
void text_lower_ascii(cc_blob *b);

void text_hex(cc_view bytes, cc_blob *out); /* appends */
char *text_hex_new(cc_view bytes);          /* caller frees */
cc_err text_from_hex(cc_view text, cc_blob *ret) CC_MUST_USE;
void text_base64(cc_view bytes, cc_blob *out);
char *text_base64_new(cc_view bytes);
cc_err text_from_base64(cc_view text, size_t max, cc_blob *ret) CC_MUST_USE;
void text_base32(cc_view bytes, cc_blob *out);
cc_err text_from_base32(cc_view text, size_t max, cc_blob *ret) CC_MUST_USE;

/* "job_" + base32 of 16 bytes, and back. */
#define JOB_ID_SIZE   16
#define JOB_TEXT_SIZE 31 /* with the terminator */
void text_job_id(cc_view job_id, char ret[JOB_TEXT_SIZE]);
cc_err text_from_job_id(cc_view text, uint8_t ret[JOB_ID_SIZE]) CC_MUST_USE;

/* Numbers: the whole text, decimal, within the range. */
cc_err text_to_u64(cc_view text, uint64_t min, uint64_t max, uint64_t *ret) CC_MUST_USE;
/* "90s", "15m", "72h", "365d" to seconds. */
cc_err text_to_seconds(cc_view text, uint64_t max, uint64_t *ret) CC_MUST_USE;
/* RFC 3339 UTC, "2026-11-21T05:00:00Z". */
#define RFC3339_SIZE 32
void text_rfc3339(int64_t seconds, char ret[RFC3339_SIZE]);
cc_err text_from_rfc3339(cc_view text, int64_t *ret) CC_MUST_USE;

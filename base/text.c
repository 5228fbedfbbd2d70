/*
 * Text: checks and encodings for what comes from outside.
 *
 * Hex, base32 and base64 are one thing with 4, 5 or 6 bits in a character, so they share one encoder
 * and one strict decoder; base64 adds its padding around them.
 */
#include "base/text.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- checks ---- */

size_t text_utf8_char(cc_view text, uint32_t *ret)
{
	/* the smallest code point that needs so many bytes: shorter forms only (RFC 3629) */
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (text.size == 0)
		return 0;
	uint8_t first = text.data[0];
	if (first < 0x80) {
		*ret = first;
		return 1;
	}
	size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4 || size > text.size)
		return 0;
	uint32_t point = first & (0xffu >> (size + 1));
	for (size_t i = 1; i < size; i++) {
		if ((text.data[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text.data[i] & 0x3fu);
	}
	if (point < least[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*ret = point;
	return size;
}

bool text_is_deceptive(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c ||
	       (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2060 && point <= 0x2069) || point == 0xfeff;
}

bool text_is_clean(cc_view text, size_t max)
{
	if (text.size > max)
		return false;
	while (text.size > 0) {
		uint32_t point = 0;
		size_t size = text_utf8_char(text, &point);

		if (size == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0))
			return false;
		text = cc_view_part(text, size, text.size);
	}
	return true;
}

static bool is_lower_or_digit(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static uint8_t lower(uint8_t c)
{
	return (uint8_t)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

char *text_printable(cc_view words)
{
	cc_blob out = CC_BLOB_NONE;

	while (words.size > 0) {
		uint32_t point = 0;
		size_t size = text_utf8_char(words, &point);
		bool clean = size > 0 && !text_is_deceptive(point);

		cc_blob_append(&out, clean ? cc_view_part(words, 0, size) : cc_view_text("?"));
		words = cc_view_part(words, size > 0 ? size : 1, words.size);
	}
	(void)cc_blob_text(&out);
	return (char *)cc_blob_move(&out).data;
}

bool text_is_token(cc_view text, size_t max)
{
	if (text.size == 0 || text.size > max)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		uint8_t c = text.data[i];
		if (!is_lower_or_digit(lower(c)) && c != '.' && c != '_' && c != ':' && c != '-')
			return false;
	}
	return true;
}

bool text_is_name(cc_view text)
{
	if (text.size == 0 || text.size > 63 || text.data[0] == '-')
		return false;
	for (size_t i = 0; i < text.size; i++)
		if (!is_lower_or_digit(text.data[i]) && text.data[i] != '-')
			return false;
	return true;
}

bool text_equal(cc_view a, const char *b)
{
	return cc_view_equal(a, cc_view_text(b));
}

bool text_equal_nocase(cc_view a, cc_view b)
{
	if (a.size != b.size)
		return false;
	for (size_t i = 0; i < a.size; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

bool text_ends_nocase(cc_view text, cc_view suffix)
{
	if (suffix.size > text.size)
		return false;
	return text_equal_nocase(cc_view_part(text, text.size - suffix.size, suffix.size), suffix);
}

void text_lower_ascii(cc_blob *b)
{
	for (size_t i = 0; i < b->size; i++)
		b->data[i] = lower(b->data[i]);
}

/* ---- encodings ---- */

static const char hex_digits[] = "0123456789abcdef";
static const char base32_digits[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode(cc_view bytes, unsigned bits, const char *digits, cc_blob *out)
{
	uint32_t pending = 0;
	unsigned count = 0;

	if (bytes.size > SIZE_MAX / 4)
		cc_die("a text of %zu bytes", bytes.size);
	size_t characters = (bytes.size * 8 + bits - 1) / bits;
	cc_blob_reserve(out, out->size + characters);
	for (size_t i = 0; i < bytes.size; i++) {
		pending = pending << 8 | bytes.data[i];
		for (count += 8; count >= bits; count -= bits)
			out->data[out->size++] =
				(uint8_t)digits[pending >> (count - bits) & ((1u << bits) - 1)];
	}
	if (count > 0)
		out->data[out->size++] =
			(uint8_t)digits[pending << (bits - count) & ((1u << bits) - 1)];
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int base32_value(uint8_t c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* A character too many, or bits that are not zero behind the last byte, would make two texts for
 * the same bytes. */
static cc_err decode(cc_view text, unsigned bits, int (*value_of)(uint8_t), const char *what,
	size_t max, cc_blob *ret)
{
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = CC_OK;
	uint32_t pending = 0;
	unsigned count = 0;

	ENSURE(text.size <= SIZE_MAX / 8, cc_fail(CC_TOO_LARGE, "%s: too long", what));
	ENSURE(text.size * bits / 8 <= max,
		cc_fail(CC_TOO_LARGE, "%s: %zu bytes, at most %zu are taken", what,
			text.size * bits / 8, max));
	cc_blob_reserve(&bytes, text.size * bits / 8);
	for (size_t i = 0; i < text.size; i++) {
		int value = value_of(text.data[i]);
		ENSURE(value >= 0,
			cc_fail(CC_MALFORMED, "%s: a wrong character at offset %zu", what, i));
		pending = pending << bits | (uint32_t)value;
		count += bits;
		if (count < 8)
			continue;
		count -= 8;
		bytes.data[bytes.size++] = (uint8_t)(pending >> count);
	}
	ENSURE(count < bits,
		cc_fail(CC_MALFORMED, "%s: a length of %zu is not possible", what, text.size));
	ENSURE((pending & ((1u << count) - 1)) == 0,
		cc_fail(CC_MALFORMED, "%s: bits left over at the end", what));
	*ret = cc_blob_move(&bytes);
out:
	cc_blob_free(&bytes);
	return err;
}

static char *blob_to_text(cc_blob *b)
{
	(void)cc_blob_text(b);
	return (char *)cc_blob_move(b).data;
}

void text_hex(cc_view bytes, cc_blob *out)
{
	encode(bytes, 4, hex_digits, out);
}

char *text_hex_new(cc_view bytes)
{
	cc_blob out = CC_BLOB_NONE;

	text_hex(bytes, &out);
	return blob_to_text(&out);
}

cc_err text_from_hex(cc_view text, cc_blob *ret)
{
	return decode(text, 4, hex_value, "hex", SIZE_MAX, ret);
}

void text_base64(cc_view bytes, cc_blob *out)
{
	encode(bytes, 6, base64_digits, out);
	for (size_t i = bytes.size % 3; i > 0 && i < 3; i++)
		cc_blob_append_byte(out, '=');
}

char *text_base64_new(cc_view bytes)
{
	cc_blob out = CC_BLOB_NONE;

	text_base64(bytes, &out);
	return blob_to_text(&out);
}

cc_err text_from_base64(cc_view text, size_t max, cc_blob *ret)
{
	size_t padding = 0;

	if (text.size % 4 != 0)
		return cc_fail(CC_MALFORMED, "base64: a length of %zu is not possible", text.size);
	while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
		padding++;
	return decode(
		cc_view_part(text, 0, text.size - padding), 6, base64_value, "base64", max, ret);
}

void text_base32(cc_view bytes, cc_blob *out)
{
	encode(bytes, 5, base32_digits, out);
}

cc_err text_from_base32(cc_view text, size_t max, cc_blob *ret)
{
	return decode(text, 5, base32_value, "base32", max, ret);
}

/* ---- job ids ---- */

static const char job_prefix[] = "job_";

void text_job_id(cc_view job_id, char ret[JOB_TEXT_SIZE])
{
	cc_blob out = CC_BLOB_NONE;

	assert(job_id.size == JOB_ID_SIZE);
	text_base32(job_id, &out);
	(void)snprintf(ret, JOB_TEXT_SIZE, "%s%s", job_prefix, cc_blob_text(&out));
	cc_blob_free(&out);
}

cc_err text_from_job_id(cc_view text, uint8_t ret[JOB_ID_SIZE])
{
	const size_t skip = sizeof(job_prefix) - 1;
	cc_blob bytes = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(text.size == JOB_TEXT_SIZE - 1 &&
			text_equal(cc_view_part(text, 0, skip), job_prefix),
		cc_fail(CC_MALFORMED, "job id: not job_ and 26 characters"));
	TRY(text_from_base32(cc_view_part(text, skip, text.size), JOB_ID_SIZE, &bytes));
	memcpy(ret, bytes.data, JOB_ID_SIZE);
out:
	cc_blob_free(&bytes);
	return err;
}

/* ---- numbers and times ---- */

static bool parse_decimal(cc_view text, uint64_t *ret)
{
	uint64_t value = 0;

	if (text.size == 0)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		if (text.data[i] < '0' || text.data[i] > '9' ||
			__builtin_mul_overflow(value, 10u, &value) ||
			__builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value))
			return false;
	}
	*ret = value;
	return true;
}

cc_err text_to_u64(cc_view text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (!parse_decimal(text, &value))
		return cc_fail(CC_MALFORMED, "not a whole number");
	if (value < min || value > max)
		return cc_fail(CC_MALFORMED, "not in the range %llu to %llu",
			(unsigned long long)min, (unsigned long long)max);
	*ret = value;
	return CC_OK;
}

cc_err text_to_seconds(cc_view text, uint64_t max, uint64_t *ret)
{
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	uint64_t value = 0;
	uint64_t unit = 0;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (text.size > 0 && text.data[text.size - 1] == (uint8_t)units[i].letter)
			unit = units[i].seconds;
	if (unit == 0 || !parse_decimal(cc_view_part(text, 0, text.size - 1), &value))
		return cc_fail(CC_MALFORMED, "not a duration such as 90s, 15m, 72h or 365d");
	if (__builtin_mul_overflow(value, unit, &value) || value > max)
		return cc_fail(CC_MALFORMED, "longer than %llus", (unsigned long long)max);
	*ret = value;
	return CC_OK;
}

#define YEAR_0_START  INT64_C(-62167219200)
#define YEAR_9999_END INT64_C(253402300799)

void text_rfc3339(int64_t seconds, char ret[RFC3339_SIZE])
{
	struct tm parts = {0};

	if (seconds < YEAR_0_START)
		seconds = YEAR_0_START;
	if (seconds > YEAR_9999_END)
		seconds = YEAR_9999_END;
	time_t t = (time_t)seconds;
	(void)gmtime_r(&t, &parts);
	(void)snprintf(ret, RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
		(unsigned)(parts.tm_year + 1900) % 10000u, (unsigned)(parts.tm_mon + 1) % 100u,
		(unsigned)parts.tm_mday % 100u, (unsigned)parts.tm_hour % 100u,
		(unsigned)parts.tm_min % 100u, (unsigned)parts.tm_sec % 100u);
}

static int digits_at(cc_view text, size_t from, size_t size)
{
	uint64_t value = 0;

	return parse_decimal(cc_view_part(text, from, size), &value) ? (int)value : -1;
}

/* A form that is written back as it came is valid: the calendar is left to timegm. */
cc_err text_from_rfc3339(cc_view text, int64_t *ret)
{
	char again[RFC3339_SIZE];

	if (text.size != strlen("2026-11-21T05:00:00Z"))
		return cc_fail(CC_MALFORMED, "not a time such as 2026-11-21T05:00:00Z");
	struct tm parts = {
		.tm_year = digits_at(text, 0, 4) - 1900,
		.tm_mon = digits_at(text, 5, 2) - 1,
		.tm_mday = digits_at(text, 8, 2),
		.tm_hour = digits_at(text, 11, 2),
		.tm_min = digits_at(text, 14, 2),
		.tm_sec = digits_at(text, 17, 2),
	};
	int64_t seconds = (int64_t)timegm(&parts);
	text_rfc3339(seconds, again);
	if (!text_equal(text, again))
		return cc_fail(CC_MALFORMED, "not a time such as 2026-11-21T05:00:00Z");
	*ret = seconds;
	return CC_OK;
}

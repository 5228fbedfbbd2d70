/* base/text.c: checks, encodings, numbers and times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"

#define assert_view(view, text) assert_true(cc_view_equal((view), cc_view_text(text)))
#define CLEAN(literal)          text_is_clean(cc_view_of(literal, sizeof(literal) - 1), 100)

static void clean_text_is_utf8_without_controls(void **state)
{
	(void)state;
	assert_true(CLEAN(""));
	assert_true(CLEAN("Zo\xc3\xab \xe2\x82\xac \xf0\x9f\x98\x80"));
	assert_false(CLEAN("a\0b"));
	assert_false(CLEAN("a\nb"));
	assert_false(CLEAN("a\x7f"));
	assert_false(CLEAN("a\xc2\x85")); /* C1: next line */
	assert_true(CLEAN("a\xc2\xa0"));
	assert_true(text_is_clean(cc_view_text("abc"), 3));
	assert_false(text_is_clean(cc_view_text("abcd"), 3));
}

static void utf8_must_be_shortest_whole_and_without_surrogates(void **state)
{
	(void)state;
	assert_false(CLEAN("\xc0\xaf"));         /* overlong / */
	assert_false(CLEAN("\xe0\x80\xaf"));     /* overlong / */
	assert_false(CLEAN("\xf0\x80\x80\xaf")); /* overlong / */
	assert_false(CLEAN("\xed\xa0\x80"));     /* surrogate */
	assert_false(CLEAN("\xf4\x90\x80\x80")); /* above U+10FFFF */
	assert_true(CLEAN("\xf4\x8f\xbf\xbf"));
	assert_true(CLEAN("\xed\x9f\xbf"));
	assert_false(CLEAN("\x80"));
	assert_false(CLEAN("a\xe2\x82")); /* cut */
	assert_false(CLEAN("\xff"));
}

static void tokens_and_names_have_their_letters(void **state)
{
	char name[65];

	(void)state;
	assert_true(text_is_token(cc_view_text("Ab9._:-"), 7));
	assert_false(text_is_token(cc_view_text("Ab9._:-"), 6));
	assert_false(text_is_token(cc_view_text(""), 6));
	assert_false(text_is_token(cc_view_text("a/b"), 6));
	assert_true(text_is_name(cc_view_text("corp-ca")));
	assert_true(text_is_name(cc_view_text("9")));
	assert_false(text_is_name(cc_view_text("-ca")));
	assert_false(text_is_name(cc_view_text("Corp")));
	assert_false(text_is_name(cc_view_text("..")));
	assert_false(text_is_name(cc_view_text("")));
	memset(name, 'a', sizeof(name));
	assert_true(text_is_name(cc_view_of(name, 63)));
	assert_false(text_is_name(cc_view_of(name, 64)));
}

static void case_is_ignored_where_asked(void **state)
{
	cc_blob b = cc_blob_copy(cc_view_text("CONTOSO.com"));

	(void)state;
	assert_true(text_equal(cc_view_text("a"), "a"));
	assert_false(text_equal(cc_view_text("A"), "a"));
	assert_true(text_equal_nocase(cc_view_text("aBc"), cc_view_text("AbC")));
	assert_false(text_equal_nocase(cc_view_text("a@"), cc_view_text("a`")));
	assert_true(text_ends_nocase(cc_view_text("u@Contoso.COM"), cc_view_text("contoso.com")));
	assert_false(text_ends_nocase(cc_view_text("com"), cc_view_text("contoso.com")));
	text_lower_ascii(&b);
	assert_view(cc_blob_view(&b), "contoso.com");
	cc_blob_free(&b);
}

/* RFC 4648 section 10 */
static void encodings_give_the_vectors_of_the_rfc(void **state)
{
	static const struct {
		const char *bytes, *base64, *base32, *hex;
	} vectors[] = {
		{"", "", "", ""},
		{"f", "Zg==", "my", "66"},
		{"fo", "Zm8=", "mzxq", "666f"},
		{"foo", "Zm9v", "mzxw6", "666f6f"},
		{"foob", "Zm9vYg==", "mzxw6yq", "666f6f62"},
		{"fooba", "Zm9vYmE=", "mzxw6ytb", "666f6f6261"},
		{"foobar", "Zm9vYmFy", "mzxw6ytboi", "666f6f626172"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		cc_view bytes = cc_view_text(vectors[i].bytes);
		char *base64 = text_base64_new(bytes);
		char *hex = text_hex_new(bytes);
		cc_blob out = CC_BLOB_NONE;

		assert_string_equal(base64, vectors[i].base64);
		assert_string_equal(hex, vectors[i].hex);
		text_base32(bytes, &out);
		assert_view(cc_blob_view(&out), vectors[i].base32);
		cc_blob_free(&out);
		assert_int_equal(text_from_base64(cc_view_text(base64), 6, &out), CC_OK);
		assert_view(cc_blob_view(&out), vectors[i].bytes);
		cc_blob_free(&out);
		assert_int_equal(text_from_base32(cc_view_text(vectors[i].base32), 6, &out), CC_OK);
		assert_view(cc_blob_view(&out), vectors[i].bytes);
		cc_blob_free(&out);
		assert_int_equal(text_from_hex(cc_view_text(hex), &out), CC_OK);
		assert_view(cc_blob_view(&out), vectors[i].bytes);
		cc_blob_free(&out);
		free(base64);
		free(hex);
	}
}

static void every_byte_survives_every_encoding(void **state)
{
	uint8_t bytes[256];
	cc_blob text = CC_BLOB_NONE;
	cc_blob back = CC_BLOB_NONE;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 3);
	cc_view view = cc_view_of(bytes, sizeof(bytes));
	text_base64(view, &text);
	assert_int_equal(text_from_base64(cc_blob_view(&text), 256, &back), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&back), view));
	cc_blob_free(&back);
	cc_blob_clear(&text);
	text_base32(view, &text);
	assert_int_equal(text_from_base32(cc_blob_view(&text), 256, &back), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&back), view));
	cc_blob_free(&back);
	cc_blob_free(&text);
}

static void decoders_refuse_what_an_encoder_never_makes(void **state)
{
	static const char *const wrong64[] = {"Zg", "Zg=", "Zg= =", "Zh==", "Zm9=", "Zg==Zg==", "=",
		"====", "A===", " Zm9v", "Zm9v\n", "Zm-_", "Zg==\n\n\n\n"};
	static const char *const wrong32[] = {
		"m", "mz=", "MY", "mz", "mzx", "mzxw6y", "m1", "my======"};
	static const char *const wrong_hex[] = {"6", "6G", "AB", "0x", " 1"};
	cc_blob out = CC_BLOB_NONE;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong64) / sizeof(wrong64[0]); i++)
		assert_int_equal(
			text_from_base64(cc_view_text(wrong64[i]), 100, &out), CC_MALFORMED);
	for (size_t i = 0; i < sizeof(wrong32) / sizeof(wrong32[0]); i++)
		assert_int_equal(
			text_from_base32(cc_view_text(wrong32[i]), 100, &out), CC_MALFORMED);
	for (size_t i = 0; i < sizeof(wrong_hex) / sizeof(wrong_hex[0]); i++)
		assert_int_equal(text_from_hex(cc_view_text(wrong_hex[i]), &out), CC_MALFORMED);
	assert_null(out.data);
}

static void a_limit_is_kept_before_decoding(void **state)
{
	cc_blob out = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(text_from_base64(cc_view_text("Zm9vYg=="), 3, &out), CC_TOO_LARGE);
	assert_int_equal(text_from_base32(cc_view_text("mzxw6yq"), 3, &out), CC_TOO_LARGE);
	assert_null(out.data);
}

static void a_job_id_is_written_and_read(void **state)
{
	uint8_t id[JOB_ID_SIZE];
	uint8_t back[JOB_ID_SIZE] = {0};
	char text[JOB_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(id); i++)
		id[i] = (uint8_t)(0xf0 + i);
	text_job_id(cc_view_of(id, sizeof(id)), text);
	assert_int_equal(strlen(text), JOB_TEXT_SIZE - 1);
	assert_memory_equal(text, "job_", 4);
	assert_int_equal(text_from_job_id(cc_view_text(text), back), CC_OK);
	assert_memory_equal(id, back, sizeof(id));
	assert_int_equal(text_from_job_id(cc_view_text("job_"), back), CC_MALFORMED);
	assert_int_equal(text_from_job_id(cc_view_text(text + 1), back), CC_MALFORMED);
	text[3] = '-';
	assert_int_equal(text_from_job_id(cc_view_text(text), back), CC_MALFORMED);
	text[3] = '_';
	text[JOB_TEXT_SIZE - 2] = 'b'; /* bits left over: a second text for the same id */
	assert_int_equal(text_from_job_id(cc_view_text(text), back), CC_MALFORMED);
}

static void a_number_is_the_whole_text_and_in_range(void **state)
{
	uint64_t n = 99;

	(void)state;
	assert_int_equal(text_to_u64(cc_view_text("0"), 0, 10, &n), CC_OK);
	assert_int_equal(n, 0);
	assert_int_equal(
		text_to_u64(cc_view_text("18446744073709551615"), 0, UINT64_MAX, &n), CC_OK);
	assert_true(n == UINT64_MAX);
	n = 99;
	assert_int_equal(
		text_to_u64(cc_view_text("18446744073709551616"), 0, UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(text_to_u64(cc_view_text(""), 0, 10, &n), CC_MALFORMED);
	assert_int_equal(text_to_u64(cc_view_text("+1"), 0, 10, &n), CC_MALFORMED);
	assert_int_equal(text_to_u64(cc_view_text("1 "), 0, 10, &n), CC_MALFORMED);
	assert_int_equal(text_to_u64(cc_view_text("11"), 0, 10, &n), CC_MALFORMED);
	assert_string_equal(cc_err_detail(CC_MALFORMED), "not in the range 0 to 10");
	assert_int_equal(n, 99);
}

static void a_duration_has_one_unit(void **state)
{
	uint64_t n = 99;

	(void)state;
	assert_int_equal(text_to_seconds(cc_view_text("90s"), UINT64_MAX, &n), CC_OK);
	assert_int_equal(n, 90);
	assert_int_equal(text_to_seconds(cc_view_text("15m"), UINT64_MAX, &n), CC_OK);
	assert_int_equal(n, 900);
	assert_int_equal(text_to_seconds(cc_view_text("72h"), 259200, &n), CC_OK);
	assert_int_equal(n, 259200);
	assert_int_equal(text_to_seconds(cc_view_text("365d"), UINT64_MAX, &n), CC_OK);
	assert_int_equal(n, 31536000);
	n = 99;
	assert_int_equal(text_to_seconds(cc_view_text("73h"), 259200, &n), CC_MALFORMED);
	assert_int_equal(text_to_seconds(cc_view_text("90"), UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(text_to_seconds(cc_view_text("h"), UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(text_to_seconds(cc_view_text(""), UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(text_to_seconds(cc_view_text("1h30m"), UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(
		text_to_seconds(cc_view_text("999999999999999999d"), UINT64_MAX, &n), CC_MALFORMED);
	assert_int_equal(n, 99);
}

static void a_time_is_written_and_read(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} times[] = {
		{0, "1970-01-01T00:00:00Z"},
		{1795237200, "2026-11-21T05:00:00Z"},
		{951782400, "2000-02-29T00:00:00Z"},
		{-1, "1969-12-31T23:59:59Z"},
		{INT64_C(253402300799), "9999-12-31T23:59:59Z"},
		{INT64_C(4102444800), "2100-01-01T00:00:00Z"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		char text[RFC3339_SIZE];
		int64_t back = 42;

		text_rfc3339(times[i].seconds, text);
		assert_string_equal(text, times[i].text);
		assert_int_equal(text_from_rfc3339(cc_view_text(text), &back), CC_OK);
		assert_true(back == times[i].seconds);
	}
}

static void a_time_that_is_not_in_the_calendar_is_refused(void **state)
{
	static const char *const wrong[] = {"", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01t00:00:00z",
		"2026-01-01 00:00:00Z", "2026-01-01T00:00:00+00:00", "2026-1-01T00:00:00ZZ",
		"2100-02-29T00:00:00Z", "+026-01-01T00:00:00Z", "2026-00-10T00:00:00Z"};
	int64_t seconds = 42;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(text_from_rfc3339(cc_view_text(wrong[i]), &seconds), CC_MALFORMED);
	assert_int_equal(seconds, 42);
}

static void clocks_can_be_shifted(void **state)
{
	int64_t real = clock_realtime_ms();
	int64_t boot = clock_boottime_ms();

	(void)state;
	clock_shift_for_test(3600000, -1000000);
	assert_in_range(clock_realtime_ms() - real, 3600000, 3610000);
	assert_in_range(clock_boottime_ms() + 1000000 - boot, 0, 10000);
	assert_in_range(clock_realtime_s() - real / 1000, 3600, 3611);
	clock_shift_for_test(0, 0);
}

static void words_from_elsewhere_cannot_steer_a_terminal(void **state)
{
	static const char words[] = "a\033[2J\0b\n\302\233\377 \303\244";
	char *shown = text_printable(cc_view_of(words, sizeof(words) - 1));

	(void)state;
	assert_string_equal(shown, "a?[2J?b??? \303\244");
	free(shown);
	shown = text_printable(CC_VIEW_NONE);
	assert_string_equal(shown, "");
	free(shown);
}

static void words_from_elsewhere_cannot_look_like_others(void **state)
{
	/* right to left, an isolate, no width, a soft hyphen, and letters that stay */
	char *shown = text_printable(
		cc_view_text("ph\u202eno\u2066e\u200b \u00adal\u061cice \u00e9\u2060"));

	(void)state;
	assert_string_equal(shown, "ph?no?e? ?al?ice \u00e9?");
	free(shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_from_elsewhere_cannot_steer_a_terminal),
		cmocka_unit_test(words_from_elsewhere_cannot_look_like_others),
		cmocka_unit_test(clean_text_is_utf8_without_controls),
		cmocka_unit_test(utf8_must_be_shortest_whole_and_without_surrogates),
		cmocka_unit_test(tokens_and_names_have_their_letters),
		cmocka_unit_test(case_is_ignored_where_asked),
		cmocka_unit_test(encodings_give_the_vectors_of_the_rfc),
		cmocka_unit_test(every_byte_survives_every_encoding),
		cmocka_unit_test(decoders_refuse_what_an_encoder_never_makes),
		cmocka_unit_test(a_limit_is_kept_before_decoding),
		cmocka_unit_test(a_job_id_is_written_and_read),
		cmocka_unit_test(a_number_is_the_whole_text_and_in_range),
		cmocka_unit_test(a_duration_has_one_unit),
		cmocka_unit_test(a_time_is_written_and_read),
		cmocka_unit_test(a_time_that_is_not_in_the_calendar_is_refused),
		cmocka_unit_test(clocks_can_be_shifted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

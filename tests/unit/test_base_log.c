/* base/log.c: what a line looks like, and that no value can break out of its field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

static int pipe_read = -1;
static int real_stderr = -1;
static char line[8192];

/* stderr is a pipe while a line is written */
static int catch_stderr(void **state)
{
	int ends[2];

	(void)state;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	(void)dup2(ends[1], STDERR_FILENO);
	(void)close(ends[1]);
	pipe_read = ends[0];
	clock_shift_for_test(INT64_C(1795237200123) - clock_realtime_ms(), 0);
	return 0;
}

static int release_stderr(void **state)
{
	(void)state;
	(void)dup2(real_stderr, STDERR_FILENO);
	(void)close(real_stderr);
	(void)close(pipe_read);
	clock_shift_for_test(0, 0);
	return 0;
}

/* The line behind its time, without the newline; "" when nothing was written. */
static const char *logged(void)
{
	ssize_t size = read(pipe_read, line, sizeof(line) - 1);

	if (size <= 0)
		return "";
	line[size] = '\0';
	assert_int_equal(line[size - 1], '\n');
	line[size - 1] = '\0';
	assert_null(strchr(line, '\n'));
	const char *rest = strchr(line, 'Z');
	assert_non_null(rest);
	return rest + 1;
}

static void a_line_has_time_level_number_name_and_role(void **state)
{
	(void)state;
	log_init("keyvault", LOG_LOGFMT, LOG_INFO_);
	log_event(EV_STARTED, LV_TEXT("version", "1.0"), LV_U64("n", 0), LV_I64("d", -5));
	assert_string_equal(
		logged(), " level=notice event=1 name=started role=keyvault version=1.0 n=0 d=-5");
	assert_memory_equal(line, "time=2026-11-21T05:00:0", 23);
}

static void a_line_in_json_is_one_object(void **state)
{
	(void)state;
	log_init("keyvault", LOG_JSON, LOG_INFO_);
	log_event(EV_STARTED, LV_TEXT("reason", "a \"b\" \\ \n\x01"), LV_U64("n", 7));
	assert_string_equal(logged(),
		"\",\"level\":\"notice\",\"event\":1,\"name\":\"started\",\"role\":\"keyvault\","
		"\"reason\":\"a \\\"b\\\" \\\\ \\n\\u0001\",\"n\":7}");
	assert_memory_equal(line, "{\"time\":\"2026-", 14);
}

static void empty_values_are_left_out(void **state)
{
	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	log_event(EV_STARTED, LV_TEXT("a", NULL), LV_TEXT("b", ""), LV_VIEW("c", CC_VIEW_NONE),
		LV_HEX("d", CC_VIEW_NONE), LV_ERR(CC_OK), LV_JOB(CC_VIEW_NONE));
	assert_string_equal(logged(), " level=notice event=1 name=started");
}

static void a_value_cannot_forge_a_field_or_a_line(void **state)
{
	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	log_event(EV_STARTED, LV_TEXT("a", "x level=error"), LV_TEXT("b", "y\nname=fatal"),
		LV_TEXT("c", "\" z=\"1"), LV_TEXT("d", "p=q"), LV_TEXT("e", "back\\slash"));
	assert_string_equal(logged(),
		" level=notice event=1 name=started a=\"x level=error\" b=\"y\\nname=fatal\" "
		"c=\"\\\" z=\\\"1\" d=\"p=q\" e=\"back\\\\slash\"");
}

static void a_value_cannot_steer_a_terminal(void **state)
{
	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	log_event(EV_STARTED, LV_TEXT("a", "\x1b[2J"),
		LV_TEXT("b", "\xc2\x9b"
			     "2J"),
		LV_TEXT("c", "x\xe2\x80\xae"
			     "y"),
		LV_TEXT("d", "Zo\xc3\xab"));
	assert_string_equal(logged(),
		" level=notice event=1 name=started a=\"\\u001b[2J\" b=\"\\u009b2J\" "
		"c=\"x\\u202ey\" d=\"Zo\xc3\xab\"");
}

static void bytes_that_are_not_utf8_are_escaped(void **state)
{
	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	log_event(EV_STARTED, LV_VIEW("a", cc_view_of("x\xff\x00\xe2\x82", 5)));
	assert_string_equal(
		logged(), " level=notice event=1 name=started a=\"x\\xff\\u0000\\xe2\\x82\"");
	log_init("", LOG_JSON, LOG_INFO_);
	log_event(EV_STARTED, LV_VIEW("a", cc_view_of("x\xff", 2)));
	assert_string_equal(logged(),
		"\",\"level\":\"notice\",\"event\":1,\"name\":\"started\",\"a\":\"x\\\\xff\"}");
}

static void jobs_hashes_and_failures_have_their_form(void **state)
{
	uint8_t id[JOB_ID_SIZE] = {0};

	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	cc_err err = cc_fail(CC_NOT_FOUND, "no key %d", 7);
	log_event(EV_STARTED, LV_JOB(cc_view_of(id, sizeof(id))),
		LV_HEX("spki", cc_view_text("\x01\xab")), LV_ERR(err));
	assert_string_equal(logged(),
		" level=notice event=1 name=started job=job_aaaaaaaaaaaaaaaaaaaaaaaaaa spki=01ab "
		"error=not_found detail=\"no key 7\"");
	log_event(EV_STARTED, LV_JOB(cc_view_of(id, 2)));
	assert_string_equal(logged(), " level=notice event=1 name=started job=0000");
}

static void events_below_the_least_level_are_silent(void **state)
{
	(void)state;
	log_init("", LOG_LOGFMT, LOG_WARNING_);
	log_event(EV_STARTED, LV_TEXT("a", "b"));
	assert_string_equal(logged(), "");
	log_event(EV_FATAL, LV_TEXT("a", "b"));
	assert_string_equal(logged(), " level=error event=3 name=fatal a=b");
}

static void a_long_line_is_cut_between_characters(void **state)
{
	char value[9001] = {0};

	(void)state;
	for (size_t i = 0; i < 9000; i += 3) /* U+20AC, three bytes */
		memcpy(value + i, "\xe2\x82\xac", 3);
	for (int json = 0; json < 2; json++) {
		for (size_t shift = 0; shift < 4; shift++) {
			const char *end = json ? "\",\"cut\":true}" : "\" cut=true";

			log_init(&"role"[shift], json ? LOG_JSON : LOG_LOGFMT, LOG_INFO_);
			log_event(EV_STARTED, LV_TEXT("a", value), LV_TEXT("b", "lost"));
			(void)logged();
			size_t size = strlen(line);
			assert_in_range(size, 4000, 4095);
			assert_string_equal(line + size - strlen(end), end);
			assert_true(text_is_clean(cc_view_of(line, size), size));
			assert_null(strstr(line, "lost"));
		}
	}
}

static void many_values_never_overrun_the_line(void **state)
{
	struct log_value values[400];

	(void)state;
	log_init("", LOG_LOGFMT, LOG_INFO_);
	for (size_t first = 1; first < 40; first++) {
		for (size_t i = 0; i < 400; i++)
			values[i] = LV_TEXT("key", "a value"); /* quoted: 14 bytes with its space */
		values[0] = LV_VIEW(
			"x", cc_view_of("yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", first));
		log_write(EV_STARTED, values, 400);
		(void)logged();
		size_t size = strlen(line);
		assert_in_range(size, 4000, 4095);
		assert_string_equal(line + size - 9, " cut=true");
	}
}

static void the_table_of_events_is_whole(void **state)
{
	size_t count = 0;

	(void)state;
	for (const struct event_info *e; (e = event_at(count)) != NULL; count++) {
		assert_ptr_equal(event_find(e->number), e); /* no number twice */
		assert_true(text_is_token(cc_view_text(e->name), 47));
		assert_true(e->meaning[0] != '\0');
		for (size_t i = 0; i < count; i++)
			assert_string_not_equal(event_at(i)->name, e->name);
	}
	assert_true(count > 50);
	assert_null(event_find(999999));
	assert_string_equal(event_find(1050)->name, "pkcs_issued_success");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_line_has_time_level_number_name_and_role, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			a_line_in_json_is_one_object, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			empty_values_are_left_out, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			a_value_cannot_forge_a_field_or_a_line, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			a_value_cannot_steer_a_terminal, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			bytes_that_are_not_utf8_are_escaped, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			jobs_hashes_and_failures_have_their_form, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			events_below_the_least_level_are_silent, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			a_long_line_is_cut_between_characters, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(
			many_values_never_overrun_the_line, catch_stderr, release_stderr),
		cmocka_unit_test(the_table_of_events_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

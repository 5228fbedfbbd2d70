/*
 * The queue's addresses: in which order they are tried, and what a text of the configuration means.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "connector/addresses.h"
#include <stdlib.h>

static struct identity identity = {.host = (char *)(uintptr_t) "queue.example", .port = 8443};

static int setup(void **state)
{
	static char *more[] = {(char *)(uintptr_t) "10.0.0.7:443",
		(char *)(uintptr_t) "wss://queue2.example:9443"};
	struct addresses *a = NULL;
	clock_shift_for_test(0, 0);
	assert_int_equal(addresses_new(&identity, more, 2, &a), CC_OK);
	*state = a;
	return 0;
}

static int teardown(void **state)
{
	clock_shift_for_test(0, 0);
	addresses_free(*state);
	return 0;
}

static void begins_with(struct addresses *a, uint16_t port)
{
	addresses_begin_round(a);
	assert_int_equal(addresses_current(a)->port, port);
}

static void a_round_tries_each_once_and_begins_with_the_first(void **state)
{
	struct addresses *a = *state;
	for (int round = 0; round < 3; round++) {
		begins_with(a, 8443);
		assert_true(addresses_next(a));
		assert_int_equal(addresses_current(a)->port, 443);
		assert_true(addresses_next(a));
		assert_int_equal(addresses_current(a)->port, 9443);
		assert_false(addresses_next(a));
	}
}

static void a_url_shows_its_own_name_and_a_place_to_dial_that_of_the_queue(void **state)
{
	struct addresses *a = *state;
	addresses_begin_round(a);
	assert_string_equal(addresses_current(a)->name, "queue.example");
	addresses_next(a);
	assert_string_equal(addresses_current(a)->host, "10.0.0.7");
	assert_string_equal(addresses_current(a)->name, "queue.example");
	addresses_next(a);
	assert_string_equal(addresses_current(a)->host, "queue2.example");
	assert_string_equal(addresses_current(a)->name, "queue2.example");
}

static void one_that_worked_is_kept_until_the_first_had_its_rest(void **state)
{
	struct addresses *a = *state;
	begins_with(a, 8443);
	addresses_next(a);
	addresses_opened(a);
	clock_shift_for_test(0, ADDRESSES_SHORT_MS + 1000);
	addresses_ended(a);
	begins_with(a, 443);
	clock_shift_for_test(0, ADDRESSES_PREFER_MS + 1000);
	begins_with(a, 8443);
}

static void a_connection_that_lived_shortly_sends_us_on(void **state)
{
	struct addresses *a = *state;
	begins_with(a, 8443);
	addresses_opened(a);
	addresses_ended(a);
	begins_with(a, 443);
	addresses_opened(a);
	clock_shift_for_test(0, ADDRESSES_SHORT_MS + 1000);
	addresses_ended(a);
	begins_with(a, 443);
}

static void a_single_address_is_dialled_again_and_again(void **state)
{
	struct addresses *a = NULL;
	(void)state;
	assert_int_equal(addresses_new(&identity, NULL, 0, &a), CC_OK);
	for (int round = 0; round < 3; round++) {
		begins_with(a, 8443);
		assert_false(addresses_next(a));
	}
	begins_with(a, 8443);
	addresses_opened(a);
	addresses_ended(a);
	begins_with(a, 8443);
	addresses_free(a);
}

static void what_is_no_address_is_refused(void **state)
{
	static const char *const bad[] = {"", "queue.example", "queue.example:", ":443",
		"queue.example:0", "queue.example:65536", "wss://queue.example",
		"https://queue.example:443", "queue example:443", "wss://queue.example:443/path"};
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(addresses_check(cc_view_text(bad[i])), CC_OK);
	assert_int_equal(addresses_check(cc_view_text("[2001:db8::1]:443")), CC_OK);
	assert_int_equal(addresses_check(cc_view_text("wss://[::1]:443")), CC_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_round_tries_each_once_and_begins_with_the_first),
		TEST(a_url_shows_its_own_name_and_a_place_to_dial_that_of_the_queue),
		TEST(one_that_worked_is_kept_until_the_first_had_its_rest),
		TEST(a_connection_that_lived_shortly_sends_us_on),
		TEST(a_single_address_is_dialled_again_and_again),
		TEST(what_is_no_address_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

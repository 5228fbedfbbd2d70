/* base/blob.c, base/err.c: views, blobs, secrets, and the detail of failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/blob.h"

#define assert_view(view, text) assert_true(cc_view_equal((view), cc_view_text(text)))

/* ---- errors ---- */

static void a_failure_has_code_detail_name_and_category(void **state)
{
	(void)state;
	assert_int_equal(cc_fail(CC_NOT_FOUND, "key %d is %s", 7, "absent"), CC_NOT_FOUND);
	assert_string_equal(cc_err_detail(CC_NOT_FOUND), "key 7 is absent");
	assert_string_equal(cc_err_name(CC_NOT_FOUND), "not_found");
	assert_string_equal(cc_err_name(CC_BAD_SIGNATURE), "bad_signature");
	assert_int_equal(cc_err_category(CC_NOT_FOUND), CC_CAT_REJECTED);
	assert_int_equal(cc_err_category(CC_AGAIN), CC_CAT_RETRY_LATER);
	assert_string_equal(cc_err_name((cc_err)9999), "internal");
}

static void the_detail_of_another_code_is_that_codes_own_text(void **state)
{
	(void)state;
	(void)cc_fail(CC_IO, "disk");
	assert_string_equal(cc_err_detail(CC_EXPIRED), "past its time");
}

static void words_go_in_front_of_a_detail(void **state)
{
	(void)state;
	(void)cc_fail(CC_IO, "disk");
	assert_int_equal(cc_fail_in(CC_IO, "journal"), CC_IO);
	assert_string_equal(cc_err_detail(CC_IO), "journal: disk");
	(void)cc_fail_in(CC_CORRUPT, "store: ");
	assert_string_equal(cc_err_detail(CC_CORRUPT), "store: journal: disk");
}

static void the_detail_may_be_an_argument_of_the_next_failure(void **state)
{
	(void)state;
	(void)cc_fail(CC_IO, "disk");
	(void)cc_fail(CC_IO, "a (%s) b", cc_err_detail(CC_IO));
	assert_string_equal(cc_err_detail(CC_IO), "a (disk) b");
	(void)cc_fail_in(CC_IO, "%s", cc_err_detail(CC_IO));
	assert_string_equal(cc_err_detail(CC_IO), "a (disk) b: a (disk) b");
}

static void a_long_detail_is_cut_between_characters(void **state)
{
	char text[601] = {0};

	(void)state;
	for (size_t i = 0; i < 600; i += 2) { /* U+00E4, two bytes */
		text[i] = (char)0xc3;
		text[i + 1] = (char)0xa4;
	}
	(void)cc_fail(CC_IO, "%s", text);
	assert_int_equal(strlen(cc_err_detail(CC_IO)), 510);
	(void)cc_fail(CC_IO, "x%s", text);
	assert_int_equal(strlen(cc_err_detail(CC_IO)), 511);
}

static void errno_becomes_a_code_and_words(void **state)
{
	(void)state;
	errno = ENOENT;
	assert_int_equal(cc_fail_errno("/x"), CC_NOT_FOUND);
	assert_string_equal(cc_err_detail(CC_NOT_FOUND), "/x: No such file or directory");
	errno = ENOSPC;
	assert_int_equal(cc_fail_errno("/x"), CC_FULL);
	errno = EIO;
	assert_int_equal(cc_fail_errno("/x"), CC_IO);
}

static void the_openssl_queue_is_told_and_drained(void **state)
{
	(void)state;
	ERR_raise_data(ERR_LIB_USER, ERR_R_PASSED_NULL_PARAMETER, "which=%d", 3);
	ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
	assert_int_equal(cc_fail_openssl("making a key"), CC_CRYPTO);
	assert_string_equal(cc_err_detail(CC_CRYPTO),
		"making a key: passed a null parameter (which=3): malloc failure");
	assert_int_equal(ERR_peek_error(), 0);
	(void)cc_fail_openssl("nothing");
	assert_string_equal(cc_err_detail(CC_CRYPTO), "nothing");
}

static void *fail_elsewhere(void *arg)
{
	(void)cc_fail(CC_IO, "of the other thread");
	return arg;
}

static void each_thread_has_its_own_detail(void **state)
{
	pthread_t thread;

	(void)state;
	(void)cc_fail(CC_IO, "mine");
	assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(cc_err_detail(CC_IO), "mine");
}

/* ---- views ---- */

static void a_part_of_a_view_is_clamped(void **state)
{
	cc_view whole = cc_view_text("abcdef");

	(void)state;
	assert_view(cc_view_part(whole, 1, 2), "bc");
	assert_view(cc_view_part(whole, 4, SIZE_MAX), "ef");
	assert_int_equal(cc_view_part(whole, 6, 1).size, 0);
	assert_int_equal(cc_view_part(whole, SIZE_MAX, 1).size, 0);
	assert_int_equal(cc_view_text(NULL).size, 0);
}

static void views_compare_like_words_in_a_dictionary(void **state)
{
	(void)state;
	assert_true(cc_view_compare(cc_view_text("ab"), cc_view_text("abc")) < 0);
	assert_true(cc_view_compare(cc_view_text("b"), cc_view_text("abc")) > 0);
	assert_true(cc_view_compare(cc_view_text("a"), cc_view_of("\xff", 1)) < 0);
	assert_int_equal(cc_view_compare(CC_VIEW_NONE, CC_VIEW_NONE), 0);
	assert_true(cc_view_equal(CC_VIEW_NONE, cc_view_text("")));
	assert_true(cc_view_equal_secret(cc_view_text("pw"), cc_view_text("pw")));
	assert_false(cc_view_equal_secret(cc_view_text("pw"), cc_view_text("pW")));
	assert_false(cc_view_equal_secret(cc_view_text("pw"), cc_view_text("pw1")));
}

/* ---- blobs ---- */

static void a_blob_grows_by_what_is_appended(void **state)
{
	cc_blob b = CC_BLOB_NONE;

	(void)state;
	cc_blob_append(&b, cc_view_text("n="));
	cc_blob_printf(&b, "%d;", 42);
	cc_blob_append_byte(&b, 'x');
	assert_view(cc_blob_view(&b), "n=42;x");
	assert_string_equal(cc_blob_text(&b), "n=42;x");
	assert_int_equal(b.size, 6);
	cc_blob_clear(&b);
	assert_int_equal(b.size, 0);
	assert_true(b.room > 0);
	cc_blob_free(&b);
	assert_null(b.data);
	cc_blob_free(&b);
	cc_blob_free(NULL);
}

static void a_blob_can_be_appended_to_itself(void **state)
{
	cc_blob b = cc_blob_copy(cc_view_text("0123456789"));

	(void)state;
	for (int i = 0; i < 4; i++)
		cc_blob_append(&b, cc_blob_view(&b));
	assert_int_equal(b.size, 160);
	for (size_t i = 0; i < b.size; i++)
		assert_int_equal(b.data[i], '0' + i % 10);
	cc_blob_free(&b);
}

static void numbers_are_big_endian(void **state)
{
	cc_blob b = CC_BLOB_NONE;

	(void)state;
	cc_blob_append_u32(&b, 0x01020304);
	cc_blob_append_u64(&b, UINT64_C(0xf102030405060708));
	assert_memory_equal(b.data, "\x01\x02\x03\x04\xf1\x02\x03\x04\x05\x06\x07\x08", 12);
	assert_int_equal(cc_get_u32(b.data), 0x01020304);
	assert_true(cc_get_u64(b.data + 4) == UINT64_C(0xf102030405060708));
	cc_blob_free(&b);
}

static void a_blob_is_handed_over(void **state)
{
	cc_blob a = cc_blob_take(strdup("abc"), 3);
	cc_blob b = cc_blob_move(&a);

	(void)state;
	assert_null(a.data);
	assert_int_equal(a.size, 0);
	assert_view(cc_blob_view(&b), "abc");
	cc_blob_free(&b);
	b = cc_blob_new(3);
	assert_memory_equal(b.data, "\0\0\0", 3);
	cc_blob_free(&b);
}

static void memory_of_no_size_is_not_null(void **state)
{
	char *text = cc_asprintf("%s-%d", "a", 1);
	char *copy = cc_strndup(cc_view_of("abcdef", 3));
	void *none = cc_alloc(0);

	(void)state;
	assert_string_equal(text, "a-1");
	assert_string_equal(copy, "abc");
	assert_non_null(none);
	none = cc_realloc(none, 0);
	assert_non_null(none);
	free(none);
	free(copy);
	free(text);
}

/* ---- secrets ---- */

static void a_secret_lives_in_the_secure_heap(void **state)
{
	cc_secret s = cc_secret_copy(cc_view_text("hunter2"));

	(void)state;
	assert_true(CRYPTO_secure_allocated(s.data));
	assert_view(cc_secret_view(&s), "hunter2");
	cc_secret_free(&s);
	assert_null(s.data);
	assert_int_equal(s.size, 0);
	cc_secret_free(&s);
	cc_secret_free(NULL);
}

static void a_secret_that_does_not_fit_there_gets_pages_of_its_own(void **state)
{
	const size_t large = (size_t)8 << 20;
	cc_secret s = cc_secret_new(large);
	cc_secret small = CC_SECRET_NONE;

	(void)state;
	assert_false(CRYPTO_secure_allocated(s.data));
	assert_int_equal(s.data[0] | s.data[large - 1], 0);
	memset(s.data, 0xaa, large);
	cc_secret_append(&s, cc_view_text("more"));
	assert_memory_equal(s.data + large, "more", 4);
	assert_int_equal(s.data[large - 1], 0xaa);
	assert_int_equal(ERR_peek_error(), 0);
	small = cc_secret_copy(cc_view_text("x"));
	assert_true(CRYPTO_secure_allocated(small.data));
	cc_secret_free(&small);
	cc_secret_free(&s);
}

static void a_shrunk_secret_is_wiped_behind_its_end(void **state)
{
	cc_secret s = cc_secret_copy(cc_view_text("0123456789"));

	(void)state;
	cc_secret_resize(&s, 4);
	assert_int_equal(s.size, 4);
	assert_memory_equal(s.data, "0123\0\0\0\0\0\0", 10);
	cc_secret_resize(&s, 200);
	assert_memory_equal(s.data, "0123\0\0", 6);
	assert_int_equal(s.data[199], 0);
	cc_secret_free(&s);
}

static void a_secret_that_grows_leaves_nothing_behind(void **state)
{
	cc_secret s = cc_secret_copy(cc_view_text("0123456789abcdef0123456789abcdef"));
	const uint8_t *old = s.data;

	(void)state;
	cc_secret_append(&s, cc_secret_view(&s));
	assert_int_equal(s.size, 64);
	assert_memory_equal(s.data + 32, "0123456789abcdef", 16);
	assert_ptr_not_equal(old, s.data);
	/* the secure heap keeps its list of free blocks in the first bytes */
	assert_memory_equal(old + 16, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	cc_secret moved = cc_secret_move(&s);
	assert_null(s.data);
	cc_secret_free(&moved);
}

static void *use_secrets(void *arg)
{
	for (size_t i = 1; i < 2000; i++) {
		cc_secret s = cc_secret_new(i);
		memset(s.data, (int)(i & 0xff), i);
		cc_secret_append(&s, cc_view_text("tail"));
		if (s.data[0] != (uint8_t)i || s.data[i - 1] != (uint8_t)i)
			return arg;
		cc_secret_free(&s);
	}
	return NULL;
}

static void threads_make_secrets_at_the_same_time(void **state)
{
	pthread_t threads[4];
	int failed = 1;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_secrets, &failed), 0);
	for (int i = 0; i < 4; i++) {
		void *result = &failed;
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_has_code_detail_name_and_category),
		cmocka_unit_test(the_detail_of_another_code_is_that_codes_own_text),
		cmocka_unit_test(words_go_in_front_of_a_detail),
		cmocka_unit_test(the_detail_may_be_an_argument_of_the_next_failure),
		cmocka_unit_test(a_long_detail_is_cut_between_characters),
		cmocka_unit_test(errno_becomes_a_code_and_words),
		cmocka_unit_test(the_openssl_queue_is_told_and_drained),
		cmocka_unit_test(each_thread_has_its_own_detail),
		cmocka_unit_test(a_part_of_a_view_is_clamped),
		cmocka_unit_test(views_compare_like_words_in_a_dictionary),
		cmocka_unit_test(a_blob_grows_by_what_is_appended),
		cmocka_unit_test(a_blob_can_be_appended_to_itself),
		cmocka_unit_test(numbers_are_big_endian),
		cmocka_unit_test(a_blob_is_handed_over),
		cmocka_unit_test(memory_of_no_size_is_not_null),
		cmocka_unit_test(a_secret_lives_in_the_secure_heap),
		cmocka_unit_test(a_secret_that_does_not_fit_there_gets_pages_of_its_own),
		cmocka_unit_test(a_shrunk_secret_is_wiped_behind_its_end),
		cmocka_unit_test(a_secret_that_grows_leaves_nothing_behind),
		cmocka_unit_test(threads_make_secrets_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

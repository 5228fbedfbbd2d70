/*
 * Keystore in files: keys come back after a restart, and nothing altered, foreign or readable does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/text.h"
#include "keyvault/keygen.h"
#include "keyvault/keystore.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHA512 CERTQ__PADDING__PADDING_OAEP_SHA512

struct rig {
	char base[32];
	char *dir;
	cc_secret master;
	struct keystore *ks;
};

static int rig_open(void **state)
{
	struct rig *rig = (struct rig *)cc_alloc(sizeof(*rig));

	memcpy(rig->base, "/tmp/keystore-XXXXXX", sizeof("/tmp/keystore-XXXXXX"));
	assert_non_null(mkdtemp(rig->base));
	rig->dir = file_join(rig->base, "keys");
	rig->master = cc_secret_copy(cc_view_text("a master key of thirty-two bytes"));
	assert_int_equal(keystore_open_files(rig->dir, &rig->master, &rig->ks), CC_OK);
	*state = rig;
	return 0;
}

static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;

	while (d && (entry = readdir(d)) != NULL) {
		char *path = file_join(dir, entry->d_name);

		(void)unlink(path);
		free(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	keystore_close(rig->ks);
	remove_dir(rig->dir);
	rmdir(rig->base);
	cc_secret_free(&rig->master);
	free(rig->dir);
	free(rig);
	return 0;
}

static cc_err reopen(struct rig *rig)
{
	keystore_close(rig->ks);
	rig->ks = NULL;
	return keystore_open_files(rig->dir, &rig->master, &rig->ks);
}

static struct keystore_public generate(struct rig *rig, enum keystore_use use, uint32_t bits)
{
	struct keystore_public key;
	uint8_t id[SHA256_SIZE];

	assert_int_equal(keystore_generate(rig->ks, use, bits, id), CC_OK);
	assert_true(keystore_find(rig->ks, cc_view_of(id, SHA256_SIZE), &key));
	return key;
}

static char *path_of(const struct rig *rig, const uint8_t *id)
{
	char *hex = text_hex_new(cc_view_of(id, SHA256_SIZE));
	char *path = cc_asprintf("%s/%s.key", rig->dir, hex);

	free(hex);
	return path;
}

static void a_new_store_is_empty(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key;
	EVP_PKEY *signer = NULL;

	assert_int_equal(keystore_count(rig->ks), 0);
	assert_false(keystore_at(rig->ks, 0, &key));
	assert_int_equal(keystore_signing_key(rig->ks, KEYSTORE_RESULT, &signer), CC_NOT_FOUND);
	assert_null(signer);
}

static void a_key_is_named_by_its_spki(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key = generate(rig, KEYSTORE_RESULT, 0);
	uint8_t id[SHA256_SIZE];

	dsse_key_id(key.spki, id);
	assert_memory_equal(key.id, id, SHA256_SIZE);
	assert_int_equal(key.use, KEYSTORE_RESULT);
	assert_true(key.current);
	assert_string_equal(keystore_use_name(key.use), "result");
}

static void keys_come_back_after_a_restart(void **state)
{
	struct rig *rig = *state;
	struct keystore_public decrypt = generate(rig, KEYSTORE_DECRYPT, 2048);
	struct keystore_public result = generate(rig, KEYSTORE_RESULT, 0), found;
	uint8_t ids[2][SHA256_SIZE];
	EVP_PKEY *key = NULL;
	cc_blob spki = CC_BLOB_NONE;

	memcpy(ids[0], decrypt.id, SHA256_SIZE);
	memcpy(ids[1], result.id, SHA256_SIZE);
	assert_int_equal(reopen(rig), CC_OK);
	assert_int_equal(keystore_count(rig->ks), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(keystore_at(rig->ks, i, &found));
		assert_memory_equal(found.id, ids[i], SHA256_SIZE);
	}
	assert_int_equal(keystore_signing_key(rig->ks, KEYSTORE_RESULT, &key), CC_OK);
	assert_int_equal(dsse_spki(key, &spki), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&spki), found.spki));
	cc_blob_free(&spki);
	EVP_PKEY_free(key);
}

static void the_newest_key_is_the_current_one_and_older_ones_stay(void **state)
{
	struct rig *rig = *state;
	struct keystore_public first = generate(rig, KEYSTORE_RESULT, 0);
	struct keystore_public second = generate(rig, KEYSTORE_RESULT, 0), found;
	uint8_t first_id[SHA256_SIZE];

	memcpy(first_id, first.id, SHA256_SIZE);
	assert_true(second.current);
	assert_true(second.created_s > first.created_s);
	assert_int_equal(reopen(rig), CC_OK);
	assert_true(keystore_find(rig->ks, cc_view_of(first_id, SHA256_SIZE), &found));
	assert_false(found.current);
	assert_true(keystore_at(rig->ks, 0, &found));
	assert_memory_equal(found.id, second.id, SHA256_SIZE);
	assert_true(found.current);
}

static void ensure_makes_a_key_once(void **state)
{
	struct rig *rig = *state;

	assert_int_equal(keystore_ensure(rig->ks, KEYSTORE_APPROVAL), CC_OK);
	assert_int_equal(keystore_ensure(rig->ks, KEYSTORE_APPROVAL), CC_OK);
	assert_int_equal(keystore_count(rig->ks), 1);
}

static cc_blob encrypt_to(const struct keystore_public *key, const char *label)
{
	EVP_PKEY *recipient = NULL;
	cc_blob encrypted = CC_BLOB_NONE;

	assert_int_equal(sealer_device_key(key->spki, &recipient), CC_OK);
	assert_int_equal(sealer_password_encrypt(recipient, SHA512, cc_view_text(label),
				 cc_view_text("the password"), &encrypted),
		CC_OK);
	EVP_PKEY_free(recipient);
	return encrypted;
}

static cc_err decrypt(
	struct rig *rig, const uint8_t *id, const char *label, const cc_blob *encrypted)
{
	cc_secret plain = CC_SECRET_NONE;
	cc_err err = keystore_decrypt(rig->ks, cc_view_of(id, SHA256_SIZE), SHA512,
		cc_view_text(label), cc_blob_view(encrypted), &plain);

	if (err == CC_OK)
		assert_true(
			cc_view_equal_secret(cc_secret_view(&plain), cc_view_text("the password")));
	cc_secret_free(&plain);
	return err;
}

static void an_older_decryption_key_still_decrypts(void **state)
{
	struct rig *rig = *state;
	struct keystore_public old = generate(rig, KEYSTORE_DECRYPT, 2048);
	cc_blob encrypted = encrypt_to(&old, "label");

	(void)generate(rig, KEYSTORE_DECRYPT, 2048);
	assert_int_equal(decrypt(rig, old.id, "label", &encrypted), CC_OK);
	assert_int_equal(decrypt(rig, old.id, "other", &encrypted), CC_PASSWORD);
	cc_blob_free(&encrypted);
}

static void only_decryption_keys_decrypt(void **state)
{
	struct rig *rig = *state;
	struct keystore_public result = generate(rig, KEYSTORE_RESULT, 0);
	cc_blob encrypted = cc_blob_new(256);
	uint8_t unknown[SHA256_SIZE] = {0};
	EVP_PKEY *key = NULL;

	assert_int_equal(decrypt(rig, result.id, "", &encrypted), CC_NOT_FOUND);
	assert_int_equal(decrypt(rig, unknown, "", &encrypted), CC_NOT_FOUND);
	(void)generate(rig, KEYSTORE_DECRYPT, 2048);
	assert_int_equal(keystore_signing_key(rig->ks, KEYSTORE_DECRYPT, &key), CC_NOT_FOUND);
	cc_blob_free(&encrypted);
}

static void a_key_file_is_the_owner_s_only_and_shows_no_key(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key = generate(rig, KEYSTORE_RESULT, 0);
	char *path = path_of(rig, key.id);
	cc_blob content = CC_BLOB_NONE;
	cc_secret pkcs8 = CC_SECRET_NONE;
	EVP_PKEY *pkey = NULL;
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(rig->dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(file_read(path, FILE_SECRET, 65536, &content), CC_OK);
	assert_int_equal(keystore_signing_key(rig->ks, KEYSTORE_RESULT, &pkey), CC_OK);
	assert_int_equal(keygen_export(pkey, &pkcs8), CC_OK);
	assert_null(memmem(content.data, content.size, pkcs8.data + pkcs8.size - 32, 32));
	EVP_PKEY_free(pkey);
	cc_secret_free(&pkcs8);
	cc_blob_free(&content);
	free(path);
}

static void another_master_key_does_not_open_the_store(void **state)
{
	struct rig *rig = *state;

	(void)generate(rig, KEYSTORE_RESULT, 0);
	rig->master.data[0] ^= 1;
	assert_int_equal(reopen(rig), CC_CORRUPT);
	assert_null(rig->ks);
}

static void a_short_master_key_is_a_mistake_of_configuration(void **state)
{
	struct rig *rig = *state;

	cc_secret_resize(&rig->master, 31);
	assert_int_equal(reopen(rig), CC_CONFIG);
}

static void every_altered_byte_of_a_file_is_noticed(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key = generate(rig, KEYSTORE_RESULT, 0);
	char *path = path_of(rig, key.id);
	cc_blob content = CC_BLOB_NONE;

	assert_int_equal(file_read(path, FILE_SECRET, 65536, &content), CC_OK);
	for (size_t i = 0; i < content.size; i += 3) {
		content.data[i] ^= 2;
		assert_int_equal(file_write_atomic(path, cc_blob_view(&content), 0600), CC_OK);
		assert_int_equal(reopen(rig), CC_CORRUPT);
		content.data[i] ^= 2;
	}
	assert_int_equal(file_write_atomic(path, cc_blob_view(&content), 0600), CC_OK);
	assert_int_equal(reopen(rig), CC_OK);
	cc_blob_free(&content);
	free(path);
}

static void a_file_under_another_name_is_noticed(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key = generate(rig, KEYSTORE_RESULT, 0);
	uint8_t other[SHA256_SIZE];
	char *from = path_of(rig, key.id), *to;

	memcpy(other, key.id, SHA256_SIZE);
	other[0] ^= 1;
	to = path_of(rig, other);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(reopen(rig), CC_CORRUPT);
	free(from);
	free(to);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
	struct rig *rig = *state;
	struct keystore_public key = generate(rig, KEYSTORE_RESULT, 0);
	char *path = path_of(rig, key.id);

	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(reopen(rig), CC_PERMISSION);
	free(path);
}

static void what_a_crash_left_behind_is_no_key(void **state)
{
	struct rig *rig = *state;
	char *path = file_join(rig->dir, "half-written.key.tmp");

	(void)generate(rig, KEYSTORE_RESULT, 0);
	assert_int_equal(file_write_new(path, cc_view_text("half"), 0600), CC_OK);
	assert_int_equal(reopen(rig), CC_OK);
	assert_int_equal(keystore_count(rig->ks), 1);
	free(path);
}

static void sizes_that_are_not_taken_make_no_key(void **state)
{
	struct rig *rig = *state;
	uint8_t id[SHA256_SIZE];

	assert_int_equal(keystore_generate(rig->ks, KEYSTORE_DECRYPT, 1024, id), CC_NOT_SUPPORTED);
	assert_int_equal(keystore_count(rig->ks), 0);
}

/* The connector and the tool are told of every key in one message. */
static void more_keys_than_can_be_told_of_are_not_made(void **state)
{
	struct rig *rig = *state;
	uint8_t id[SHA256_SIZE];

	while (keystore_count(rig->ks) < CODEC_REPEATED_MAX)
		assert_int_equal(keystore_generate(rig->ks, KEYSTORE_RESULT, 0, id), CC_OK);
	assert_int_equal(keystore_generate(rig->ks, KEYSTORE_RESULT, 0, id), CC_TOO_LARGE);
	assert_int_equal(reopen(rig), CC_OK);
	assert_int_equal(keystore_count(rig->ks), CODEC_REPEATED_MAX);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_new_store_is_empty),
		WITH_RIG(more_keys_than_can_be_told_of_are_not_made),
		WITH_RIG(a_key_is_named_by_its_spki),
		WITH_RIG(keys_come_back_after_a_restart),
		WITH_RIG(the_newest_key_is_the_current_one_and_older_ones_stay),
		WITH_RIG(ensure_makes_a_key_once),
		WITH_RIG(an_older_decryption_key_still_decrypts),
		WITH_RIG(only_decryption_keys_decrypt),
		WITH_RIG(a_key_file_is_the_owner_s_only_and_shows_no_key),
		WITH_RIG(another_master_key_does_not_open_the_store),
		WITH_RIG(a_short_master_key_is_a_mistake_of_configuration),
		WITH_RIG(every_altered_byte_of_a_file_is_noticed),
		WITH_RIG(a_file_under_another_name_is_noticed),
		WITH_RIG(a_file_that_others_may_read_is_refused),
		WITH_RIG(what_a_crash_left_behind_is_no_key),
		WITH_RIG(sizes_that_are_not_taken_make_no_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

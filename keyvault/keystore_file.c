/*
 * Keystore in files: a directory with one sealed PKCS#8 a key, read whole at open and then kept in memory.
 * Keys are only ever added, so what keystore_at hands out stays valid until the store is closed.
 *
 * A file is header and sealed key.  The header, which is the AAD: "CCK1", use (u32), created_s (u64), id.
 */
#include "keyvault/keystore.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "base/crypt.h"
#include "keyvault/keygen.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "proto/dsse.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC       "CCK1"
#define HEADER_SIZE (4u + 4u + 8u + SHA256_SIZE)
#define FILE_MAX    (32u * 1024u)
#define SUFFIX      ".key"
#define PURPOSE     "certconnector key store v1"

struct key {
	enum keystore_use use;
	int64_t created_s;
	uint8_t id[SHA256_SIZE];
	cc_blob spki;
	EVP_PKEY *pkey;
};

struct keystore {
	pthread_mutex_t lock; /* keys, count; the keys themselves do not change */
	char *dir;
	cc_secret seal_key;
	struct key **keys;
	size_t count;
};

const char *keystore_use_name(enum keystore_use use)
{
	switch (use) {
	case KEYSTORE_DECRYPT:
		return "decrypt";
	case KEYSTORE_RESULT:
		return "result";
	case KEYSTORE_APPROVAL:
		return "approval";
	}
	return "unknown";
}

static void lock(struct keystore *ks)
{
	if (pthread_mutex_lock(&ks->lock) != 0)
		cc_die("key store: lock");
}

static void unlock(struct keystore *ks)
{
	if (pthread_mutex_unlock(&ks->lock) != 0)
		cc_die("key store: unlock");
}

/* ---- one key ---- */

static void key_free(struct key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	cc_blob_free(&key->spki);
	free(key);
}

/* Takes a reference of its own. */
static cc_err key_new(enum keystore_use use, int64_t created_s, EVP_PKEY *pkey, struct key **ret)
{
	struct key *key = (struct key *)cc_alloc(sizeof(*key));
	cc_err err = CC_OK;

	key->use = use;
	key->created_s = created_s;
	TRY(dsse_spki(pkey, &key->spki));
	ENSURE(EVP_PKEY_up_ref(pkey) == 1, cc_fail_openssl("key store"));
	key->pkey = pkey;
	dsse_key_id(cc_blob_view(&key->spki), key->id);
	*ret = key;
	key = NULL;
out:
	key_free(key);
	return err;
}

static cc_view key_id(const struct key *key)
{
	return cc_view_of(key->id, SHA256_SIZE);
}

/* Use, then newest first; the id decides between keys of one second. */
static bool goes_before(const struct key *a, const struct key *b)
{
	if (a->use != b->use)
		return a->use < b->use;
	if (a->created_s != b->created_s)
		return a->created_s > b->created_s;
	return cc_view_compare(key_id(a), key_id(b)) < 0;
}

static void insert(struct keystore *ks, struct key *key)
{
	size_t at = ks->count;

	ks->keys = (struct key **)cc_realloc(ks->keys, (ks->count + 1) * sizeof(*ks->keys));
	for (; at > 0 && goes_before(key, ks->keys[at - 1]); at--)
		ks->keys[at] = ks->keys[at - 1];
	ks->keys[at] = key;
	ks->count++;
}

/* ---- files ---- */

static cc_blob make_header(const struct key *key)
{
	cc_blob header = cc_blob_copy(cc_view_text(MAGIC));

	cc_blob_append_u32(&header, (uint32_t)key->use);
	cc_blob_append_u64(&header, (uint64_t)key->created_s);
	cc_blob_append(&header, key_id(key));
	return header;
}

static cc_err key_write(const struct keystore *ks, const struct key *key)
{
	char *hex = text_hex_new(key_id(key));
	char *name = cc_asprintf("%s" SUFFIX, hex), *path = file_join(ks->dir, name);
	cc_blob content = make_header(key), sealed = CC_BLOB_NONE;
	cc_secret pkcs8 = CC_SECRET_NONE;
	cc_err err = CC_OK;

	TRY(keygen_export(key->pkey, &pkcs8));
	TRY(crypt_seal(&ks->seal_key, cc_blob_view(&content), cc_secret_view(&pkcs8), &sealed));
	cc_blob_append(&content, cc_blob_view(&sealed));
	TRY(file_write_new(path, cc_blob_view(&content), 0600));
out:
	cc_secret_free(&pkcs8);
	cc_blob_free(&sealed);
	cc_blob_free(&content);
	free(path);
	free(name);
	free(hex);
	return err;
}

static cc_err read_header(cc_view content, enum keystore_use *ret_use, int64_t *ret_created_s)
{
	uint32_t use;
	uint64_t created_s;

	if (content.size <= HEADER_SIZE || !text_equal(cc_view_part(content, 0, 4), MAGIC))
		return cc_fail(CC_CORRUPT, "not a key file of this version");
	use = cc_get_u32(content.data + 4);
	created_s = cc_get_u64(content.data + 8);
	if (use < KEYSTORE_DECRYPT || use > KEYSTORE_APPROVAL || created_s > INT64_MAX)
		return cc_fail(CC_CORRUPT, "a key file with a header out of range");
	*ret_use = (enum keystore_use)use;
	*ret_created_s = (int64_t)created_s;
	return CC_OK;
}

static cc_err key_of(const struct keystore *ks, cc_view content, struct key **ret)
{
	cc_view header = cc_view_part(content, 0, HEADER_SIZE);
	enum keystore_use use = KEYSTORE_DECRYPT;
	cc_secret pkcs8 = CC_SECRET_NONE;
	EVP_PKEY *pkey = NULL;
	struct key *key = NULL;
	int64_t created_s = 0;
	cc_err err = CC_OK;

	TRY(read_header(content, &use, &created_s));
	ENSURE(crypt_open(&ks->seal_key, header,
		       cc_view_part(content, HEADER_SIZE, content.size - HEADER_SIZE),
		       &pkcs8) == CC_OK,
		cc_fail(CC_CORRUPT,
			"sealed with another master key than the one there is, or altered: put the "
			"right file back"));
	TRY(keygen_import(cc_secret_view(&pkcs8), &pkey));
	TRY(key_new(use, created_s, pkey, &key));
	ENSURE(cc_view_equal(
		       key_id(key), cc_view_part(header, HEADER_SIZE - SHA256_SIZE, SHA256_SIZE)),
		cc_fail(CC_CORRUPT, "a key file whose key has another id"));
	*ret = key;
	key = NULL;
out:
	key_free(key);
	EVP_PKEY_free(pkey);
	cc_secret_free(&pkcs8);
	return err;
}

static cc_err key_read(struct keystore *ks, const char *name)
{
	char *path = file_join(ks->dir, name), *expected = NULL, *hex = NULL;
	cc_blob content = CC_BLOB_NONE;
	struct key *key = NULL;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_SECRET, FILE_MAX, &content)); /* it names the file itself */
	err = key_of(ks, cc_blob_view(&content), &key);
	ENSURE(err == CC_OK, cc_fail_in(err, "key store: %s: ", path));
	hex = text_hex_new(key_id(key));
	expected = cc_asprintf("%s" SUFFIX, hex);
	ENSURE(strcmp(expected, name) == 0,
		cc_fail(CC_CORRUPT, "key store: %s: its name is not its key's id", path));
	insert(ks, key);
	key = NULL;
out:
	key_free(key);
	cc_blob_free(&content);
	free(expected);
	free(hex);
	free(path);
	return err;
}

static cc_err read_all(struct keystore *ks)
{
	DIR *dir = opendir(ks->dir);
	const struct dirent *entry;
	cc_err err = CC_OK;

	if (!dir)
		return cc_fail_errno(ks->dir);
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		cc_view name = cc_view_text(entry->d_name);

		/* what a crash left of a write has another ending */
		if (text_ends_nocase(name, cc_view_text(SUFFIX)))
			TRY(key_read(ks, entry->d_name));
	}
	ENSURE(errno == 0, cc_fail_errno(ks->dir));
out:
	(void)closedir(dir);
	return err;
}

cc_err keystore_open_files(const char *dir, const cc_secret *master, struct keystore **ret)
{
	struct keystore *ks = NULL;
	cc_err err = CC_OK;

	ENSURE(master->size >= KEYSTORE_MASTER_MIN,
		cc_fail(CC_CONFIG, "master key: %zu bytes, at least %d are needed", master->size,
			KEYSTORE_MASTER_MIN));
	ks = (struct keystore *)cc_alloc(sizeof(*ks));
	if (pthread_mutex_init(&ks->lock, NULL) != 0)
		cc_die("key store: mutex");
	ks->dir = cc_strdup(dir);
	TRY(file_make_dir(dir, 0700));
	TRY(crypt_derive(master, CC_VIEW_NONE, PURPOSE, &ks->seal_key));
	TRY(read_all(ks));
	*ret = ks;
	ks = NULL;
out:
	keystore_close(ks);
	return err;
}

void keystore_close(struct keystore *ks)
{
	if (!ks)
		return;
	for (size_t i = 0; i < ks->count; i++)
		key_free(ks->keys[i]);
	free(ks->keys);
	cc_secret_free(&ks->seal_key);
	free(ks->dir);
	(void)pthread_mutex_destroy(&ks->lock);
	free(ks);
}

/* ---- look up ---- */

/* Under the lock. */
static struct key *current(const struct keystore *ks, enum keystore_use use)
{
	for (size_t i = 0; i < ks->count; i++)
		if (ks->keys[i]->use == use)
			return ks->keys[i];
	return NULL;
}

static struct key *find(const struct keystore *ks, cc_view id)
{
	for (size_t i = 0; i < ks->count; i++)
		if (cc_view_equal(key_id(ks->keys[i]), id))
			return ks->keys[i];
	return NULL;
}

static void describe(const struct keystore *ks, const struct key *key, struct keystore_public *ret)
{
	*ret = (struct keystore_public){
		.use = key->use,
		.created_s = key->created_s,
		.current = current(ks, key->use) == key,
		.spki = cc_blob_view(&key->spki),
	};
	memcpy(ret->id, key->id, SHA256_SIZE);
}

size_t keystore_count(struct keystore *ks)
{
	size_t count;

	lock(ks);
	count = ks->count;
	unlock(ks);
	return count;
}

bool keystore_at(struct keystore *ks, size_t index, struct keystore_public *ret)
{
	bool found;

	lock(ks);
	found = index < ks->count;
	if (found)
		describe(ks, ks->keys[index], ret);
	unlock(ks);
	return found;
}

bool keystore_find(struct keystore *ks, cc_view key_id_, struct keystore_public *ret)
{
	const struct key *key;

	lock(ks);
	key = find(ks, key_id_);
	if (key)
		describe(ks, key, ret);
	unlock(ks);
	return key != NULL;
}

/* ---- use ---- */

static cc_err make(enum keystore_use use, uint32_t bits, EVP_PKEY **ret)
{
	if (use == KEYSTORE_DECRYPT)
		return keygen_make_rsa(bits ? bits : KEYSTORE_DECRYPT_BITS, ret);
	if (use == KEYSTORE_RESULT || use == KEYSTORE_APPROVAL)
		return keygen_make_ed25519(ret);
	return cc_fail(CC_NOT_SUPPORTED, "key store: use %d", (int)use);
}

/* Later than every key of its use, also when the clock went back: the newest is the current one. */
static int64_t next_time(struct keystore *ks, enum keystore_use use)
{
	int64_t now_s = clock_realtime_s();
	const struct key *newest;

	lock(ks);
	newest = current(ks, use);
	if (newest && newest->created_s >= now_s)
		now_s = newest->created_s + 1;
	unlock(ks);
	return now_s;
}

cc_err keystore_generate(
	struct keystore *ks, enum keystore_use use, uint32_t bits, uint8_t ret_id[SHA256_SIZE])
{
	EVP_PKEY *pkey = NULL;
	struct key *key = NULL;
	cc_err err = CC_OK;

	ENSURE(keystore_count(ks) < CODEC_REPEATED_MAX,
		cc_fail(CC_TOO_LARGE, "key store: it has %d keys, the most that can be told of",
			CODEC_REPEATED_MAX));
	TRY(make(use, bits, &pkey));
	TRY(key_new(use, next_time(ks, use), pkey, &key));
	TRY(key_write(ks, key));
	memcpy(ret_id, key->id, SHA256_SIZE);
	lock(ks);
	insert(ks, key);
	unlock(ks);
	key = NULL;
out:
	key_free(key);
	EVP_PKEY_free(pkey);
	return err;
}

bool keystore_has(struct keystore *ks, enum keystore_use use)
{
	bool there;

	lock(ks);
	there = current(ks, use) != NULL;
	unlock(ks);
	return there;
}

cc_err keystore_ensure(struct keystore *ks, enum keystore_use use)
{
	uint8_t id[SHA256_SIZE];

	return keystore_has(ks, use) ? CC_OK : keystore_generate(ks, use, 0, id);
}

static cc_err borrow(const struct key *key, EVP_PKEY **ret)
{
	if (EVP_PKEY_up_ref(key->pkey) != 1)
		return cc_fail_openssl("key store");
	*ret = key->pkey;
	return CC_OK;
}

cc_err keystore_signing_key(struct keystore *ks, enum keystore_use use, EVP_PKEY **ret)
{
	const struct key *key;
	cc_err err = CC_OK;

	lock(ks);
	key = use == KEYSTORE_DECRYPT ? NULL : current(ks, use);
	ENSURE(key, cc_fail(CC_NOT_FOUND, "key store: no key for %s", keystore_use_name(use)));
	TRY(borrow(key, ret));
out:
	unlock(ks);
	return err;
}

static cc_err decryption_key(struct keystore *ks, cc_view id, EVP_PKEY **ret)
{
	const struct key *key;
	cc_err err = CC_OK;

	lock(ks);
	key = find(ks, id);
	ENSURE(key && key->use == KEYSTORE_DECRYPT,
		cc_fail(CC_NOT_FOUND, "key store: no decryption key of this id"));
	TRY(borrow(key, ret));
out:
	unlock(ks);
	return err;
}

cc_err keystore_decrypt(struct keystore *ks, cc_view key_id_, Certq__Padding padding, cc_view label,
	cc_view encrypted, cc_secret *ret)
{
	EVP_PKEY *pkey = NULL;
	cc_err err = CC_OK;

	TRY(decryption_key(ks, key_id_, &pkey));
	TRY(sealer_password_decrypt(pkey, padding, label, encrypted, ret));
out:
	EVP_PKEY_free(pkey);
	return err;
}

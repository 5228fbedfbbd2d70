/*
 * Cookies, sealed and opened, and the key that does it.
 */
#include "ca-backends/cookie.h"
#include "base/crypt.h"
#include "base/file.h"
#include "base/hash.h"
#include "ca-backends/ca_backend.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define VERSION  1
#define KEY_FILE "cookie.key"

static cc_err make_key(const char *path)
{
	cc_secret key = cc_secret_new(CRYPT_KEY_SIZE);
	cc_err err;

	random_secret(key.data, key.size);
	err = file_write_new(path, cc_secret_view(&key), 0600);
	cc_secret_free(&key);
	return err;
}

cc_err cookie_read_key(const char *state_dir, cc_secret *ret)
{
	char *path = file_join(state_dir, KEY_FILE);
	cc_secret key = CC_SECRET_NONE;
	cc_err err = CC_OK;

	if (access(path, F_OK) != 0 && errno == ENOENT)
		TRY(make_key(path));
	TRY(file_read_secret(path, CRYPT_KEY_SIZE, &key));
	ENSURE(key.size == CRYPT_KEY_SIZE,
		cc_fail(CC_CORRUPT, "%s: not a key; move it away and a new one is made", path));
	*ret = cc_secret_move(&key);
out:
	cc_secret_free(&key);
	free(path);
	return err;
}

static void make_aad(const struct cookie_owner *o, uint8_t ret[SHA256_SIZE])
{
	HASH_ITEMS(ret, cc_view_text("ca-cookie/1"), o->ca, o->tenant, o->job_id, o->csr_sha256);
}

cc_err cookie_seal(
	const cc_secret *key, const struct cookie_owner *owner, cc_view plain, cc_blob *ret)
{
	uint8_t aad[SHA256_SIZE];
	cc_blob sealed = CC_BLOB_NONE, cookie = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(plain.size <= CA_COOKIE_MAX - CRYPT_OVERHEAD - 1,
		cc_fail(CC_TOO_LARGE, "cookie: %zu bytes", plain.size));
	make_aad(owner, aad);
	TRY(crypt_seal(key, cc_view_of(aad, sizeof(aad)), plain, &sealed));
	cc_blob_append_byte(&cookie, VERSION);
	cc_blob_append(&cookie, cc_blob_view(&sealed));
	*ret = cc_blob_move(&cookie);
out:
	cc_blob_free(&sealed);
	cc_blob_free(&cookie);
	return err;
}

cc_err cookie_open(
	const cc_secret *key, const struct cookie_owner *owner, cc_view sealed, cc_secret *ret)
{
	uint8_t aad[SHA256_SIZE];

	if (sealed.size < 1 || sealed.size > CA_COOKIE_MAX || sealed.data[0] != VERSION)
		return cc_fail(CC_MISMATCH, "cookie: not one of this runner's");
	make_aad(owner, aad);
	if (crypt_open(key, cc_view_of(aad, sizeof(aad)), cc_view_part(sealed, 1, sealed.size - 1),
		    ret) != CC_OK)
		return cc_fail(CC_MISMATCH, "cookie: of another job, or altered");
	return CC_OK;
}

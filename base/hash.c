/*
 * Hashes and random bytes, all by OpenSSL.  SHA-256 is fetched once: a fetch per hash would cost
 * more than the hash of a short text.  A failure here means that the library is broken, and ends the
 * process.
 */
#include "base/hash.h"
#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>

static EVP_MD *sha256;

static void fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

static EVP_MD_CTX *sha256_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	(void)pthread_once(&once, fetch_sha256);
	if (ctx == NULL || sha256 == NULL || EVP_DigestInit_ex2(ctx, sha256, NULL) != 1)
		cc_die("SHA-256 is not to be had from OpenSSL");
	return ctx;
}

static void sha256_add(EVP_MD_CTX *ctx, cc_view data)
{
	if (data.size > 0 && EVP_DigestUpdate(ctx, data.data, data.size) != 1)
		cc_die("SHA-256 failed");
}

static void sha256_end(EVP_MD_CTX *ctx, uint8_t ret[SHA256_SIZE])
{
	if (EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		cc_die("SHA-256 failed");
	EVP_MD_CTX_free(ctx);
}

void hash_sha256(cc_view data, uint8_t ret[SHA256_SIZE])
{
	EVP_MD_CTX *ctx = sha256_begin();

	sha256_add(ctx, data);
	sha256_end(ctx, ret);
}

void hash_items(const cc_view *items, size_t count, uint8_t ret[SHA256_SIZE])
{
	EVP_MD_CTX *ctx = sha256_begin();

	for (size_t i = 0; i < count; i++) {
		size_t size = items[i].size;
		assert(size <= UINT32_MAX);
		uint8_t length[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16),
			(uint8_t)(size >> 8), (uint8_t)size};
		sha256_add(ctx, cc_view_of(length, sizeof(length)));
		sha256_add(ctx, items[i]);
	}
	sha256_end(ctx, ret);
}

void hash_hmac_sha256(cc_view key, cc_view data, uint8_t ret[SHA256_SIZE])
{
	const uint8_t *k = key.size > 0 ? key.data : (const uint8_t *)"";
	const uint8_t *d = data.size > 0 ? data.data : (const uint8_t *)""; /* NULL is an error */
	unsigned size = 0;

	if (key.size > INT_MAX ||
		HMAC(EVP_sha256(), k, (int)key.size, d, data.size, ret, &size) == NULL)
		cc_die("HMAC-SHA-256 failed");
	assert(size == SHA256_SIZE);
}

static void fill(void *to, size_t size, int (*generate)(unsigned char *, int))
{
	unsigned char *at = to;

	while (size > 0) {
		int part = size < INT_MAX ? (int)size : INT_MAX;
		if (generate(at, part) != 1)
			cc_die("no random bytes from OpenSSL");
		at += part;
		size -= (size_t)part;
	}
}

void random_bytes(void *to, size_t size)
{
	fill(to, size, RAND_bytes);
}

void random_secret(void *to, size_t size)
{
	fill(to, size, RAND_priv_bytes);
}

uint64_t random_below(uint64_t limit)
{
	uint64_t value;

	assert(limit > 0);
	/* the first 2^64 mod limit values would make the small results likelier */
	uint64_t skip = (0 - limit) % limit;
	do {
		random_bytes(&value, sizeof(value));
	} while (value < skip);
	return value % limit;
}

/*
 * Hashes and random bytes.  Any process, any thread.
 *
 * hash_items is H of the protocol: SHA-256 over its items, each preceded by its length in bytes as
 * 32 bits big-endian; text as UTF-8 without a terminator.
 */
#pragma once

#include "base/blob.h"

#define SHA256_SIZE 32

void hash_sha256(cc_view data, uint8_t ret[SHA256_SIZE]);
void hash_items(const cc_view *items, size_t count, uint8_t ret[SHA256_SIZE]);
void hash_hmac_sha256(cc_view key, cc_view data, uint8_t ret[SHA256_SIZE]);
#define HASH_ITEMS(ret, ...)                                                                       \
	hash_items((const cc_view[]){__VA_ARGS__},                                                 \
		sizeof((const cc_view[]){__VA_ARGS__}) / sizeof(cc_view), (ret))

/* From the operating system's generator through OpenSSL; failure ends the process. */
void random_bytes(void *to, size_t size);
void random_secret(void *to, size_t size); /* from the private generator, for keys and passwords */
uint64_t random_below(uint64_t limit);     /* uniform; limit > 0 */

/*
 * Pool: ready-made RSA-2048 keys, so that a job need not wait for a search for primes.
 *
 * Keyvault; any thread (a mutex inside).  Filled by workers that have nothing else to do.  A key waits
 * here ten minutes at most and is never written anywhere; when the real clock jumps against the
 * time since boot (a resumed or cloned machine) every key is dropped, since its twin may be in use
 * elsewhere.
 */
#pragma once

#include "base/err.h"
#include <openssl/evp.h>

#define POOL_AGE_MS  (10 * 60 * 1000)
#define POOL_JUMP_MS 5000

struct pool; /* opaque */

struct pool *pool_new(size_t size);
void pool_free(struct pool *p); /* accepts NULL */

/* NULL when the pool is empty; the key is the caller's. */
EVP_PKEY *pool_take(struct pool *p);
/* Make one key when one is missing; false when the pool is full.  Failures count as full. */
bool pool_fill_one(struct pool *p);
/* Drop what is too old. */
void pool_tend(struct pool *p);
size_t pool_count(struct pool *p);

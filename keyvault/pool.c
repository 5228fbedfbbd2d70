/*
 * The pool: a small array under a mutex, oldest first.
 */
#include "keyvault/pool.h"
#include "base/blob.h"
#include "base/clock.h"
#include "keyvault/keygen.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct pooled {
	EVP_PKEY *key;
	int64_t made_ms;
};

struct pool {
	pthread_mutex_t mutex;
	size_t size, count, coming; /* coming: keys that are being made */
	int64_t offset_ms;          /* real time minus boot time, as last seen */
	struct pooled *keys;
};

struct pool *pool_new(size_t size)
{
	struct pool *p = cc_alloc(sizeof(*p));

	pthread_mutex_init(&p->mutex, NULL);
	p->size = size;
	p->offset_ms = clock_realtime_ms() - clock_boottime_ms();
	p->keys = cc_alloc((size + 1) * sizeof(*p->keys));
	return p;
}

static void drop_first(struct pool *p, size_t count)
{
	for (size_t i = 0; i < count; i++)
		EVP_PKEY_free(p->keys[i].key);
	memmove(p->keys, p->keys + count, (p->count - count) * sizeof(*p->keys));
	p->count -= count;
}

void pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	drop_first(p, p->count);
	free(p->keys);
	pthread_mutex_destroy(&p->mutex);
	free(p);
}

/* Under the mutex. */
static void drop_stale(struct pool *p)
{
	int64_t now = clock_boottime_ms();
	int64_t offset = clock_realtime_ms() - now;
	size_t old = 0;

	if (llabs(offset - p->offset_ms) > POOL_JUMP_MS)
		old = p->count;
	p->offset_ms = offset;
	while (old < p->count && now - p->keys[old].made_ms > POOL_AGE_MS)
		old++;
	drop_first(p, old);
}

EVP_PKEY *pool_take(struct pool *p)
{
	EVP_PKEY *key = NULL;

	pthread_mutex_lock(&p->mutex);
	drop_stale(p);
	if (p->count > 0) {
		key = p->keys[0].key;
		p->keys[0].key = NULL;
		drop_first(p, 1);
	}
	pthread_mutex_unlock(&p->mutex);
	return key;
}

bool pool_fill_one(struct pool *p)
{
	EVP_PKEY *key = NULL;
	bool wanted;

	pthread_mutex_lock(&p->mutex);
	drop_stale(p);
	wanted = p->count + p->coming < p->size;
	p->coming += wanted ? 1 : 0;
	pthread_mutex_unlock(&p->mutex);
	if (!wanted)
		return false;
	int64_t made_ms = clock_boottime_ms();
	bool made = keygen_make(CERTQ__KEY_TYPE__KEY_RSA_2048, &key) == CC_OK;
	pthread_mutex_lock(&p->mutex);
	p->coming--;
	if (made)
		p->keys[p->count++] = (struct pooled){key, made_ms};
	pthread_mutex_unlock(&p->mutex);
	return made;
}

void pool_tend(struct pool *p)
{
	pthread_mutex_lock(&p->mutex);
	drop_stale(p);
	pthread_mutex_unlock(&p->mutex);
}

size_t pool_count(struct pool *p)
{
	size_t count;

	pthread_mutex_lock(&p->mutex);
	count = p->count;
	pthread_mutex_unlock(&p->mutex);
	return count;
}

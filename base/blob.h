/*
 * Bytes: a view (borrowed), a blob (owned) and a secret (owned, wiped).
 *
 * Any process, any thread; no locking, a blob belongs to one thread at a time.  Sizes are bytes.
 * Allocation never fails to the caller: out of memory ends the process (base/err.h, cc_die).
 *
 * Safety: secret bytes live in struct cc_secret only.  It is allocated from memory that is locked
 * and left out of core dumps where the system allows, is wiped by its only destructor, and has no
 * function that prints it.
 */
#pragma once

#include "base/err.h"
#include <stdint.h>

typedef struct cc_view {
	const uint8_t *data;
	size_t size;
} cc_view;

typedef struct cc_blob {
	uint8_t *data;
	size_t size;
	size_t room; /* allocated */
} cc_blob;

typedef struct cc_secret {
	uint8_t *data;
	size_t size;
	size_t room;
} cc_secret;

#define CC_VIEW_NONE   ((cc_view){0})
#define CC_BLOB_NONE   ((cc_blob){0})
#define CC_SECRET_NONE ((cc_secret){0})

static inline cc_view cc_view_of(const void *data, size_t size)
{
	return (cc_view){(const uint8_t *)data, size};
}

cc_view cc_view_text(const char *text); /* without the terminator; NULL is empty */
cc_view cc_view_part(cc_view whole, size_t from, size_t size); /* clamped to the whole */
bool cc_view_equal(cc_view a, cc_view b);                      /* not for secrets */
bool cc_view_equal_secret(cc_view a, cc_view b);               /* time depends on the sizes only */
int cc_view_compare(cc_view a, cc_view b);                     /* memcmp order, shorter first */

static inline cc_view cc_blob_view(const cc_blob *b)
{
	return (cc_view){b->data, b->size};
}

cc_blob cc_blob_new(size_t size); /* zeroed */
cc_blob cc_blob_copy(cc_view from);
cc_blob cc_blob_take(void *malloced, size_t size); /* takes over memory made by malloc */
cc_blob cc_blob_move(cc_blob *from);               /* hand over; `from` is empty afterwards */
void cc_blob_append(cc_blob *b, cc_view more);
void cc_blob_append_byte(cc_blob *b, uint8_t byte);
void cc_blob_append_u32(cc_blob *b, uint32_t value); /* big-endian */
void cc_blob_append_u64(cc_blob *b, uint64_t value);
void cc_blob_printf(cc_blob *b, const char *format, ...) CC_PRINTF(2, 3); /* appends text */
void cc_blob_reserve(cc_blob *b, size_t room);
void cc_blob_clear(cc_blob *b);       /* empty, keeps the room */
void cc_blob_free(cc_blob *b);        /* accepts an empty one; leaves it empty */
const char *cc_blob_text(cc_blob *b); /* terminates without counting the NUL */

uint32_t cc_get_u32(const uint8_t *from); /* big-endian */
uint64_t cc_get_u64(const uint8_t *from);

static inline cc_view cc_secret_view(const cc_secret *s)
{
	return (cc_view){s->data, s->size};
}

cc_secret cc_secret_new(size_t size); /* zeroed */
cc_secret cc_secret_copy(cc_view from);
cc_secret cc_secret_move(cc_secret *from);
void cc_secret_append(cc_secret *s, cc_view more); /* old memory is wiped when it has to move */
void cc_secret_resize(cc_secret *s, size_t size);  /* shrinks (wiping the tail) or grows zeroed */
void cc_secret_free(cc_secret *s);                 /* wipes; accepts an empty one */

/* memory that is never NULL */
void *cc_alloc(size_t size); /* zeroed */
void *cc_realloc(void *p, size_t size);
char *cc_strdup(const char *text);
char *cc_strndup(cc_view text); /* adds the terminator; the view must be NUL-free */
char *cc_asprintf(const char *format, ...) CC_PRINTF(1, 2);

/*
 * Views, blobs and secrets.
 *
 * Secrets come from OpenSSL's secure heap: locked, left out of core dumps, between guard pages.  It
 * is made on first use.  What does not fit (or a system that has none) gets pages of its own, locked
 * and left out of dumps as far as the system allows.  Both are wiped in cc_secret_free and in no
 * other place.
 */
#include "base/blob.h"
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECURE_HEAP_SIZE ((size_t)4 << 20)
#define SECURE_HEAP_MIN  32
#define BLOB_ROOM_MIN    64

/* ---- memory that is never NULL ---- */

void *cc_alloc(size_t size)
{
	void *p = calloc(1, size > 0 ? size : 1);

	if (p == NULL)
		cc_die("out of memory: %zu bytes", size);
	return p;
}

void *cc_realloc(void *p, size_t size)
{
	void *moved = realloc(p, size > 0 ? size : 1);

	if (moved == NULL)
		cc_die("out of memory: %zu bytes", size);
	return moved;
}

char *cc_strdup(const char *text)
{
	return cc_strndup(cc_view_text(text));
}

char *cc_strndup(cc_view text)
{
	assert(text.size == 0 || memchr(text.data, '\0', text.size) == NULL);
	char *copy = cc_alloc(text.size + 1);
	if (text.size > 0)
		memcpy(copy, text.data, text.size);
	return copy;
}

char *cc_asprintf(const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		cc_die("out of memory: text");
	return text;
}

/* ---- views ---- */

cc_view cc_view_text(const char *text)
{
	return text == NULL ? CC_VIEW_NONE : cc_view_of(text, strlen(text));
}

cc_view cc_view_part(cc_view whole, size_t from, size_t size)
{
	if (from >= whole.size)
		return CC_VIEW_NONE;
	size_t left = whole.size - from;
	return cc_view_of(whole.data + from, size < left ? size : left);
}

bool cc_view_equal(cc_view a, cc_view b)
{
	return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool cc_view_equal_secret(cc_view a, cc_view b)
{
	return a.size == b.size && (a.size == 0 || CRYPTO_memcmp(a.data, b.data, a.size) == 0);
}

int cc_view_compare(cc_view a, cc_view b)
{
	size_t common = a.size < b.size ? a.size : b.size;
	int order = common > 0 ? memcmp(a.data, b.data, common) : 0;

	if (order != 0)
		return order;
	return (a.size > b.size) - (a.size < b.size);
}

/* ---- blobs ---- */

cc_blob cc_blob_new(size_t size)
{
	return (cc_blob){.data = cc_alloc(size), .size = size, .room = size};
}

cc_blob cc_blob_copy(cc_view from)
{
	cc_blob b = CC_BLOB_NONE;

	cc_blob_append(&b, from);
	return b;
}

cc_blob cc_blob_take(void *malloced, size_t size)
{
	return (cc_blob){.data = malloced, .size = size, .room = size};
}

cc_blob cc_blob_move(cc_blob *from)
{
	cc_blob moved = *from;

	*from = CC_BLOB_NONE;
	return moved;
}

void cc_blob_reserve(cc_blob *b, size_t room)
{
	if (room <= b->room)
		return;
	size_t grown = b->room < BLOB_ROOM_MIN ? BLOB_ROOM_MIN : b->room;
	while (grown < room)
		grown = grown > SIZE_MAX / 2 ? room : grown * 2;
	b->data = cc_realloc(b->data, grown);
	b->room = grown;
}

void cc_blob_append(cc_blob *b, cc_view more)
{
	if (more.size == 0)
		return;
	if (more.size > SIZE_MAX - b->size)
		cc_die("a blob of more than %zu bytes", SIZE_MAX);
	/* `more` may be a part of `b` itself, which moves when it grows */
	uintptr_t start = (uintptr_t)b->data;
	uintptr_t from = (uintptr_t)more.data;
	bool inside = b->data != NULL && from >= start && from < start + b->room;
	cc_blob_reserve(b, b->size + more.size);
	memmove(b->data + b->size, inside ? b->data + (from - start) : more.data, more.size);
	b->size += more.size;
}

void cc_blob_append_byte(cc_blob *b, uint8_t byte)
{
	cc_blob_append(b, cc_view_of(&byte, 1));
}

void cc_blob_append_u32(cc_blob *b, uint32_t value)
{
	uint8_t bytes[4];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(value >> (8 * (sizeof(bytes) - 1 - i)));
	cc_blob_append(b, cc_view_of(bytes, sizeof(bytes)));
}

void cc_blob_append_u64(cc_blob *b, uint64_t value)
{
	cc_blob_append_u32(b, (uint32_t)(value >> 32));
	cc_blob_append_u32(b, (uint32_t)value);
}

void cc_blob_printf(cc_blob *b, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		cc_die("out of memory: text");
	cc_blob_append(b, cc_view_of(text, (size_t)length));
	free(text);
}

void cc_blob_clear(cc_blob *b)
{
	b->size = 0;
}

void cc_blob_free(cc_blob *b)
{
	if (b == NULL)
		return;
	free(b->data);
	*b = CC_BLOB_NONE;
}

const char *cc_blob_text(cc_blob *b)
{
	cc_blob_reserve(b, b->size + 1);
	b->data[b->size] = '\0';
	return (const char *)b->data;
}

uint32_t cc_get_u32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

uint64_t cc_get_u64(const uint8_t *from)
{
	return (uint64_t)cc_get_u32(from) << 32 | cc_get_u32(from + 4);
}

/* ---- secrets ---- */

static void make_secure_heap(void)
{
	/* 0: made already by someone else, or not to be had; the caller copes with both */
	(void)CRYPTO_secure_malloc_init(SECURE_HEAP_SIZE, SECURE_HEAP_MIN);
}

static size_t whole_pages(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size > SIZE_MAX - page)
		cc_die("a secret of %zu bytes", size);
	return (size + page - 1) / page * page;
}

/* Locking may fail on a small RLIMIT_MEMLOCK; the secret is then still wiped and not dumped. */
static uint8_t *secret_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		cc_die("out of memory: %zu bytes", size);
	(void)mlock(p, size);
	(void)madvise(p, size, MADV_DONTDUMP);
	return p;
}

/* Sets data and room; the contents are zero. */
static cc_secret secret_room(size_t room)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	cc_secret s = CC_SECRET_NONE;

	if (room == 0)
		return s;
	(void)pthread_once(&once, make_secure_heap);
	(void)ERR_set_mark(); /* a full heap is no failure of the caller */
	if (CRYPTO_secure_malloc_initialized())
		s.data = CRYPTO_secure_zalloc(room, __FILE__, __LINE__);
	(void)ERR_pop_to_mark();
	s.room = room;
	if (s.data == NULL) {
		s.room = whole_pages(room);
		s.data = secret_pages(s.room);
	}
	return s;
}

cc_secret cc_secret_new(size_t size)
{
	cc_secret s = secret_room(size);

	s.size = size;
	return s;
}

cc_secret cc_secret_copy(cc_view from)
{
	cc_secret s = cc_secret_new(from.size);

	if (from.size > 0)
		memcpy(s.data, from.data, from.size);
	return s;
}

cc_secret cc_secret_move(cc_secret *from)
{
	cc_secret moved = *from;

	*from = CC_SECRET_NONE;
	return moved;
}

void cc_secret_append(cc_secret *s, cc_view more)
{
	size_t size = s->size;

	if (more.size == 0)
		return;
	if (more.size > SIZE_MAX / 2 - size)
		cc_die("a secret of more than %zu bytes", SIZE_MAX / 2);
	if (size + more.size <= s->room) {
		memmove(s->data + size, more.data, more.size);
		s->size = size + more.size;
		return;
	}
	cc_secret grown = secret_room((size + more.size) * 2);
	if (size > 0)
		memcpy(grown.data, s->data, size);
	memcpy(grown.data + size, more.data, more.size); /* may be a part of the old one */
	grown.size = size + more.size;
	cc_secret_free(s);
	*s = grown;
}

void cc_secret_resize(cc_secret *s, size_t size)
{
	if (size > s->room) {
		cc_secret grown = secret_room(size);
		if (s->size > 0)
			memcpy(grown.data, s->data, s->size);
		cc_secret_free(s);
		*s = grown;
	} else if (size < s->size) {
		OPENSSL_cleanse(s->data + size, s->size - size);
	}
	s->size = size; /* what lies between size and room is always zero */
}

void cc_secret_free(cc_secret *s)
{
	if (s == NULL)
		return;
	if (s->data != NULL) {
		OPENSSL_cleanse(s->data, s->room);
		if (CRYPTO_secure_allocated(s->data))
			CRYPTO_secure_free(s->data, __FILE__, __LINE__);
		else
			(void)munmap(s->data, s->room);
	}
	*s = CC_SECRET_NONE;
}

/*
 * Memory of one store operation.  Chunks that double in size, newest first: an operation on one job
 * needs one or two of them, a resume with thousands of held jobs a dozen.
 */
#include "cloud-queue/store_mem.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, FIRST_ROOM = 2048, LARGEST_ROOM = 256 * 1024 };

struct store_mem_chunk {
	struct store_mem_chunk *older;
	size_t used, room;
	uint8_t *data;
	void *plain;
	cc_secret secret;
};

static struct store_mem_chunk *chunk_new(struct store_mem *m, size_t size)
{
	struct store_mem_chunk *c = cc_alloc(sizeof(*c));
	c->room = m->last == NULL ? FIRST_ROOM : m->last->room * 2;
	if (c->room > LARGEST_ROOM)
		c->room = LARGEST_ROOM;
	if (c->room < size)
		c->room = size;
	if (m->secret) {
		c->secret = cc_secret_new(c->room + ALIGN);
		size_t off = (uintptr_t)c->secret.data % ALIGN;
		c->data = c->secret.data + (off == 0 ? 0 : ALIGN - off);
	} else {
		c->plain = cc_alloc(c->room);
		c->data = c->plain;
	}
	c->older = m->last;
	m->last = c;
	return c;
}

void *store_mem_get(struct store_mem *m, size_t size)
{
	struct store_mem_chunk *c = m->last;
	size = (size + ALIGN - 1) / ALIGN * ALIGN;
	if (size == 0)
		size = ALIGN;
	if (c == NULL || c->room - c->used < size)
		c = chunk_new(m, size);
	void *p = c->data + c->used;
	c->used += size;
	return p;
}

cc_view store_mem_copy(struct store_mem *m, cc_view from)
{
	if (from.size == 0)
		return CC_VIEW_NONE;
	void *p = store_mem_get(m, from.size);
	memcpy(p, from.data, from.size);
	return cc_view_of(p, from.size);
}

void *store_mem_grow(struct store_mem *m, void *items, size_t count, size_t size)
{
	/* room is a power of two: full exactly when the count is one */
	if (count != 0 && (count & (count - 1)) != 0)
		return items;
	void *larger = store_mem_get(m, (count == 0 ? 1 : count * 2) * size);
	if (count > 0)
		memcpy(larger, items, count * size);
	return larger;
}

void store_mem_clear(struct store_mem *m)
{
	while (m->last != NULL) {
		struct store_mem_chunk *c = m->last;
		m->last = c->older;
		cc_secret_free(&c->secret);
		free(c->plain);
		free(c);
	}
}

static void *allocate(void *data, size_t size)
{
	return store_mem_get(data, size);
}

static void release(void *data, void *pointer)
{
	(void)data;
	(void)pointer; /* goes with the operation */
}

ProtobufCAllocator store_mem_allocator(struct store_mem *m)
{
	return (ProtobufCAllocator){.alloc = allocate, .free = release, .allocator_data = m};
}

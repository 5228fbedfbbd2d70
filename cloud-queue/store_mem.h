/*
 * Memory of one store operation: everything it copies or decodes, freed at once with it.
 *
 * One thread at a time.  Memory is zeroed and aligned for any type.  With `secret` it comes from
 * cc_secret and is wiped when it is freed.
 */
#pragma once

#include "base/blob.h"
#include <protobuf-c/protobuf-c.h>

struct store_mem_chunk;
struct store_mem {
	struct store_mem_chunk *last;
	bool secret;
};

void *store_mem_get(struct store_mem *m, size_t size);
cc_view store_mem_copy(struct store_mem *m, cc_view from);
/* An array that grows: `*items` has `count` elements of `size` bytes; room is made for one more. */
void *store_mem_grow(struct store_mem *m, void *items, size_t count, size_t size);
void store_mem_clear(struct store_mem *m); /* frees all; may be used again */

/* For protobuf-c: what is unpacked lives in `m`, is never freed alone, and may be edited freely. */
ProtobufCAllocator store_mem_allocator(struct store_mem *m);

/*
 * What a process tells the C library about memory.  A library that does not take the advice (that of a
 * sanitizer) is none the worse for it.
 */
#include "base/memory.h"

#include <malloc.h>

void memory_share(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
}

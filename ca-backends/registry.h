/*
 * Registry: the backends that are in this build, by name.  A static table; any thread.
 */
#pragma once

#include "ca-backends/ca_backend.h"

/* NULL when there is none of this name. */
const struct ca_backend *registry_find(const char *name);
/* In order; NULL after the last. */
const struct ca_backend *registry_at(size_t index);

/*
 * Registry: one line for each backend.
 */
#include "ca-backends/registry.h"
#include "base/backend_schema.h"
#include "ca-backends/local/local.h"
#include <string.h>

static const struct ca_backend *const backends[] = {
	&local_backend,
};

const struct ca_backend *registry_at(size_t index)
{
	return index < sizeof(backends) / sizeof(backends[0]) ? backends[index] : NULL;
}

bool backend_schema_at(size_t index, struct backend_schema *ret)
{
	const struct ca_backend *b = registry_at(index);

	if (b == NULL)
		return false;
	*ret = (struct backend_schema){b->name, b->schema, b->schema_count};
	return true;
}

const struct ca_backend *registry_find(const char *name)
{
	for (size_t i = 0; registry_at(i) != NULL; i++) {
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	}
	return NULL;
}

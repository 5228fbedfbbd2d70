/*
 * Backend schema: names with dots, compared level by level with the names of rules.
 */
#include "base/backend_schema.h"
#include <string.h>

const char *backend_schema_below(const char *rule, const char *name)
{
	while (*name != '\0') {
		size_t want = strcspn(rule, ".");
		size_t have = strcspn(name, ".");
		bool any = want == 1 && *rule == '*';

		if (have == 0 || (!any && (want != have || strncmp(rule, name, have) != 0)))
			return NULL;
		rule += want;
		name += have;
		if (*name == '.' && *rule != '.')
			return NULL;
		rule += *rule == '.' ? 1 : 0;
		name += *name == '.' ? 1 : 0;
	}
	return rule;
}

const struct ca_option_rule *backend_schema_rule(
	const struct ca_option_rule *rules, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		const char *rest = backend_schema_below(rules[i].name, name);
		if (rest != NULL && *rest == '\0')
			return &rules[i];
	}
	return NULL;
}

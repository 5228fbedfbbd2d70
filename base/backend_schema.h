/*
 * Backend schema: which keys a kind of CA takes in ca.d/NAME.yaml.
 *
 * The rules are the backends' own (ca-backends/); the daemon reads the file by them (connector/), so that
 * a mistake is told with its line before a runner is started.  This header is all that the two rooms share.
 * Any process, any thread; everything here is static and nobody frees it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* One key besides backend, user, secret and on_unknown.  Maps are flattened with dots, lists to text
 * with commas; "*" stands for one level of free names: "templates.*.eku".  A name that has a value has
 * no names below it. */
struct ca_option_rule {
	const char *name;
	bool required;        /* where its map is there; without a "*" in its name: always */
	bool list;            /* a list of texts; otherwise one text */
	const char *fallback; /* as it would be written, a list with commas; NULL: none */
	const char *help;
};

struct backend_schema {
	const char *name; /* of the backend */
	const struct ca_option_rule *rules;
	size_t count;
};

/* The backends of this build, in order; false after the last.  It is in ca-backends/registry.c. */
bool backend_schema_at(size_t index, struct backend_schema *ret);

/* What is left of a rule's name below `name`, which may be empty: "*.eku" of "templates.*.eku" below
 * "templates"; empty when the rule is for `name` itself, NULL when it is for something else. */
const char *backend_schema_below(const char *rule, const char *name);
/* The rule that a name fits; NULL: none does. */
const struct ca_option_rule *backend_schema_rule(
	const struct ca_option_rule *rules, size_t count, const char *name);

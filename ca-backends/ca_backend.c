/*
 * CA backend: the small helpers that every backend uses.
 */
#include "ca-backends/ca_backend.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ca_option_get(const struct ca_context *c, const char *name)
{
	const struct ca_option_rule *rule;

	for (size_t i = 0; i < c->option_count; i++) {
		if (strcmp(c->options[i].name, name) == 0)
			return c->options[i].value;
	}
	rule = backend_schema_rule(c->schema, c->schema_count, name);
	return rule == NULL ? NULL : rule->fallback;
}

void ca_answer_set(struct ca_answer *a, Ca__CaResult result, const char *format, ...)
{
	char words[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	free(a->reason);
	a->reason = cc_strdup(words);
	a->result = result;
}

void ca_answer_add(struct ca_answer *a, cc_view certificate)
{
	if (a->chain_count == CA_CHAIN_MAX || certificate.size > CA_CERTIFICATE_MAX) {
		ca_answer_set(a, CA__CA_RESULT__CA_UNKNOWN,
			"the CA's chain is longer, or a certificate larger, than the limit");
		return;
	}
	a->chain[a->chain_count++] = cc_blob_copy(certificate);
}

void ca_answer_clear(struct ca_answer *a)
{
	for (size_t i = 0; i < a->chain_count; i++)
		cc_blob_free(&a->chain[i]);
	cc_blob_free(&a->cookie);
	free(a->reason);
	free(a->reference);
	*a = (struct ca_answer){0};
}

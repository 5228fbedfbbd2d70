/*
 * Lists for machines and for people, of the same JSON.
 */
#include "ctl/json.h"
#include "base/text.h"
#include "proto/codec.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *ctl_json_text(ProtobufCBinaryData words)
{
	char *text = text_printable(codec_view(words));
	json_t *value = json_string(text);

	free(text);
	return value;
}

json_t *ctl_json_hex(ProtobufCBinaryData bytes)
{
	char *text = text_hex_new(codec_view(bytes));
	json_t *value = json_string(text);

	free(text);
	return value;
}

json_t *ctl_json_time(int64_t seconds)
{
	char text[RFC3339_SIZE];

	text_rfc3339(seconds, text);
	return json_string(text);
}

/* Members without a text are left out; a number is one. */
static void print_item(const json_t *item, const char *head)
{
	const char *key;
	json_t *value;

	printf("%s\n", json_string_value(json_object_get(item, head)));
	json_object_foreach((json_t *)(uintptr_t)item, key, value)
	{
		if (strcmp(key, head) == 0)
			continue;
		if (json_is_integer(value))
			printf("  %-16s  %" JSON_INTEGER_FORMAT "\n", key,
				json_integer_value(value));
		else if (json_string_length(value) > 0)
			printf("  %-16s  %s\n", key, json_string_value(value));
	}
}

void ctl_json_print(const json_t *list, const char *head, bool json, const char *none)
{
	if (json) {
		char *text = json_dumps(list, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++)
		print_item(json_array_get(list, i), head);
	if (json_array_size(list) == 0)
		printf("%s\n", none);
}

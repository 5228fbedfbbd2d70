/*
 * Is an answer of the producers' server one that the API's description has?
 *
 * For tests of the queue; queue_rig.h asks for every answer that it hears.  What any operation may say to anybody
 * (who are you, not yours, too much, not now) is in the description as "default"; every other status has to
 * stand in the operation itself.
 */
#pragma once

#include "cloud-queue/http_openapi.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Is `path` of `pattern`, as "/v1/tenants/{tenant}/jobs/{job}:cancel"? */
static inline bool described_is_of(const char *pattern, const char *path)
{
	while (*pattern) {
		if (*pattern == '{') {
			size_t size = strcspn(path, "/:?");

			if (size == 0)
				return false;
			pattern += strcspn(pattern, "}") + 1;
			path += size;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0' || *path == '?';
}

static inline bool described_may_say(const json_t *operation, int status)
{
	static const int everywhere[] = {400, 401, 403, 404, 411, 413, 415, 429, 500, 503};
	const json_t *responses = json_object_get(operation, "responses");
	char text[8];

	(void)snprintf(text, sizeof(text), "%03d", status % 1000);
	for (size_t i = 0; i < sizeof(everywhere) / sizeof(everywhere[0]); i++) {
		if (status == everywhere[i] && json_object_get(responses, "default"))
			return true;
	}
	return json_object_get(responses, text) != NULL;
}

/* True as well for what is no operation at all. */
static inline bool described(const char *method, const char *path, int status)
{
	json_t *document = json_loadb((const char *)http_openapi_json, http_openapi_size, 0, NULL);
	const char *pattern, *verb;
	json_t *item, *operation;
	bool good = true;

	json_object_foreach(json_object_get(document, "paths"), pattern, item)
	{
		if (!described_is_of(pattern, path))
			continue;
		json_object_foreach(item, verb, operation)
		{
			if (strcasecmp(verb, method) == 0)
				good = described_may_say(operation, status);
		}
	}
	json_decref(document);
	return good;
}

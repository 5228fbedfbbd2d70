/*
 * The API's description: it parses, is whole in itself, and is of exactly the routes that are served.
 */
#include "tests/support/queue_rig.h"

#include "cloud-queue/http_openapi.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/store.h"

static const struct {
	const char *name;
	uint32_t scope;
} scopes[] = {{"jobs:write", STORE_SCOPE_JOBS_WRITE}, {"jobs:read", STORE_SCOPE_JOBS_READ},
	{"pfx:write", STORE_SCOPE_PFX_WRITE}, {"pfx:read", STORE_SCOPE_PFX_READ},
	{"pfx:content", STORE_SCOPE_PFX_CONTENT}, {"signers:write", STORE_SCOPE_SIGNERS_WRITE},
	{"connectors:read", STORE_SCOPE_CONNECTORS_READ}};

static const char *const methods[] = {"get", "post", "put", "delete"}; /* as enum http_method */

static json_t *load(void)
{
	json_error_t where;
	json_t *document = json_loadb(
		(const char *)http_openapi_json, http_openapi_size, JSON_REJECT_DUPLICATES, &where);

	if (!document)
		fail_msg("openapi.json:%d:%d: %s", where.line, where.column, where.text);
	return document;
}

/* "/v1/tenants/{tenant}/jobs" without the names: "/v1/tenants/{}/jobs" */
static char *pattern_of(const char *path)
{
	cc_blob to = CC_BLOB_NONE;
	char *text;

	for (; *path; path++) {
		cc_blob_append_byte(&to, (uint8_t)*path);
		if (*path == '{')
			path += strcspn(path, "}") - 1;
	}
	text = cc_strndup(cc_blob_view(&to));
	cc_blob_free(&to);
	return text;
}

static const json_t *operation_of(const json_t *document, const struct http_route *route)
{
	const char *path;
	json_t *item;

	json_object_foreach(json_object_get(document, "paths"), path, item)
	{
		char *pattern = pattern_of(path);
		bool same = strcmp(pattern, route->path) == 0;

		free(pattern);
		if (same && json_object_get(item, methods[route->method]))
			return json_object_get(item, methods[route->method]);
	}
	return NULL;
}

static void every_route_is_described_with_its_scope(void **state)
{
	json_t *document = load();
	const struct http_route *route;

	(void)state;
	for (size_t i = 0; (route = http_routes_at(i)) != NULL; i++) {
		const json_t *operation = operation_of(document, route);
		const json_t *security = json_object_get(operation, "security");
		const char *named = json_string_value(
			json_array_get(json_object_get(json_array_get(security, 0), "bearer"), 0));
		uint32_t scope = 0;

		if (!operation)
			fail_msg("%s %s is not described", methods[route->method], route->path);
		for (size_t n = 0; n < sizeof(scopes) / sizeof(scopes[0]); n++) {
			if (named && strcmp(named, scopes[n].name) == 0)
				scope = scopes[n].scope;
		}
		if (scope != route->scope)
			fail_msg("%s %s: another scope", methods[route->method], route->path);
	}
	json_decref(document);
}

static void nothing_is_described_that_is_not_served(void **state)
{
	json_t *document = load();
	const struct http_route *route;
	const char *path, *method;
	json_t *item, *operation;
	size_t described = 0, served = 0;

	(void)state;
	json_object_foreach(json_object_get(document, "paths"), path, item)
	{
		json_object_foreach(item, method, operation)
		{
			described += strcmp(method, "parameters") != 0;
		}
	}
	for (size_t i = 0; (route = http_routes_at(i)) != NULL; i++)
		served++;
	assert_int_equal(described, served);
	json_decref(document);
}

/* "#/components/schemas/Job" */
static void assert_resolves(const json_t *document, const char *reference)
{
	char *copy = cc_strdup(reference);
	char *rest = copy;
	const json_t *at = document;

	assert_int_equal(strncmp(copy, "#/", 2), 0);
	rest += 2;
	for (char *part = strsep(&rest, "/"); part; part = strsep(&rest, "/"))
		at = json_object_get(at, part);
	if (!at)
		fail_msg("%s is not there", reference);
	free(copy);
}

static size_t check_references(const json_t *document, const json_t *at)
{
	const char *reference = json_string_value(json_object_get(at, "$ref"));
	const char *key;
	json_t *value;
	size_t i, count = 0;

	if (reference) {
		assert_resolves(document, reference);
		count++;
	}
	json_object_foreach((json_t *)(uintptr_t)at, key, value)
	{
		count += check_references(document, value);
	}
	json_array_foreach(at, i, value)
	{
		count += check_references(document, value);
	}
	return count;
}

static void every_reference_leads_somewhere(void **state)
{
	json_t *document = load();

	(void)state;
	assert_true(check_references(document, document) > 100);
	json_decref(document);
}

/* What the OpenAPI 3.1 schema demands of a document, its operations and its parameters. */
static void check_operation(const char *path, const json_t *item, const json_t *operation)
{
	const char *status;
	json_t *response;
	size_t names = 0, declared = json_array_size(json_object_get(item, "parameters"));

	assert_true(json_is_string(json_object_get(operation, "operationId")));
	assert_true(json_is_array(json_object_get(operation, "security")));
	assert_true(json_object_size(json_object_get(operation, "responses")) > 0);
	json_object_foreach(json_object_get(operation, "responses"), status, response)
	{
		assert_true(strcmp(status, "default") == 0 || strlen(status) == 3);
		assert_true(json_is_string(json_object_get(response, "description")) ||
			    json_is_string(json_object_get(response, "$ref")));
	}
	for (const char *at = path; *at; at++)
		names += *at == '{';
	assert_int_equal(names, declared);
}

static void the_document_has_the_shape_of_openapi_3_1(void **state)
{
	json_t *document = load();
	json_t *ids = json_object();
	const json_t *info = json_object_get(document, "info");
	const char *path, *method;
	json_t *item, *operation;

	(void)state;
	assert_string_equal(json_string_value(json_object_get(document, "openapi")), "3.1.0");
	assert_true(json_is_string(json_object_get(info, "title")));
	assert_true(json_is_string(json_object_get(info, "version")));
	json_object_foreach(json_object_get(document, "paths"), path, item)
	{
		assert_int_equal(path[0], '/');
		json_object_foreach(item, method, operation)
		{
			const json_t *id = json_object_get(operation, "operationId");

			if (strcmp(method, "parameters") == 0)
				continue;
			check_operation(path, item, operation);
			assert_null(json_object_get(ids, json_string_value(id)));
			json_object_set_new(ids, json_string_value(id), json_true());
		}
	}
	json_decref(ids);
	json_decref(document);
}

static void it_is_served_to_anybody(void **state)
{
	struct qrig *q = qrig_new("");
	struct tls_client_reply r = qrig_ask_with(q, NULL, "GET", "/v1/openapi.json", NULL);

	(void)state;
	assert_int_equal(r.status, 200);
	assert_true(tls_client_reply_has(&r, "content-type: application/json"));
	assert_true(cc_view_equal(
		cc_blob_view(&r.body), cc_view_of(http_openapi_json, http_openapi_size)));
	tls_client_reply_clear(&r);
	qrig_free(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_route_is_described_with_its_scope),
		cmocka_unit_test(nothing_is_described_that_is_not_served),
		cmocka_unit_test(every_reference_leads_somewhere),
		cmocka_unit_test(the_document_has_the_shape_of_openapi_3_1),
		cmocka_unit_test(it_is_served_to_anybody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

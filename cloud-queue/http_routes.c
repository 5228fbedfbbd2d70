/*
 * The table of what the producers' server serves, and the matching of a path with it.
 */
#include "cloud-queue/http_routes.h"

#include "cloud-queue/store.h"
#include <string.h>

static const struct http_route routes[] = {
	{HTTP_POST, "/v1/tenants/{}/jobs", STORE_SCOPE_JOBS_WRITE, http_jobs_post},
	{HTTP_GET, "/v1/tenants/{}/jobs", STORE_SCOPE_JOBS_READ, http_list_jobs},
	{HTTP_POST, "/v1/tenants/{}/jobs:batch", STORE_SCOPE_JOBS_WRITE, http_deliver_batch},
	{HTTP_POST, "/v1/tenants/{}/jobs/{}:cancel", STORE_SCOPE_JOBS_WRITE, http_steps_cancel},
	{HTTP_POST, "/v1/tenants/{}/jobs/{}:retry", STORE_SCOPE_JOBS_WRITE, http_steps_retry},
	{HTTP_GET, "/v1/tenants/{}/events", STORE_SCOPE_JOBS_READ, http_events_get},
	{HTTP_GET, "/v1/tenants/{}/jobs/{}", STORE_SCOPE_JOBS_READ, http_jobs_get},
	{HTTP_GET, "/v1/tenants/{}/jobs/{}/result", STORE_SCOPE_JOBS_READ, http_jobs_result},
	{HTTP_POST, "/v1/tenants/{}/user-pfx", STORE_SCOPE_PFX_WRITE, http_pfx_post},
	{HTTP_GET, "/v1/tenants/{}/user-pfx", STORE_SCOPE_PFX_READ, http_pfx_list},
	{HTTP_GET, "/v1/tenants/{}/user-pfx/{}", STORE_SCOPE_PFX_READ, http_pfx_get},
	{HTTP_PUT, "/v1/tenants/{}/user-pfx/{}", STORE_SCOPE_PFX_WRITE, http_pfx_put},
	{HTTP_DELETE, "/v1/tenants/{}/user-pfx/{}", STORE_SCOPE_PFX_WRITE, http_pfx_delete},
	{HTTP_GET, "/v1/tenants/{}/user-pfx/{}/content", STORE_SCOPE_PFX_CONTENT, http_pfx_content},
	{HTTP_POST, "/v1/tenants/{}/user-pfx:deliver", STORE_SCOPE_JOBS_WRITE, http_deliver_post},
	{HTTP_PUT, "/v1/tenants/{}/signers/{}", STORE_SCOPE_SIGNERS_WRITE, http_admin_signer_put},
	{HTTP_GET, "/v1/tenants/{}/import-keys", STORE_SCOPE_CONNECTORS_READ,
		http_admin_import_keys},
	{HTTP_GET, "/v1/tenants/{}/connectors", STORE_SCOPE_CONNECTORS_READ, http_admin_connectors},
	{HTTP_POST, "/v1/enroll", 0, http_enroll_post},
	{HTTP_GET, "/v1/health", 0, http_admin_health},
	{HTTP_GET, "/v1/openapi.json", 0, http_openapi_get},
};

/* One part of the path, up to the next slash or the colon of a verb, into `to`. */
static const char *take_part(const char *path, const char *end, char *to, size_t room)
{
	size_t n = strcspn(path, end);

	if (n == 0 || n >= room)
		return NULL;
	memcpy(to, path, n);
	to[n] = '\0';
	return path + n;
}

static bool matches(const char *pattern, const char *path, char *params, size_t room, size_t count)
{
	size_t taken = 0;

	while (*pattern) {
		if (pattern[0] == '{' && pattern[1] == '}') {
			if (taken == count)
				return false;
			path = take_part(
				path, pattern[2] == ':' ? "/:" : "/", params + taken * room, room);
			if (!path)
				return false;
			taken++;
			pattern += 2;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

const struct http_route *http_routes_find(
	enum http_method method, const char *path, char *params, size_t room, size_t count)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (routes[i].method == method &&
			matches(routes[i].path, path, params, room, count))
			return &routes[i];
	}
	return NULL;
}

const struct http_route *http_routes_at(size_t i)
{
	return i < sizeof(routes) / sizeof(routes[0]) ? &routes[i] : NULL;
}

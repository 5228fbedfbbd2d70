/*
 * GET /v1/openapi.json: the API's description, openapi.json of this folder as it is.
 */
#include "cloud-queue/http_openapi.h"

#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"

void http_openapi_get(struct http_request *r)
{
	http_answer_bytes(
		r, 200, "application/json", cc_view_of(http_openapi_json, http_openapi_size));
}

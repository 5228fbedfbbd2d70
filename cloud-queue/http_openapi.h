/*
 * The API's description (OpenAPI 3.1), in the program as bytes: cloud-queue/CMakeLists.txt makes them
 * from openapi.json.  Any thread; constant.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

extern const uint8_t http_openapi_json[];
extern const size_t http_openapi_size;

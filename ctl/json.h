/*
 * Values of the daemon's answers as JSON, and a list of them for people: what commands that list share.
 *
 * certconnectorctl only; one thread.  Each function gives a new reference.
 */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

json_t *ctl_json_text(ProtobufCBinaryData words); /* cleaned: some come from elsewhere */
json_t *ctl_json_hex(ProtobufCBinaryData bytes);
json_t *ctl_json_time(int64_t seconds);
/* The list to stdout: as JSON, or each item under its member `head`, or `none` when it is empty. */
void ctl_json_print(const json_t *list, const char *head, bool json, const char *none);

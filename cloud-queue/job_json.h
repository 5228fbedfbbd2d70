/*
 * Jobs as JSON: the field names of JobDocument, bytes in base64, enums as words (cms-auth, rsa-2048).
 *
 * Tools only; any thread.  The mapping walks the message's descriptor, so a new field needs nothing
 * here.  Unknown members, wrong types and unknown words are refused with their place
 * (/issue/san/0/type).
 */
#pragma once

#include "base/blob.h"
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* Packed message of this type. */
cc_err job_json_pack(
	const ProtobufCMessageDescriptor *type, const json_t *from, cc_blob *ret) CC_MUST_USE;
/* The message as JSON; default values are left out.  Free with json_decref. */
json_t *job_json_of(const ProtobufCMessage *message);
/* "cms-auth" for SEAL_CMS_AUTH: the enumerator without its first word.  Caller frees. */
char *job_json_word(const ProtobufCEnumValue *value);

/*
 * JSON to message and back, by the message's descriptor.
 *
 * All our strings are bytes for protobuf-c (they may not hide a NUL), so the descriptor cannot say
 * which fields are text; the few that are binary are named here.
 */
#include "cloud-queue/job_json.h"
#include "base/text.h"
#include "proto/codec.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX (192u * 1024u)

static const char *const binary_fields[] = {"spki", "certificate_chain", "pfx_sha256", "key_id",
	"sha256", "issuer", "serial", "body", "signature", "job_id", "job_sha256", "device_spki",
	"sealed_sha256", "certificate", "chain"};

static bool is_binary(const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; i < sizeof(binary_fields) / sizeof(binary_fields[0]); i++) {
		if (strcmp(binary_fields[i], field->name) == 0)
			return true;
	}
	return false;
}

char *job_json_word(const ProtobufCEnumValue *value)
{
	const char *from = strchr(value->name, '_');
	char *word = cc_strdup(from ? from + 1 : value->name);
	for (char *c = word; *c != '\0'; c++)
		*c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
	return word;
}

/* Where a value of this field goes: in the struct, or in the element `index` of its array. */
static void *slot(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t index)
{
	static const size_t sizes[] = {
		[PROTOBUF_C_TYPE_INT64] = sizeof(int64_t),
		[PROTOBUF_C_TYPE_UINT64] = sizeof(uint64_t),
		[PROTOBUF_C_TYPE_UINT32] = sizeof(uint32_t),
		[PROTOBUF_C_TYPE_ENUM] = sizeof(int),
		[PROTOBUF_C_TYPE_BOOL] = sizeof(protobuf_c_boolean),
		[PROTOBUF_C_TYPE_BYTES] = sizeof(ProtobufCBinaryData),
		[PROTOBUF_C_TYPE_MESSAGE] = sizeof(void *),
	};
	uint8_t *at = (uint8_t *)message + field->offset;
	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return at;
	return *(uint8_t **)(void *)at + index * sizes[field->type];
}

static cc_err fill(ProtobufCMessage *message, const json_t *from, const char *place);

static cc_err set_enum(
	const ProtobufCFieldDescriptor *field, const json_t *from, const char *place, int *to)
{
	const ProtobufCEnumDescriptor *type = field->descriptor;
	const char *text = json_string_value(from);

	for (unsigned i = 0; text != NULL && i < type->n_values; i++) {
		char *word = job_json_word(&type->values[i]);
		bool same = strcmp(word, text) == 0;
		free(word);
		if (same) {
			*to = type->values[i].value;
			return CC_OK;
		}
	}
	return cc_fail(CC_MALFORMED, "%s: \"%s\" is not a word of %s", place, text ? text : "",
		type->short_name);
}

static cc_err set_bytes(const ProtobufCFieldDescriptor *field, const json_t *from,
	const char *place, ProtobufCBinaryData *to)
{
	cc_view text = cc_view_of(json_string_value(from), json_string_length(from));
	cc_blob data = CC_BLOB_NONE;

	if (!json_is_string(from))
		return cc_fail(CC_MALFORMED, "%s: text is expected", place);
	if (is_binary(field)) {
		cc_err err = text_from_base64(text, VALUE_MAX, &data);
		if (err != CC_OK)
			return cc_fail_in(err, "%s: base64", place);
	} else {
		data = cc_blob_copy(text);
	}
	*to = (ProtobufCBinaryData){.len = data.size, .data = data.data};
	return CC_OK;
}

static cc_err set_number(
	const ProtobufCFieldDescriptor *field, const json_t *from, const char *place, void *to)
{
	json_int_t value = json_integer_value(from);

	if (!json_is_integer(from))
		return cc_fail(CC_MALFORMED, "%s: a whole number is expected", place);
	if (field->type == PROTOBUF_C_TYPE_INT64) {
		*(int64_t *)to = value;
	} else if (value < 0) {
		return cc_fail(CC_MALFORMED, "%s: must not be negative", place);
	} else if (field->type == PROTOBUF_C_TYPE_UINT64) {
		*(uint64_t *)to = (uint64_t)value;
	} else {
		if (value > UINT32_MAX)
			return cc_fail(CC_MALFORMED, "%s: too large", place);
		*(uint32_t *)to = (uint32_t)value;
	}
	return CC_OK;
}

static cc_err set_value(
	const ProtobufCFieldDescriptor *field, const json_t *from, const char *place, void *to)
{
	ProtobufCMessage *child = NULL;
	const ProtobufCMessageDescriptor *type = NULL;

	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(from))
			return cc_fail(CC_MALFORMED, "%s: true or false is expected", place);
		*(protobuf_c_boolean *)to = json_is_true(from);
		return CC_OK;
	case PROTOBUF_C_TYPE_ENUM:
		return set_enum(field, from, place, to);
	case PROTOBUF_C_TYPE_BYTES:
		return set_bytes(field, from, place, to);
	case PROTOBUF_C_TYPE_MESSAGE:
		type = field->descriptor;
		child = cc_alloc(type->sizeof_message);
		protobuf_c_message_init(type, child);
		*(ProtobufCMessage **)to = child; /* owned by the parent, even half filled */
		return fill(child, from, place);
	default:
		return set_number(field, from, place, to);
	}
}

static cc_err set_list(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
	const json_t *from, const char *place)
{
	size_t count = json_array_size(from);
	size_t *n = (size_t *)(void *)((uint8_t *)message + field->quantifier_offset);
	uint8_t **list = (uint8_t **)(void *)((uint8_t *)message + field->offset);
	cc_err err = CC_OK;

	ENSURE(json_is_array(from) && count <= CODEC_REPEATED_MAX,
		cc_fail(CC_MALFORMED, "%s: a list of at most %d is expected", place,
			CODEC_REPEATED_MAX));
	*list = cc_alloc((count + 1) * sizeof(ProtobufCBinaryData));
	for (size_t i = 0; i < count; i++) {
		char *item = cc_asprintf("%s/%zu", place, i);
		*n = i + 1;
		err = set_value(field, json_array_get(from, i), item, slot(message, field, i));
		free(item);
		TRY(err);
	}
out:
	return err;
}

static cc_err set_member(
	ProtobufCMessage *message, const char *name, const json_t *from, const char *place)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);

	if (field == NULL)
		return cc_fail(CC_MALFORMED, "%s: there is no such member in %s", place,
			message->descriptor->short_name);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return set_list(message, field, from, place);
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		uint32_t *chosen =
			(uint32_t *)(void *)((uint8_t *)message + field->quantifier_offset);
		if (*chosen != 0)
			return cc_fail(CC_MALFORMED, "%s: another kind is there already", place);
		*chosen = field->id;
	}
	return set_value(field, from, place, slot(message, field, 0));
}

static cc_err fill(ProtobufCMessage *message, const json_t *from, const char *place)
{
	const char *name;
	json_t *value;
	cc_err err = CC_OK;

	ENSURE(json_is_object(from), cc_fail(CC_MALFORMED, "%s: an object is expected", place));
	json_object_foreach((json_t *)(uintptr_t)from, name, value)
	{
		char *member = cc_asprintf("%s/%s", place, name);
		err = set_member(message, name, value, member);
		free(member);
		TRY(err);
	}
out:
	return err;
}

cc_err job_json_pack(const ProtobufCMessageDescriptor *type, const json_t *from, cc_blob *ret)
{
	ProtobufCMessage *message = cc_alloc(type->sizeof_message);
	protobuf_c_message_init(type, message);
	cc_err err = fill(message, from, "");
	if (err == CC_OK)
		*ret = codec_pack(message);
	protobuf_c_message_free_unpacked(message, NULL);
	return err;
}

static json_t *value_of(const ProtobufCFieldDescriptor *field, const void *at)
{
	const ProtobufCBinaryData *bytes = at;
	char *text = NULL;
	json_t *value = NULL;

	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return *(const protobuf_c_boolean *)at ? json_true() : NULL;
	case PROTOBUF_C_TYPE_ENUM: {
		const ProtobufCEnumValue *word =
			protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at);
		text = word && word->value != 0 ? job_json_word(word) : NULL;
		value = text ? json_string(text) : NULL;
		free(text);
		return value;
	}
	case PROTOBUF_C_TYPE_BYTES:
		if (bytes->len == 0)
			return NULL;
		if (!is_binary(field))
			return json_stringn((const char *)bytes->data, bytes->len);
		text = text_base64_new(cc_view_of(bytes->data, bytes->len));
		value = json_string(text);
		free(text);
		return value;
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *child = *(ProtobufCMessage *const *)at;
		return child ? job_json_of(child) : NULL;
	}
	case PROTOBUF_C_TYPE_INT64:
		return *(const int64_t *)at ? json_integer(*(const int64_t *)at) : NULL;
	case PROTOBUF_C_TYPE_UINT64:
		return *(const uint64_t *)at ? json_integer((json_int_t) * (const uint64_t *)at)
					     : NULL;
	default:
		return *(const uint32_t *)at ? json_integer(*(const uint32_t *)at) : NULL;
	}
}

static json_t *list_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	size_t count = *(size_t *)(void *)((uint8_t *)message + field->quantifier_offset);
	json_t *list = count > 0 ? json_array() : NULL;
	for (size_t i = 0; i < count; i++) {
		json_t *item = value_of(field, slot(message, field, i));
		json_array_append_new(list, item ? item : json_null());
	}
	return list;
}

json_t *job_json_of(const ProtobufCMessage *message)
{
	ProtobufCMessage *m = (ProtobufCMessage *)(uintptr_t)message;
	json_t *to = json_object();

	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &m->descriptor->fields[i];
		json_t *value = NULL;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			value = list_of(m, field);
		} else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
			   *(uint32_t *)(void *)((uint8_t *)m + field->quantifier_offset) ==
				   field->id) {
			value = value_of(field, slot(m, field, 0));
		}
		if (value != NULL)
			json_object_set_new(to, field->name, value);
	}
	return to;
}

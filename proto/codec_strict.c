/*
 * The walk over the wire format (https://protobuf.dev/programming-guides/encoding).  protobuf-c lets the
 * last of two singular fields or oneof members win, keeps unknown fields and takes padded varints; a
 * signed document that two readers may understand differently is refused here, before it is unpacked.
 */
#include "proto/codec_walk.h"

#include <assert.h>
#include <string.h>

#define FIELDS_MAX 64 /* in one message type of this project */
#define DEPTH_MAX  16

struct walk {
	const ProtobufCMessageDescriptor *type;
	const uint8_t *at, *end;
	bool document;
	unsigned depth;
	uint16_t counts[FIELDS_MAX];
};

static cc_err bad(const struct walk *w, const ProtobufCFieldDescriptor *field, const char *what)
{
	return cc_fail(CC_MALFORMED, "%s.%s: %s", w->type->name, field ? field->name : "?", what);
}

/* At most 10 bytes; the tenth holds one bit.  A document's varint has no padding. */
static cc_err read_varint(struct walk *w, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t byte;

		if (w->at == w->end)
			return bad(w, NULL, "cut short in a number");
		byte = *w->at++;
		if (shift == 63 && byte > 1)
			return bad(w, NULL, "a number over 64 bits");
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		if (w->document && byte == 0 && shift > 0)
			return bad(w, NULL, "a padded number");
		*ret = value;
		return CC_OK;
	}
	return bad(w, NULL, "a number over 64 bits");
}

static cc_err read_bytes(struct walk *w, uint64_t size, cc_view *ret)
{
	if (size > (uint64_t)(w->end - w->at))
		return bad(w, NULL, "cut short");
	*ret = cc_view_of(w->at, (size_t)size);
	w->at += size;
	return CC_OK;
}

static cc_err skip_value(struct walk *w, unsigned wire)
{
	uint64_t number = 0;
	cc_view ignored;
	cc_err err = CC_OK;

	switch (wire) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return read_varint(w, &number);
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		return read_bytes(w, 8, &ignored);
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		return read_bytes(w, 4, &ignored);
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		TRY(read_varint(w, &number));
		TRY(read_bytes(w, number, &ignored));
		break;
	default:
		err = bad(w, NULL, "a wire type that does not exist");
	}
out:
	return err;
}

static unsigned wire_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return PROTOBUF_C_WIRE_TYPE_32BIT;
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return PROTOBUF_C_WIRE_TYPE_64BIT;
	default:
		return PROTOBUF_C_WIRE_TYPE_VARINT;
	}
}

static cc_err count_item(struct walk *w, const ProtobufCFieldDescriptor *field)
{
	uint16_t *count = &w->counts[field - w->type->fields];

	if (*count >= CODEC_REPEATED_MAX)
		return cc_fail(CC_TOO_LARGE, "%s.%s: more than %d items", w->type->name,
			field->name, CODEC_REPEATED_MAX);
	(*count)++;
	return CC_OK;
}

/* A document has a singular field once, and one member of a oneof. */
static cc_err count_singular(struct walk *w, const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *type = w->type;

	if (!w->document)
		return CC_OK;
	if (w->counts[field - type->fields]++ > 0)
		return bad(w, field, "stands there twice");
	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return CC_OK;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *other = &type->fields[i];

		if (other != field && (other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
			other->quantifier_offset == field->quantifier_offset && w->counts[i] > 0)
			return bad(w, field, "a second member of one oneof");
	}
	return CC_OK;
}

static cc_err walk_scalar(struct walk *w, const ProtobufCFieldDescriptor *field, unsigned wire)
{
	uint64_t value = 0;
	cc_err err = CC_OK;

	if (wire != PROTOBUF_C_WIRE_TYPE_VARINT)
		return skip_value(w, wire);
	TRY(read_varint(w, &value));
	if (w->document && field->type == PROTOBUF_C_TYPE_ENUM)
		ENSURE(value <= INT32_MAX &&
				protobuf_c_enum_descriptor_get_value(
					(const ProtobufCEnumDescriptor *)field->descriptor,
					(int)value),
			bad(w, field, "a value that is not known"));
out:
	return err;
}

static cc_err walk_packed(struct walk *w, const ProtobufCFieldDescriptor *field, unsigned wire)
{
	const uint8_t *outer = w->end;
	uint64_t size = 0;
	cc_view part = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(read_varint(w, &size));
	TRY(read_bytes(w, size, &part));
	w->at = part.data;
	w->end = part.data + part.size;
	while (w->at < w->end) {
		TRY(count_item(w, field));
		TRY(walk_scalar(w, field, wire));
	}
	w->end = outer;
out:
	return err;
}

static cc_err walk_message(
	const ProtobufCMessageDescriptor *type, cc_view bytes, bool document, unsigned depth);

static cc_err walk_lengthed(struct walk *w, const ProtobufCFieldDescriptor *field)
{
	uint64_t size = 0;
	cc_view part = CC_VIEW_NONE;
	cc_err err = CC_OK;

	TRY(read_varint(w, &size));
	TRY(read_bytes(w, size, &part));
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		TRY(walk_message((const ProtobufCMessageDescriptor *)field->descriptor, part,
			w->document, w->depth + 1));
	if (field->type == PROTOBUF_C_TYPE_STRING && part.size > 0)
		ENSURE(!memchr(part.data, 0, part.size), bad(w, field, "a NUL in text"));
out:
	return err;
}

static cc_err walk_known(struct walk *w, const ProtobufCFieldDescriptor *field, unsigned wire)
{
	unsigned expected = wire_of(field->type);
	bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
	cc_err err = CC_OK;

	if (repeated && expected != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED &&
		wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
		return walk_packed(w, field, expected);
	ENSURE(wire == expected, bad(w, field, "another type on the wire"));
	if (repeated)
		TRY(count_item(w, field));
	else
		TRY(count_singular(w, field));
	if (wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
		TRY(walk_lengthed(w, field));
	else
		TRY(walk_scalar(w, field, wire));
out:
	return err;
}

static cc_err walk_field(struct walk *w)
{
	const ProtobufCFieldDescriptor *field;
	uint64_t tag = 0;
	cc_err err = CC_OK;

	TRY(read_varint(w, &tag));
	ENSURE(tag >> 3 != 0 && tag <= UINT32_MAX, bad(w, NULL, "a field number out of range"));
	field = protobuf_c_message_descriptor_get_field(w->type, (unsigned)(tag >> 3));
	if (field) {
		TRY(walk_known(w, field, (unsigned)(tag & 7)));
	} else {
		ENSURE(!w->document, cc_fail(CC_MALFORMED, "%s: field %u is not known",
					     w->type->name, (unsigned)(tag >> 3)));
		TRY(skip_value(w, (unsigned)(tag & 7)));
	}
out:
	return err;
}

static cc_err walk_message(
	const ProtobufCMessageDescriptor *type, cc_view bytes, bool document, unsigned depth)
{
	struct walk w = {
		.type = type,
		.at = bytes.data,
		.end = bytes.size ? bytes.data + bytes.size : bytes.data,
		.document = document,
		.depth = depth,
	};
	cc_err err = CC_OK;

	assert(type->n_fields <= FIELDS_MAX);
	ENSURE(depth < DEPTH_MAX, bad(&w, NULL, "nested too deeply"));
	while (w.at < w.end)
		TRY(walk_field(&w));
out:
	return err;
}

cc_err codec_walk(const ProtobufCMessageDescriptor *type, cc_view bytes, enum codec_walk_mode mode)
{
	return walk_message(type, bytes, mode == CODEC_WALK_DOCUMENT, 0);
}

/*
 * Codec walk: the wire format read against a descriptor, without allocating.  For codec.c only.
 *
 * Both modes: framing, wire types, at most CODEC_REPEATED_MAX items of a repeated field, no NUL in a
 * field that becomes a C string.  DOCUMENT also refuses unknown fields, a singular field twice, two
 * members of one oneof, varints longer than needed and enum values that the descriptor lacks.
 */
#pragma once

#include "proto/codec.h"

enum codec_walk_mode { CODEC_WALK_MESSAGE, CODEC_WALK_DOCUMENT };

cc_err codec_walk(const ProtobufCMessageDescriptor *type, cc_view bytes,
	enum codec_walk_mode mode) CC_MUST_USE;

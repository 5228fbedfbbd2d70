/*
 * Purposes and paddings: two tables and the looking up.
 */
#include "cloud-queue/graph_words.h"

#include "base/text.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const purposes[] = {
	"unassigned", "smimeEncryption", "smimeSigning", "vpn", "wifi"};

static const struct {
	const char *name;
	int number; /* Graph's */
	Certq__Padding padding;
} paddings[] = {{"none", 0, CERTQ__PADDING__PADDING_OAEP_SHA512},
	{"oaepSha256", 3, CERTQ__PADDING__PADDING_OAEP_SHA256},
	{"oaepSha384", 4, CERTQ__PADDING__PADDING_OAEP_SHA384},
	{"oaepSha512", 5, CERTQ__PADDING__PADDING_OAEP_SHA512}};

static bool is_word(const json_t *value, const char *word)
{
	return json_is_string(value) &&
	       text_equal_nocase(cc_view_of(json_string_value(value), json_string_length(value)),
		       cc_view_text(word));
}

const char *graph_words_purpose(const json_t *value)
{
	for (size_t i = 0; i < COUNT(purposes); i++) {
		if (is_word(value, purposes[i]))
			return purposes[i];
	}
	return NULL;
}

bool graph_words_padding(const json_t *value, Certq__Padding *ret)
{
	for (size_t i = 0; i < COUNT(paddings); i++) {
		if (is_word(value, paddings[i].name) ||
			(json_is_integer(value) &&
				json_integer_value(value) == paddings[i].number)) {
			*ret = paddings[i].padding;
			return true;
		}
	}
	return false;
}

const char *graph_words_padding_name(uint32_t padding)
{
	for (size_t i = 1; i < COUNT(paddings); i++) {
		if (paddings[i].padding == padding)
			return paddings[i].name;
	}
	return "none";
}

/*
 * Policy, alternative names without a domain at their end: URIs by what they begin with, addresses by
 * their network.
 */
#include "base/text.h"
#include "keyvault/policy_int.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

/* ---- URIs ---- */

cc_err policy_san_read_uris(const struct conf_node *n, struct policy_profile *profile)
{
	cc_err err = CC_OK;

	TRY(policy_list_read(n, "san.uri", &profile->san_uri));
	for (size_t i = 0; i < profile->san_uri.count; i++) {
		cc_view uri = profile->san_uri.items[i];

		ENSURE(memchr(uri.data, ':', uri.size) != NULL,
			conf_fail(conf_at(n, i),
				"san.uri: a URI, or the beginning of one that ends in / : # ? ="));
	}
out:
	return err;
}

/* The next character of a path as the most lenient reader has it: decoded, and with one kind of slash. */
static char next_of_path(cc_view uri, size_t *at)
{
	static const struct {
		const char *code;
		char means;
	} codes[] = {{"%2e", '.'}, {"%2f", '/'}, {"%5c", '/'}, {"\\", '/'}};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		cc_view code = cc_view_text(codes[i].code);

		if (text_equal_nocase(cc_view_part(uri, *at, code.size), code)) {
			*at += code.size;
			return codes[i].means;
		}
	}
	return (char)uri.data[(*at)++];
}

/* "." or ".." between slashes: "https://contoso.com/users/../admins" is "https://contoso.com/admins"
 * (RFC 3986 section 5.2.4). */
static bool has_dot_segment(cc_view uri)
{
	size_t at = 0, size = 0, dots = 0;
	char c;

	do {
		c = at < uri.size ? next_of_path(uri, &at) : '#';
		if (c != '/' && c != '?' && c != '#') {
			size++;
			dots += c == '.';
			continue;
		}
		if (size > 0 && size <= 2 && dots == size)
			return true;
		size = dots = 0;
	} while (c != '?' && c != '#');
	return false;
}

/* "https://contoso.com:" begins "https://contoso.com:x@contoso.example/" too, whose host is another. */
static bool has_user(cc_view uri)
{
	const uint8_t *colon = memchr(uri.data, ':', uri.size);
	size_t at = colon ? (size_t)(colon - uri.data) + 1 : uri.size;

	if (!text_equal(cc_view_part(uri, at, 2), "//"))
		return false;
	for (at += 2; at < uri.size && strchr("/?#", (char)uri.data[at]) == NULL; at++)
		if (uri.data[at] == '@')
			return true;
	return false;
}

/* An entry that ends in a delimiter is a beginning; one that does not is the whole, so that
 * "https://contoso.com" never takes in "https://contoso.com.example". */
bool policy_san_uri_fits(const struct policy_profile *profile, cc_view uri)
{
	bool leads_away = uri.size == 0 || has_dot_segment(uri) || has_user(uri);

	for (size_t i = 0; i < profile->san_uri.count; i++) {
		cc_view entry = profile->san_uri.items[i];
		bool open =
			!leads_away && strchr("/:#?=", (char)entry.data[entry.size - 1]) != NULL;

		if (cc_view_equal(uri, entry) ||
			(open && uri.size > entry.size &&
				cc_view_equal(cc_view_part(uri, 0, entry.size), entry)))
			return true;
	}
	return false;
}

/* ---- addresses ---- */

static bool read_address(cc_view text, struct policy_network *ret)
{
	char room[INET6_ADDRSTRLEN];

	if (text.size == 0 || text.size >= sizeof(room) || memchr(text.data, 0, text.size))
		return false;
	memcpy(room, text.data, text.size);
	room[text.size] = 0;
	memset(ret->address, 0, sizeof(ret->address));
	ret->size = inet_pton(AF_INET, room, ret->address) == 1    ? 4
		    : inet_pton(AF_INET6, room, ret->address) == 1 ? 16
								   : 0;
	ret->bits = ret->size * 8;
	return ret->size != 0;
}

static bool bit_of(const uint8_t *address, unsigned n)
{
	return address[n / 8] >> (7 - n % 8) & 1;
}

/* "10.1.0.0/16": no bit behind the prefix, so that a mistyped one is seen. */
static bool read_network(cc_view text, struct policy_network *ret)
{
	const uint8_t *slash = memchr(text.data, '/', text.size);
	size_t size = slash ? (size_t)(slash - text.data) : text.size;
	uint64_t bits = 0;

	if (!read_address(cc_view_part(text, 0, size), ret))
		return false;
	if (slash == NULL)
		return true;
	if (text_to_u64(cc_view_part(text, size + 1, text.size - size - 1), 0, ret->bits, &bits) !=
		CC_OK)
		return false;
	for (unsigned n = (unsigned)bits; n < ret->bits; n++)
		if (bit_of(ret->address, n))
			return false;
	ret->bits = (unsigned)bits;
	return true;
}

cc_err policy_san_read_networks(const struct conf_node *n, struct policy_profile *profile)
{
	struct policy_list list = {0};
	cc_err err = CC_OK;

	TRY(policy_list_read(n, "san.ip", &list));
	profile->san_ip = cc_alloc((list.count + 1) * sizeof(*profile->san_ip));
	for (size_t i = 0; i < list.count; i++)
		ENSURE(read_network(list.items[i], &profile->san_ip[profile->san_ip_count++]),
			conf_fail(conf_at(n, i),
				"san.ip: an address, or a network such as 10.1.0.0/16 or "
				"2001:db8::/32"));
out:
	free(list.items);
	return err;
}

bool policy_san_ip_fits(const struct policy_profile *profile, cc_view text)
{
	struct policy_network ip;

	if (!read_address(text, &ip))
		return false;
	for (size_t i = 0; i < profile->san_ip_count; i++) {
		const struct policy_network *net = &profile->san_ip[i];
		unsigned same = 0;

		while (ip.size == net->size && same < net->bits &&
			bit_of(ip.address, same) == bit_of(net->address, same))
			same++;
		if (ip.size == net->size && same == net->bits)
			return true;
	}
	return false;
}

/*
 * Configuration: the way to the queue, queue: and proxy: of connector.yaml.
 *
 * What does not fit together is refused here, so that a role never starts with half a proxy.
 */
#include "base/text.h"
#include "connector/addresses.h"
#include "connector/config_int.h"
#include <stdlib.h>

struct raw_queue {
	const struct conf_node *addresses;
};

const struct conf_key config_queue_keys[CONFIG_QUEUE_KEYS] = {
	{.name = "addresses",
		.type = CONF_NODE,
		.offset = offsetof(struct raw_queue, addresses),
		.help = "where else the queue is: a list of wss://host:port or host:port"},
};

const struct conf_key config_proxy_keys[CONFIG_PROXY_KEYS] = {
	{.name = "kind",
		.type = CONF_CHOICE,
		.offset = offsetof(struct config_proxy, kind),
		.fallback = "none",
		.allowed = PROXY_KINDS,
		.help = "what stands between here and the queue"},
	{.name = "address",
		.type = CONF_TEXT,
		.offset = offsetof(struct config_proxy, address),
		.help = "host:port of the proxy"},
	{.name = "auth",
		.type = CONF_CHOICE,
		.offset = offsetof(struct config_proxy, auth),
		.fallback = "none",
		.allowed = PROXY_AUTHS,
		.help = "how to authenticate to it"},
	{.name = "user",
		.type = CONF_TEXT,
		.offset = offsetof(struct config_proxy, user),
		.help = "whom to authenticate as; for ntlm DOMAIN\\USER"},
	{.name = "secret",
		.type = CONF_PATH,
		.offset = offsetof(struct config_proxy, secret),
		.help = "file with the password, or for negotiate the keytab; mode 0600"},
	{.name = "ca",
		.type = CONF_PATH,
		.offset = offsetof(struct config_proxy, ca),
		.help = "PEM file of the CA of an https proxy"},
	{.name = "krb5_config",
		.type = CONF_PATH,
		.offset = offsetof(struct config_proxy, krb5_config),
		.fallback = "/etc/krb5.conf",
		.help = "configuration of Kerberos, for negotiate"},
};

static cc_err read_addresses(struct config *c, const struct conf_node *list)
{
	cc_err err = CC_OK;

	if (list == NULL)
		return CC_OK;
	ENSURE(conf_is_list(list) && conf_count(list) < ADDRESSES_MAX,
		conf_fail(list, "addresses: not a list of at most %d", ADDRESSES_MAX - 1));
	for (size_t i = 0; i < conf_count(list); i++) {
		const struct conf_node *item = conf_at(list, i);
		ENSURE(addresses_check(conf_text(item)) == CC_OK,
			conf_fail(item, "addresses: not wss://host:port or host:port"));
		c->queue.addresses[c->queue.address_count++] = cc_strndup(conf_text(item));
	}
out:
	return err;
}

static cc_err check_authentication(const struct config_proxy *p, const struct conf_node *at)
{
	bool socks = p->kind == PROXY_SOCKS5 || p->kind == PROXY_SOCKS5H;

	if (p->auth == PROXY_AUTH_NONE)
		return p->user == NULL && p->secret == NULL
			       ? CC_OK
			       : conf_fail(at, "proxy: user or secret, but auth is none");
	if (p->secret == NULL)
		return conf_fail(at, "proxy: auth without secret");
	if (socks && p->auth != PROXY_AUTH_BASIC)
		return conf_fail(at, "proxy: a SOCKS proxy has auth none or basic");
	if (p->auth == PROXY_AUTH_NEGOTIATE)
		return p->user == NULL ? CC_OK
				       : conf_fail(at, "proxy: with negotiate the keytab says "
						       "who we are, not user");
	return p->user != NULL ? CC_OK : conf_fail(at, "proxy: auth without user");
}

static cc_err check_proxy(struct config_proxy *p, const struct conf_node *at)
{
	cc_err err = CC_OK;

	if (p->kind == PROXY_NONE) {
		ENSURE(p->address == NULL && p->auth == PROXY_AUTH_NONE && p->ca == NULL,
			conf_fail(at, "proxy: kind is none, and yet something is said of it"));
		return check_authentication(p, at);
	}
	ENSURE(p->address != NULL, conf_fail(at, "proxy: address is missing"));
	ENSURE(identity_parse_address(cc_view_text(p->address), &p->host, &p->port) == CC_OK,
		conf_fail(conf_get(at, "address"), "proxy.address: not host:port"));
	ENSURE((p->kind == PROXY_HTTPS) == (p->ca != NULL),
		conf_fail(at, p->ca == NULL ? "proxy: an https proxy needs ca"
					    : "proxy: ca is for kind https"));
	TRY(check_authentication(p, at));
out:
	return err;
}

cc_err config_read_way(struct config *c)
{
	struct raw_queue queue = {0};
	cc_err err = CC_OK;

	TRY(config_fill_section(
		c, c->queue_node, "queue", config_queue_keys, CONFIG_QUEUE_KEYS, &queue));
	TRY(read_addresses(c, queue.addresses));
	TRY(config_fill_section(
		c, c->proxy_node, "proxy", config_proxy_keys, CONFIG_PROXY_KEYS, &c->proxy));
	TRY(check_proxy(&c->proxy, c->proxy_node));
out:
	return err;
}

void config_clear_way(struct config *c)
{
	for (size_t i = 0; i < c->queue.address_count; i++)
		free(c->queue.addresses[i]);
	free(c->proxy.host);
}

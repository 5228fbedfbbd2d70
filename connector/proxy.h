/*
 * Proxy: what stands between this connector and the queue, as its part of the Setup says.
 *
 * Connector process.  Made once, before the walls and before any thread, since it sets the Kerberos
 * library's environment; read-only afterwards, so that the dialer's threads may share it.  The
 * password is a cc_secret; a keytab is handed on as a sealed memfd, never by a path.
 */
#pragma once

#include "base/blob.h"
#include "role/v1/role.pb-c.h"

enum proxy_kind { PROXY_NONE, PROXY_HTTP, PROXY_HTTPS, PROXY_SOCKS5, PROXY_SOCKS5H };
/* The words of connector.yaml, in the order of the enums, separated by '|'. */
#define PROXY_KINDS "none|http|https|socks5|socks5h"

enum proxy_auth {
	PROXY_AUTH_NONE,
	PROXY_AUTH_BASIC,
	PROXY_AUTH_DIGEST,
	PROXY_AUTH_NTLM,
	PROXY_AUTH_NEGOTIATE,
};
#define PROXY_AUTHS "none|basic|digest|ntlm|negotiate"

struct proxy {
	enum proxy_kind kind;
	char *host; /* without brackets */
	uint16_t port;
	enum proxy_auth auth;
	char *user;
	cc_secret password; /* terminated; not counted in its size */
	cc_blob ca_pem;     /* PROXY_HTTPS: whom to believe */
	int keytab_fd;      /* PROXY_AUTH_NEGOTIATE, else -1 */
};

/* `setup` NULL: no proxy.  The descriptors (-1: none) stay the caller's.  For Negotiate the environment
 * is set: KRB5_CONFIG, KRB5_CLIENT_KTNAME and a credential cache in memory. */
cc_err proxy_new(
	const Role__ProxySetup *setup, int secret_fd, int ca_fd, struct proxy **ret) CC_MUST_USE;
void proxy_free(struct proxy *p); /* accepts NULL; wipes */

const char *proxy_kind_name(enum proxy_kind kind);
const char *proxy_auth_name(enum proxy_auth auth);

/*
 * The guards of both virtual hosts.  Several of them are there because libwebsockets 4.1.6 does
 * otherwise: it throws OpenSSL's verdict about a client certificate away unless the callback
 * repeats it, listens on every address when IPv6 is built in, serves plaintext on a vhost without
 * DO_SSL_GLOBAL_INIT, takes h2c upgrades whatever the ALPN list says, and gives a client that offers
 * no subprotocol the first one.
 */
#include "cloud-queue/gateway_vhost.h"

#include "base/file.h"
#include "base/lws_loop.h"
#include <errno.h>
#include <libwebsockets.h>
#include <netdb.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_S 65 /* between requests of one connection; longer than the longest poll */

struct gateway_vhost {
	struct lws_vhost *vhost;
	lws_retry_bo_t retry; /* lws keeps the pointer */
	void *user;
};

/* AEAD with forward secrecy only; TLS 1.3 has its own list. */
static const char ciphers[] =
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:"
	"ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";

static cc_err check_file(const char *path, enum file_trust trust)
{
	int fd = -1;
	cc_err err = file_open(path, trust, &fd);

	if (fd >= 0)
		close(fd);
	return err;
}

static uint64_t vhost_options(const struct gateway_vhost_setup *setup)
{
	uint64_t options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
			   LWS_SERVER_OPTION_REQUIRE_VALID_OPENSSL_CLIENT_CERT |
			   LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS |
			   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND;

	if (!strchr(setup->listen->listen, ':')) /* an IPv4 literal is ignored with IPv6 on */
		options |= LWS_SERVER_OPTION_DISABLE_IPV6;
	if (!setup->websocket)
		options |= LWS_SERVER_OPTION_PEER_CERT_NOT_REQUIRED;
	return options;
}

static void fill_info(const struct gateway_vhost_setup *setup, struct gateway_vhost *v,
	struct lws_context_creation_info *info)
{
	info->vhost_name = setup->name;
	info->iface = setup->listen->listen;
	info->port = (int)setup->listen->port;
	info->protocols = setup->protocols;
	info->extensions = NULL;
	info->options = vhost_options(setup);
	info->user = v;
	info->alpn = "http/1.1";
	info->ssl_cert_filepath = setup->listen->certificate;
	info->ssl_private_key_filepath = setup->listen->key;
	info->ssl_ca_filepath = setup->client_ca;
	info->ssl_cipher_list = ciphers;
	info->ssl_options_set = SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1 |
				SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION;
	/* timeout_secs is read when a context is made, not here; and a connection has its room for headers
	 * from before TLS, so that the time for which it may hold that is the one that counts */
	info->timeout_secs_ah_idle = GATEWAY_HANDSHAKE_S;
	info->keepalive_timeout = IDLE_S;
	if (setup->websocket) {
		v->retry.secs_since_valid_ping = (uint16_t)setup->ping_s;
		v->retry.secs_since_valid_hangup = (uint16_t)setup->hangup_s;
		info->retry_and_idle_policy = &v->retry;
	}
}

/* lws says only that it failed: what does the system say to the same address? */
static cc_err why_not(const struct gateway_vhost_setup *setup)
{
	const struct queue_listen *l = setup->listen;
	const struct addrinfo numbers = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *address = NULL;
	char port[8];
	int fd = -1, yes = 1, why = 0;

	(void)snprintf(port, sizeof(port), "%u", l->port & 0xffffu);
	if (getaddrinfo(l->listen, port, &numbers, &address) == 0) {
		fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
			bind(fd, address->ai_addr, address->ai_addrlen) != 0)
			why = errno;
		freeaddrinfo(address);
	}
	if (fd >= 0)
		close(fd);
	if (why == EADDRINUSE)
		return cc_fail(CC_CONFIG,
			"%s: %s port %u is in use by another program: stop that one (`ss -ltnp` "
			"names it), or write another port",
			setup->name, l->listen, l->port);
	if (why != 0)
		return cc_fail(CC_CONFIG, "%s: cannot listen on %s port %u: %s", setup->name,
			l->listen, l->port, strerror(why));
	return cc_fail(CC_CONFIG,
		"%s: TLS cannot be set up: %s and %s do not belong together, or "
		"are not PEM",
		setup->name, l->certificate, l->key);
}

cc_err gateway_vhost_open(
	struct loop *l, const struct gateway_vhost_setup *setup, struct gateway_vhost **ret)
{
	struct gateway_vhost *v = cc_alloc(sizeof(*v));
	struct lws_context_creation_info info = {0};
	cc_err err = CC_OK;

	/* lws says only "failed": judge the files first, in our words */
	TRY(check_file(setup->listen->certificate, FILE_CONFIG));
	TRY(check_file(setup->listen->key, FILE_SECRET));
	TRY(check_file(setup->client_ca, FILE_CONFIG));
	v->user = setup->user;
	fill_info(setup, v, &info);
	v->vhost = lws_create_vhost(lws_loop_context(l), &info);
	ENSURE(v->vhost, why_not(setup));
	*ret = v;
	v = NULL;
out:
	ERR_clear_error();
	free(v);
	return err;
}

void gateway_vhost_free(struct gateway_vhost *v)
{
	free(v);
}

uint32_t gateway_vhost_port(const struct gateway_vhost *v)
{
	return (uint32_t)lws_get_vhost_listen_port(v->vhost);
}

void *gateway_vhost_user(struct lws *wsi)
{
	struct gateway_vhost *v = lws_get_vhost_user(lws_get_vhost(wsi));

	return v ? v->user : NULL;
}

/* ---- the callbacks that decide ---- */

static bool header_is(struct lws *wsi, enum lws_token_indexes token, const char *wanted)
{
	char value[64];

	/* never from `in`: it may point to freed memory here (CVE-2025-11677) */
	return lws_hdr_total_length(wsi, token) > 0 &&
	       lws_hdr_copy(wsi, value, sizeof(value), token) > 0 && strcasecmp(value, wanted) == 0;
}

static bool path_is(struct lws *wsi, const char *path)
{
	char value[64];

	return lws_hdr_copy(wsi, value, sizeof(value), WSI_TOKEN_GET_URI) > 0 &&
	       strcmp(value, path) == 0 && lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_URI_ARGS) <= 0;
}

static int judge_upgrade(struct lws *wsi, const char *path, const char *subprotocol)
{
	if (!path || !path_is(wsi, path))
		return -1;
	/* lws picked one of the list; without a list it would have taken the first protocol */
	return subprotocol && lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0 ? 0 : -1;
}

bool gateway_vhost_guard(struct lws *wsi, int reason, size_t len, const char *path,
	const char *subprotocol, int *ret_verdict)
{
	switch (reason) {
	case LWS_CALLBACK_OPENSSL_PERFORM_CLIENT_CERT_VERIFICATION:
		*ret_verdict = len ? 0 : 1; /* len is OpenSSL's preverify_ok */
		return true;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		*ret_verdict = path && header_is(wsi, WSI_TOKEN_UPGRADE, "websocket") ? 0 : -1;
		return true;
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		*ret_verdict = judge_upgrade(wsi, path, subprotocol);
		return true;
	default:
		return false;
	}
}

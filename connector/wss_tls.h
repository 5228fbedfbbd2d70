/*
 * What TLS to the queue had to say against a connection: seen while it happens, named afterwards.
 *
 * Connector process; the loop's thread.  libwebsockets tells the end of a handshake in few words; the
 * certificate that was refused, and the alert with which the queue refused ours, are only seen in
 * callbacks of OpenSSL.  The verdict is X509_verify_cert's; the name that it asks for is set here, since
 * libwebsockets 4.1 cuts a name at its first colon and of "::1" asks for none at all.
 */
#pragma once

#include "base/blob.h"
#include <openssl/ssl.h>

#define WSS_TLS_TEXT 200

struct wss_tls {
	const char *
		name; /* that the certificate has to show, DNS or a number; NULL: nothing will do */
	int verify_error; /* X509_V_ERR_...; X509_V_OK: none */
	int alert;        /* fatal, from the other side; -1: none */
	char issuer[WSS_TLS_TEXT], subject[WSS_TLS_TEXT], until[WSS_TLS_TEXT];
};

/* `t` must outlive the connections made with `ctx`; one at a time. */
void wss_tls_watch(SSL_CTX *ctx, struct wss_tls *t);
void wss_tls_clear(struct wss_tls *t);
/* CC_OK: TLS is not the cause. */
cc_err wss_tls_judge(const struct wss_tls *t, const char *host, unsigned port) CC_MUST_USE;

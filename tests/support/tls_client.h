/*
 * A raw TLS client for tests of servers: what it sends is exactly what the test says.
 *
 * Any test; blocking, with a time limit on every wait.  Certificates of the server are verified when
 * `ca` is given.  A TLS 1.3 server that refuses a client certificate does so after the client's
 * handshake: the first read tells.
 */
#pragma once

#include "base/blob.h"
#include <openssl/x509.h>

#define TLS_CLIENT_WAIT_MS 20000

struct tls_client; /* opaque */

struct tls_client_options { /* zero: an ordinary client without a certificate */
	X509 *ca;           /* who signed the server's certificate; NULL: not verified */
	EVP_PKEY *key;      /* client certificate */
	X509 *certificate;
	const char *alpn; /* "h2,http/1.1" */
	int max_version;  /* TLS1_1_VERSION */
};

/* NULL when the handshake failed. */
struct tls_client *tls_client_open(uint32_t port, const struct tls_client_options *options);
void tls_client_close(struct tls_client *c);             /* accepts NULL */
const char *tls_client_alpn(const struct tls_client *c); /* what was selected; "" for nothing */
X509 *tls_client_top_of_chain(
	const struct tls_client *c); /* the last one the server sent; borrowed */

bool tls_client_write(struct tls_client *c, cc_view data);
/* Some bytes, at least one, appended; false at the end, on an error, and when time is over. */
bool tls_client_read(struct tls_client *c, cc_blob *to);

/* A plain TCP connection to 127.0.0.1; -1 when it is refused. */
int tls_client_tcp(const char *address, uint32_t port);

struct tls_client_reply {
	int status;   /* 0: no answer came */
	cc_blob head; /* terminated */
	cc_blob body; /* terminated */
};
/* One HTTP request as it stands; the answer by its Content-Length.  Clear with ..._reply_clear. */
struct tls_client_reply tls_client_ask(struct tls_client *c, cc_view request);
int tls_client_status(cc_view head); /* of "HTTP/1.1 200 ..."; 0: not such a line */
void tls_client_reply_clear(struct tls_client_reply *r);
/* Is there such a header line in the answer?  "content-type: application/json" */
bool tls_client_reply_has(struct tls_client_reply *r, const char *line);

/*
 * TLS by OpenSSL over a blocking socket with time limits; a little HTTP/1.1.
 */
#include "tests/support/tls_client.h"

#include "base/text.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct tls_client {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
	char alpn[32];
};

int tls_client_tcp(const char *address, uint32_t port)
{
	struct timeval limit = {.tv_sec = TLS_CLIENT_WAIT_MS / 1000};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0 ||
		connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static void set_alpn(struct tls_client *c, const char *list)
{
	unsigned char wire[64];
	size_t used = 0;

	while (*list) {
		size_t n = strcspn(list, ",");

		wire[used++] = (unsigned char)n;
		memcpy(wire + used, list, n);
		used += n;
		list += n + (list[n] == ',');
	}
	SSL_set_alpn_protos(c->ssl, wire, (unsigned)used);
}

static bool handshake(struct tls_client *c, const struct tls_client_options *o)
{
	const unsigned char *alpn = NULL;
	unsigned size = 0;

	if (o->ca) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(c->context), o->ca);
		SSL_CTX_set_verify(c->context, SSL_VERIFY_PEER, NULL);
	}
	if (o->max_version) {
		SSL_CTX_set_security_level(c->context, 0);
		SSL_CTX_set_min_proto_version(c->context, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(c->context, o->max_version);
	}
	if (o->key && (SSL_CTX_use_certificate(c->context, o->certificate) != 1 ||
			      SSL_CTX_use_PrivateKey(c->context, o->key) != 1))
		return false;
	c->ssl = SSL_new(c->context);
	if (o->alpn)
		set_alpn(c, o->alpn);
	SSL_set_fd(c->ssl, c->fd);
	if (SSL_connect(c->ssl) != 1)
		return false;
	SSL_get0_alpn_selected(c->ssl, &alpn, &size);
	if (size < sizeof(c->alpn))
		memcpy(c->alpn, alpn ? alpn : (const unsigned char *)"", size);
	return true;
}

struct tls_client *tls_client_open(uint32_t port, const struct tls_client_options *options)
{
	static const struct tls_client_options none;
	struct tls_client *c = cc_alloc(sizeof(*c));

	signal(SIGPIPE, SIG_IGN);
	c->fd = tls_client_tcp("127.0.0.1", port);
	c->context = SSL_CTX_new(TLS_client_method());
	if (c->fd >= 0 && handshake(c, options ? options : &none))
		return c;
	ERR_clear_error();
	tls_client_close(c);
	return NULL;
}

void tls_client_close(struct tls_client *c)
{
	if (!c)
		return;
	SSL_free(c->ssl);
	SSL_CTX_free(c->context);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

const char *tls_client_alpn(const struct tls_client *c)
{
	return c->alpn;
}

X509 *tls_client_top_of_chain(const struct tls_client *c)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(c->ssl);

	return sk_X509_value(chain, sk_X509_num(chain) - 1);
}

bool tls_client_write(struct tls_client *c, cc_view data)
{
	while (data.size > 0) {
		size_t n = 0;

		if (SSL_write_ex(c->ssl, data.data, data.size, &n) != 1) {
			ERR_clear_error();
			return false;
		}
		data = cc_view_part(data, n, data.size - n);
	}
	return true;
}

bool tls_client_read(struct tls_client *c, cc_blob *to)
{
	uint8_t chunk[16384];
	size_t n = 0;

	if (SSL_read_ex(c->ssl, chunk, sizeof(chunk), &n) != 1) {
		ERR_clear_error();
		return false;
	}
	cc_blob_append(to, cc_view_of(chunk, n));
	return true;
}

/* ---- HTTP ---- */

static size_t head_size(cc_blob *b)
{
	const char *text = cc_blob_text(b);
	const char *end = strstr(text, "\r\n\r\n");

	return end ? (size_t)(end - text) + 4 : 0;
}

static size_t content_length(const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");

	uint64_t n = 0;

	if (at)
		at += strcspn(at + 2, " ") + 3;
	if (!at || text_to_u64(cc_view_of(at, strcspn(at, "\r")), 0, 1 << 26, &n) != CC_OK)
		return 0;
	return (size_t)n;
}

int tls_client_status(cc_view head)
{
	uint64_t status = 0;

	if (text_to_u64(cc_view_part(head, strlen("HTTP/1.1 "), 3), 100, 599, &status) != CC_OK)
		return 0;
	return (int)status;
}

struct tls_client_reply tls_client_ask(struct tls_client *c, cc_view request)
{
	struct tls_client_reply r = {0};
	cc_blob all = CC_BLOB_NONE;
	size_t head = 0, body;

	tls_client_write(c, request); /* a server that refuses may close before it has all */
	while (head == 0 && tls_client_read(c, &all))
		head = head_size(&all);
	if (head > 0) {
		cc_blob_append(&r.head, cc_view_part(cc_blob_view(&all), 0, head));
		body = content_length(cc_blob_text(&r.head));
		while (all.size < head + body && tls_client_read(c, &all))
			;
		cc_blob_append(&r.body, cc_view_part(cc_blob_view(&all), head, body));
		r.status = tls_client_status(cc_blob_view(&r.head));
		if (r.body.size < body)
			r.status = 0;
	}
	cc_blob_text(&r.body);
	cc_blob_free(&all);
	return r;
}

void tls_client_reply_clear(struct tls_client_reply *r)
{
	cc_blob_free(&r->head);
	cc_blob_free(&r->body);
	r->status = 0;
}

bool tls_client_reply_has(struct tls_client_reply *r, const char *line)
{
	return r->head.size > 0 && strcasestr(cc_blob_text(&r->head), line) != NULL;
}

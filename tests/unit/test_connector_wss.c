/*
 * The WebSocket client against a server of libwebsockets in the same loop: whom it believes, what it
 * shows, how it cuts messages, and what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/lws_loop.h"
#include "connector/dialer.h"
#include "connector/wss.h"
#include <libwebsockets.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIMIT_MS = 10000, BIG = 200 * 1024 };

struct authority {
	EVP_PKEY *key;
	X509 *cert;
};

struct bench {
	struct loop *loop;
	struct loop_timer *limit;
	char dir[64];
	struct authority ca, evil;
	struct identity id;
	char *more[1]; /* another address of the queue */
	struct wire *wire;
	struct lws_vhost *server;
	/* server */
	struct lws *wsi;
	bool server_open, send_text, send_two_frames;
	size_t server_got, server_frames, server_largest, server_sends;
	uint8_t *server_buffer;
	char client_name[64];
	/* client */
	bool opened, closed;
	cc_err why;
	char detail[256];
	size_t got;
	unsigned messages;
	bool inside;
};

/* ---- certificates ---- */

static X509 *make_certificate(
	EVP_PKEY *key, const char *name, const char *san, const struct authority *by, bool is_ca)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *subject = X509_get_subject_name(cert);
	X509V3_CTX ctx;
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, by != NULL ? X509_get_subject_name(by->cert) : subject);
	X509V3_set_ctx(&ctx, by != NULL ? by->cert : cert, cert, NULL, NULL, 0);
	X509_EXTENSION *basic = X509V3_EXT_conf_nid(
		NULL, &ctx, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	X509_add_ext(cert, basic, -1);
	X509_EXTENSION_free(basic);
	if (san != NULL) {
		X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
		X509_add_ext(cert, alt, -1);
		X509_EXTENSION_free(alt);
	}
	assert_true(X509_sign(cert, by != NULL ? by->key : key, EVP_sha256()) > 0);
	return cert;
}

static void make_authority(struct authority *a, const char *name)
{
	a->key = EVP_EC_gen("P-256");
	a->cert = make_certificate(a->key, name, NULL, NULL, true);
}

static char *write_file(struct bench *b, const char *name, BIO *bio)
{
	char *path = file_join(b->dir, name), *data = NULL;
	long size = BIO_get_mem_data(bio, &data);
	assert_int_equal(file_write_atomic(path, cc_view_of(data, (size_t)size), 0600), CC_OK);
	BIO_free(bio);
	return path;
}

static char *write_certificate(struct bench *b, const char *name, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, cert);
	return write_file(b, name, bio);
}

static char *write_key(struct bench *b, const char *name, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	return write_file(b, name, bio);
}

static void write_pair(struct bench *b, const struct authority *by, const char *name,
	const char *san, char **ret_cert, char **ret_key)
{
	char file[32];
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = make_certificate(key, name, san, by, false);
	snprintf(file, sizeof file, "%s.pem", name);
	*ret_cert = write_certificate(b, file, cert);
	snprintf(file, sizeof file, "%s.key", name);
	*ret_key = write_key(b, file, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* ---- the server ---- */

static void server_writes(struct bench *b, struct lws *wsi)
{
	uint8_t buffer[LWS_PRE + 16] = {0};
	if (b->send_text) {
		b->send_text = false;
		lws_write(wsi, buffer + LWS_PRE, 4, LWS_WRITE_TEXT);
		return;
	}
	if (b->server_sends == 0)
		return;
	b->server_buffer = cc_realloc(b->server_buffer, LWS_PRE + b->server_sends);
	memset(b->server_buffer, 'x', LWS_PRE + b->server_sends);
	lws_write(wsi, b->server_buffer + LWS_PRE, b->server_sends, LWS_WRITE_BINARY);
	b->server_sends = 0;
}

static void server_receives(struct bench *b, struct lws *wsi, size_t size)
{
	if (lws_is_first_fragment(wsi))
		b->server_got = 0;
	b->server_got += size;
	b->server_frames++;
	if (size > b->server_largest)
		b->server_largest = size;
	if (lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0)
		loop_stop(b->loop);
}

static int on_server(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
	struct bench *b = lws_get_vhost_user(lws_get_vhost(wsi));
	(void)user;
	(void)in;
	switch (reason) {
	case LWS_CALLBACK_OPENSSL_PERFORM_CLIENT_CERT_VERIFICATION:
		return size != 0 ? 0 : 1;
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: {
		char path[32] = "";
		lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI);
		return strcmp(path, WSS_CLIENT_PATH) == 0 ? 0 : -1;
	}
	case LWS_CALLBACK_ESTABLISHED: {
		union lws_tls_cert_info_results info;
		if (lws_tls_peer_cert_info(
			    wsi, LWS_TLS_CERT_INFO_COMMON_NAME, &info, sizeof info.ns.name) == 0)
			snprintf(b->client_name, sizeof b->client_name, "%.*s", 60, info.ns.name);
		b->wsi = wsi;
		b->server_open = true;
		return 0;
	}
	case LWS_CALLBACK_SERVER_WRITEABLE:
		server_writes(b, wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		server_receives(b, wsi, size);
		return 0;
	case LWS_CALLBACK_CLOSED:
		b->wsi = NULL;
		b->server_open = false;
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols server_protocols[] = {
	{.name = "certq.v1", .callback = on_server, .rx_buffer_size = 64 * 1024}, {0}};

static void serve(struct bench *b, const struct authority *by, const char *san)
{
	struct lws_context_creation_info info = {0};
	char *cert = NULL, *key = NULL, *ca = write_certificate(b, "clients.pem", b->ca.cert);
	write_pair(b, by, "server", san, &cert, &key);
	info.vhost_name = "server";
	info.iface = "127.0.0.1";
	info.protocols = server_protocols;
	info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_DISABLE_IPV6 |
		       LWS_SERVER_OPTION_REQUIRE_VALID_OPENSSL_CLIENT_CERT |
		       LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS;
	info.user = b;
	info.alpn = "http/1.1";
	info.ssl_cert_filepath = cert;
	info.ssl_private_key_filepath = key;
	info.ssl_ca_filepath = ca;
	b->server = lws_create_vhost(lws_loop_context(b->loop), &info);
	assert_non_null(b->server);
	b->id.port = (uint16_t)lws_get_vhost_listen_port(b->server);
	free(cert);
	free(key);
	free(ca);
}

/* ---- the client ---- */

static void on_opened(void *arg)
{
	struct bench *b = arg;
	assert_false(b->inside);
	b->opened = true;
	loop_stop(b->loop);
}

static void on_message(void *arg, cc_view message)
{
	struct bench *b = arg;
	b->got = message.size;
	b->messages++;
	loop_stop(b->loop);
}

static void on_closed(void *arg, cc_err why)
{
	struct bench *b = arg;
	assert_false(b->inside);
	assert_false(b->closed);
	b->closed = true;
	b->why = why;
	snprintf(b->detail, sizeof b->detail, "%s", cc_err_detail(why));
	loop_stop(b->loop);
}

static void on_limit(void *arg)
{
	(void)arg;
	fail_msg("nothing happened for %d ms", LIMIT_MS);
}

static void run(struct bench *b)
{
	loop_timer_set(b->limit, LIMIT_MS);
	loop_run(b->loop);
}

static void open_wire(struct bench *b)
{
	struct proxy *proxy = NULL;
	assert_int_equal(proxy_new(NULL, -1, -1, &proxy), CC_OK);
	assert_int_equal(
		wss_new(b->loop, &b->id, &proxy, b->more, b->more[0] != NULL ? 1 : 0, &b->wire),
		CC_OK);
}

static void dial(struct bench *b)
{
	static const struct wire_events events = {
		.opened = on_opened, .message = on_message, .closed = on_closed};
	if (b->wire == NULL)
		open_wire(b);
	b->opened = b->closed = false;
	b->inside = true;
	b->wire->ops->connect(b->wire, &events, b);
	b->inside = false;
	run(b);
}

static void send_bytes(struct bench *b, size_t size)
{
	cc_blob message = cc_blob_new(size);
	assert_int_equal(b->wire->ops->send(b->wire, &message), CC_OK);
	cc_blob_free(&message);
}

static void identify(struct bench *b, const struct authority *by)
{
	write_pair(b, by, "client", "URI:certq://contoso/connector/hq-1", &b->id.chain_path,
		&b->id.key_path);
	b->id.queue_ca_path = write_certificate(b, "queue-ca.pem", b->ca.cert);
	b->id.host = cc_strdup("127.0.0.1");
}

static int setup(void **state)
{
	struct bench *b = cc_alloc(sizeof *b);
	snprintf(b->dir, sizeof b->dir, "/tmp/wss-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	assert_int_equal(lws_loop_new(64, &b->loop), CC_OK);
	b->limit = loop_timer_new(b->loop, on_limit, b);
	make_authority(&b->ca, "queue CA");
	make_authority(&b->evil, "another CA");
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	static const char *const names[] = {"server.pem", "server.key", "client.pem", "client.key",
		"clients.pem", "queue-ca.pem"};
	wss_free(b->wire);
	loop_timer_free(b->limit);
	loop_free(b->loop);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char *path = file_join(b->dir, names[i]);
		unlink(path);
		free(path);
	}
	assert_int_equal(rmdir(b->dir), 0);
	X509_free(b->ca.cert);
	EVP_PKEY_free(b->ca.key);
	X509_free(b->evil.cert);
	EVP_PKEY_free(b->evil.key);
	free(b->more[0]);
	free(b->id.host);
	free(b->id.chain_path);
	free(b->id.key_path);
	free(b->id.queue_ca_path);
	free(b->server_buffer);
	free(b);
	return 0;
}

static void it_connects_shows_its_certificate_and_asks_for_the_subprotocol(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	assert_true(b->opened);
	send_bytes(b, 100);
	run(b);
	assert_true(b->server_open);
	assert_string_equal(b->client_name, "client");
	assert_int_equal(b->server_got, 100);
}

static void a_server_of_another_ca_is_not_believed(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->evil, "IP:127.0.0.1");
	dial(b);
	assert_false(b->opened);
	assert_true(b->closed);
	assert_int_equal(b->why, CC_TLS_INTERCEPTED);
	assert_non_null(strstr(b->detail, "issued by CN=another CA"));
	assert_non_null(strstr(b->detail, "unable to get local issuer certificate"));
}

static void a_server_with_another_name_is_not_believed(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "DNS:elsewhere");
	dial(b);
	assert_false(b->opened);
	assert_int_equal(b->why, CC_TLS_NAME);
	assert_non_null(strstr(b->detail, "IP address mismatch"));
}

/* The name is a number of IPv6 and the place to dial another one. */
static void dial_for_a_number_of_ipv6(struct bench *b, const char *name, const char *san)
{
	identify(b, &b->ca);
	free(b->id.host);
	b->id.host = cc_strdup(name);
	serve(b, &b->ca, san);
	b->more[0] = cc_asprintf("127.0.0.1:%u", (unsigned)b->id.port);
	b->id.port = 1;
	dial(b);
}

static void a_number_of_ipv6_is_a_name_that_is_checked(void **state)
{
	struct bench *b = *state;
	dial_for_a_number_of_ipv6(b, "::1", "DNS:elsewhere");
	assert_false(b->opened);
	assert_true(b->closed);
}

static void a_server_with_the_number_of_ipv6_is_believed(void **state)
{
	struct bench *b = *state;
	dial_for_a_number_of_ipv6(b, "2001:db8::7", "IP:2001:db8::7");
	assert_true(b->opened);
}

static void a_client_that_the_server_does_not_take_hears_of_it_once(void **state)
{
	struct bench *b = *state;
	identify(b, &b->evil);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	assert_false(b->server_open);
	assert_true(b->closed);
	assert_int_equal(b->why, CC_CLIENT_CERTIFICATE);
}

static void a_port_that_nobody_listens_on_is_told_once_and_can_be_dialled_again(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	b->id.port = 1;
	dial(b);
	assert_true(b->closed);
	assert_int_equal(b->why, CC_UNREACHABLE);
	dial(b);
	assert_true(b->closed);
	wss_free(b->wire);
	b->wire = NULL;
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	assert_true(b->opened);
}

static void another_address_is_dialled_when_the_first_fails(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	b->more[0] = cc_asprintf("127.0.0.1:%u", b->id.port);
	b->id.port = 1;
	dial(b);
	assert_true(b->opened);
	/* a connection that lived shortly did not work, so the first one's turn is next, and it fails */
	b->wire->ops->close(b->wire, WIRE_CLOSE_NORMAL);
	while (!b->closed)
		run(b);
	dial(b);
	assert_true(b->opened);
}

static void of_two_failures_the_one_that_may_pass_is_told(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->evil, "IP:127.0.0.1");
	b->more[0] = cc_strdup("wss://127.0.0.1:1");
	dial(b);
	assert_true(b->closed);
	assert_int_equal(b->why, CC_UNREACHABLE);
	assert_non_null(strstr(b->detail, "127.0.0.1 port 1"));
}

static void a_dial_can_be_given_up_at_once(void **state)
{
	struct bench *b = *state;
	static const struct wire_events events = {
		.opened = on_opened, .message = on_message, .closed = on_closed};
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	open_wire(b);
	b->inside = true;
	b->wire->ops->connect(b->wire, &events, b);
	b->wire->ops->close(b->wire, WIRE_CLOSE_NORMAL);
	b->inside = false;
	run(b);
	assert_true(b->closed);
	assert_int_equal(b->why, CC_CLOSED);
	dial(b);
	assert_true(b->opened);
}

struct mute_server {
	SSL_CTX *ctx;
	int listener;
	struct loop_wake *asked;
};

static void *serve_mutely(void *arg)
{
	struct mute_server *m = arg;
	SSL *tls = SSL_new(m->ctx);
	char request[4096];
	int fd = accept(m->listener, NULL, NULL);
	SSL_set_fd(tls, fd);
	if (SSL_accept(tls) == 1 && SSL_read(tls, request, sizeof request) > 0)
		loop_wake_up(m->asked);
	while (SSL_read(tls, request, sizeof request) > 0)
		;
	SSL_free(tls);
	close(fd);
	return NULL;
}

static void give_up(void *arg)
{
	struct bench *b = arg;
	b->wire->ops->close(b->wire, WIRE_CLOSE_NORMAL);
}

/* lws tells of such an end by nothing that names it. */
static void a_dial_whose_upgrade_is_not_answered_can_be_given_up(void **state)
{
	struct bench *b = *state;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	struct mute_server m = {.ctx = SSL_CTX_new(TLS_server_method())};
	char *cert = NULL, *key = NULL;
	pthread_t thread;
	identify(b, &b->ca);
	write_pair(b, &b->ca, "server", "IP:127.0.0.1", &cert, &key);
	assert_int_equal(SSL_CTX_use_certificate_file(m.ctx, cert, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(m.ctx, key, SSL_FILETYPE_PEM), 1);
	m.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(m.listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(m.listener, 1), 0);
	assert_int_equal(getsockname(m.listener, (struct sockaddr *)&at, &size), 0);
	b->id.port = ntohs(at.sin_port);
	assert_int_equal(loop_wake_new(b->loop, give_up, b, &m.asked), CC_OK);
	assert_int_equal(pthread_create(&thread, NULL, serve_mutely, &m), 0);
	dial(b);
	assert_false(b->opened);
	assert_true(b->closed);
	assert_non_null(strstr(b->detail, "before an answer"));
	wss_free(b->wire); /* the server waits for the end */
	b->wire = NULL;
	pthread_join(thread, NULL);
	loop_wake_free(m.asked);
	SSL_CTX_free(m.ctx);
	close(m.listener);
	free(cert);
	free(key);
}

static void a_large_message_goes_out_in_fragments(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	send_bytes(b, BIG);
	assert_int_equal(b->wire->ops->queued(b->wire), BIG);
	run(b);
	assert_int_equal(b->server_got, BIG);
	assert_true(b->server_frames >= BIG / (16 * 1024));
	assert_true(b->server_largest <= 16 * 1024);
	assert_int_equal(b->wire->ops->queued(b->wire), 0);
}

static void a_large_message_comes_in_whole(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	b->server_sends = BIG;
	lws_callback_on_writable(b->wsi);
	run(b);
	assert_int_equal(b->messages, 1);
	assert_int_equal(b->got, BIG);
}

static void a_message_over_the_limit_ends_the_connection(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	b->server_sends = WIRE_MESSAGE_MAX + 1;
	lws_callback_on_writable(b->wsi);
	run(b);
	assert_true(b->closed);
	assert_int_equal(b->messages, 0);
}

/* ---- a peer that goes on after it was refused ---- */

enum { FLOOD = 4 * 1024 * 1024, GROWTH_MAX = 16 * 1024 * 1024 };

struct flooder {
	SSL_CTX *ctx;
	int listener;
	size_t claimed;  /* size of the message in its frame's header */
	unsigned status; /* of the close that came back; 0: none */
};

static size_t resident_bytes(void)
{
	unsigned long all = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &all, &resident), 2);
	fclose(f);
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* RFC 6455 section 4.2.2 */
static void answer_upgrade(SSL *tls, const char *request)
{
	static const char header[] = "sec-websocket-key: ";
	const char *key = strcasestr(request, header);
	unsigned char digest[EVP_MAX_MD_SIZE];
	char accept[64] = "";
	char *text = key == NULL ? NULL
				 : cc_asprintf("%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
					   key + sizeof header - 1);
	char *answer;

	if (text == NULL)
		return;
	EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
	EVP_EncodeBlock((unsigned char *)accept, digest, 20);
	answer = cc_asprintf("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
			     "Sec-WebSocket-Protocol: certq.v1\r\n\r\n",
		accept);
	SSL_write(tls, answer, (int)strlen(answer));
	free(answer);
	free(text);
}

/* RFC 6455 section 5.2: a short close frame of a client, which is masked. */
static unsigned close_status(SSL *tls)
{
	uint8_t frame[256];
	int got = 0, n;

	while (got < 8 && (n = SSL_read(tls, frame + got, (int)sizeof frame - got)) > 0)
		got += n;
	if (got < 8 || frame[0] != 0x88)
		return 0;
	return (unsigned)(frame[6] ^ frame[2]) << 8 | (frame[7] ^ frame[3]);
}

/* One connection: the upgrade, a message that is too large, and bytes and bytes of it. */
static void *flood(void *arg)
{
	struct flooder *f = arg;
	static uint8_t bytes[16 * 1024];
	SSL *tls = SSL_new(f->ctx);
	uint8_t header[10] = {0x82, 127};
	char request[4096];
	int fd = accept(f->listener, NULL, NULL), n;

	SSL_set_fd(tls, fd);
	if (SSL_accept(tls) == 1 && (n = SSL_read(tls, request, sizeof request - 1)) > 0) {
		request[n] = '\0';
		answer_upgrade(tls, request);
		for (int i = 0; i < 8; i++)
			header[2 + i] = (uint8_t)((uint64_t)f->claimed >> (56 - 8 * i));
		SSL_write(tls, header, sizeof header);
		for (size_t sent = 0; sent < f->claimed; sent += sizeof bytes) {
			if (SSL_write(tls, bytes, sizeof bytes) <= 0)
				break;
		}
		f->status = close_status(tls);
	}
	SSL_free(tls);
	close(fd);
	return NULL;
}

static void flooder_listen(struct bench *b, struct flooder *f)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof at;
	char *cert = NULL, *key = NULL;

	write_pair(b, &b->ca, "server", "IP:127.0.0.1", &cert, &key);
	f->ctx = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate_file(f->ctx, cert, SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(f->ctx, key, SSL_FILETYPE_PEM), 1);
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &size), 0);
	b->id.port = ntohs(at.sin_port);
	free(cert);
	free(key);
}

static void a_flood_behind_a_message_over_the_limit_is_closed_and_costs_no_memory(void **state)
{
	struct bench *b = *state;
	struct flooder f = {.claimed = WIRE_MESSAGE_MAX + FLOOD};
	pthread_t thread;
	size_t before;

	signal(SIGPIPE, SIG_IGN); /* the flooder writes to what was closed */
	identify(b, &b->ca);
	flooder_listen(b, &f);
	assert_int_equal(pthread_create(&thread, NULL, flood, &f), 0);
	before = resident_bytes();
	dial(b);
	assert_true(b->opened);
	while (!b->closed)
		run(b);
	assert_int_equal(b->why, CC_TOO_LARGE);
	assert_int_equal(b->messages, 0);
	assert_true(resident_bytes() < before + GROWTH_MAX);
	wss_free(b->wire);
	b->wire = NULL;
	pthread_join(thread, NULL);
	assert_int_equal(f.status, WIRE_CLOSE_TOO_BIG);
	SSL_CTX_free(f.ctx);
	close(f.listener);
	/* the loop serves another connection */
	free(b->id.chain_path);
	free(b->id.key_path);
	free(b->id.queue_ca_path);
	free(b->id.host);
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	assert_true(b->opened);
	send_bytes(b, 100);
	run(b);
	assert_int_equal(b->server_got, 100);
}

static void text_ends_the_connection(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	b->send_text = true;
	lws_callback_on_writable(b->wsi);
	run(b);
	assert_true(b->closed);
	assert_int_equal(b->messages, 0);
}

static void what_is_queued_is_written_before_a_close(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	send_bytes(b, BIG);
	b->inside = true;
	b->wire->ops->close(b->wire, WIRE_CLOSE_NORMAL);
	b->inside = false;
	assert_int_equal(b->wire->ops->queued(b->wire), BIG);
	while (!b->closed)
		run(b);
	assert_true(b->server_got > 0);
	assert_int_equal(b->wire->ops->queued(b->wire), 0);
}

static void more_than_the_outbox_holds_is_refused(void **state)
{
	struct bench *b = *state;
	cc_err err = CC_OK;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	for (int i = 0; i < 100 && err == CC_OK; i++) {
		cc_blob message = cc_blob_new(BIG);
		err = b->wire->ops->send(b->wire, &message);
		cc_blob_free(&message);
	}
	assert_int_equal(err, CC_BUSY);
}

static void it_can_be_freed_while_it_is_connected(void **state)
{
	struct bench *b = *state;
	identify(b, &b->ca);
	serve(b, &b->ca, "IP:127.0.0.1");
	dial(b);
	send_bytes(b, BIG);
	wss_free(b->wire);
	b->wire = NULL;
	assert_false(b->closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			it_connects_shows_its_certificate_and_asks_for_the_subprotocol, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_server_of_another_ca_is_not_believed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_server_with_another_name_is_not_believed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_number_of_ipv6_is_a_name_that_is_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_server_with_the_number_of_ipv6_is_believed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_client_that_the_server_does_not_take_hears_of_it_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_port_that_nobody_listens_on_is_told_once_and_can_be_dialled_again, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_large_message_goes_out_in_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(
			another_address_is_dialled_when_the_first_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(
			of_two_failures_the_one_that_may_pass_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_dial_can_be_given_up_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_dial_whose_upgrade_is_not_answered_can_be_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_message_comes_in_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_message_over_the_limit_ends_the_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_flood_behind_a_message_over_the_limit_is_closed_and_costs_no_memory,
			setup, teardown),
		cmocka_unit_test_setup_teardown(text_ends_the_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_queued_is_written_before_a_close, setup, teardown),
		cmocka_unit_test_setup_teardown(
			more_than_the_outbox_holds_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			it_can_be_freed_while_it_is_connected, setup, teardown),
	};
	if (dialer_start_library() != CC_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The producers' vhost: its guards, heads of requests, authentication.
 */
#include "tests/support/queue_rig.h"

#include "base/clock.h"
#include "base/hash.h"
#include "cloud-queue/gateway_vhost.h"
#include "cloud-queue/gateway_wss.h"
#include "proto/enroll.h"
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>

/* ---- guards of the vhost ---- */

static void plaintext_gets_no_answer(void **state)
{
	static const char request[] = "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n";
	struct qrig *q = *state;
	char answer[256] = "";
	int fd = tls_client_tcp("127.0.0.1", q->producer_port);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	(void)!read(fd, answer, sizeof(answer) - 1);
	assert_null(strstr(answer, "200"));
	assert_null(strstr(answer, "HTTP/"));
	close(fd);
}

/* What a client says first, as far as it goes without an answer. */
static void client_hello(cc_blob *to)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());
	char *data = NULL;
	long size;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	assert_true(SSL_connect(ssl) < 0);
	size = BIO_get_mem_data(out, &data);
	assert_true(size > 200);
	cc_blob_append(to, cc_view_of(data, (size_t)size));
	SSL_free(ssl);
	SSL_CTX_free(context);
}

/* Half-open connections: at each port one that says nothing, one that says half a ClientHello, one that
 * says it byte by byte, one that says it and no more. */
enum { SILENT, HALF, DRIPPING, HELLO_ONLY, WAYS };

struct half_open {
	struct pollfd peers[2 * WAYS];
	size_t dripped, gone;
};

static void half_open(struct half_open *h, const struct qrig *q, cc_view hello)
{
	const uint32_t ports[2] = {q->connector_port, q->producer_port};
	const size_t sizes[WAYS] = {
		[HALF] = hello.size / 2, [DRIPPING] = 1, [HELLO_ONLY] = hello.size};

	h->dripped = 1;
	for (size_t i = 0; i < 2 * WAYS; i++) {
		size_t size = sizes[i % WAYS];
		int fd = tls_client_tcp("127.0.0.1", ports[i / WAYS]);

		assert_true(fd >= 0);
		assert_int_equal(send(fd, hello.data, size, MSG_NOSIGNAL), size);
		h->peers[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
}

/* One look at all; a byte more from those that drip. */
static void tend(struct half_open *h, cc_view hello)
{
	char answer[4096];

	poll(h->peers, 2 * WAYS, 200);
	for (size_t i = 0; i < 2 * WAYS; i++) {
		struct pollfd *p = &h->peers[i];

		if (p->fd >= 0 && (p->revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
			recv(p->fd, answer, sizeof(answer), MSG_DONTWAIT) <= 0) {
			close(p->fd);
			p->fd = -1;
			h->gone++;
		} else if (p->fd >= 0 && i % WAYS == DRIPPING && h->dripped < hello.size / 2) {
			(void)send(p->fd, hello.data + h->dripped, 1, MSG_NOSIGNAL);
		}
	}
	h->dripped++;
}

static void a_peer_that_does_not_get_on_is_dropped_in_time(void **state)
{
	struct qrig *q = *state;
	struct half_open h = {0};
	cc_blob hello = CC_BLOB_NONE, answer = CC_BLOB_NONE;
	int64_t limit_ms = GATEWAY_HANDSHAKE_S * 1000 + 3000, began;
	struct tls_client *quiet = tls_client_open(q->producer_port, NULL);
	struct tls_client *half = tls_client_open(q->producer_port, NULL);

	assert_true(tls_client_write(half, cc_view_text("GET /v1/health HTTP/1.1\r\nHo")));
	client_hello(&hello);
	began = clock_boottime_ms();
	half_open(&h, q, cc_blob_view(&hello));
	while (h.gone < 2 * WAYS && clock_boottime_ms() - began < limit_ms)
		tend(&h, cc_blob_view(&hello));
	assert_int_equal(h.gone, 2 * WAYS);
	assert_true(clock_boottime_ms() - began >= GATEWAY_HANDSHAKE_S * 1000 - 1000);
	assert_false(tls_client_read(quiet, &answer));
	assert_false(tls_client_read(half, &answer));
	assert_in_range(clock_boottime_ms() - began, 0, limit_ms);
	tls_client_close(quiet);
	tls_client_close(half);
	cc_blob_free(&answer);
	cc_blob_free(&hello);
}

static void http_2_is_not_selected(void **state)
{
	struct qrig *q = *state;
	struct tls_client *c = tls_client_open(
		q->producer_port, &(struct tls_client_options){.alpn = "h2,http/1.1"});

	assert_non_null(c);
	assert_string_equal(tls_client_alpn(c), "http/1.1");
	tls_client_close(c);
	c = tls_client_open(q->producer_port, &(struct tls_client_options){.alpn = "h2"});
	if (c)
		assert_string_not_equal(tls_client_alpn(c), "h2");
	tls_client_close(c);
}

static void an_h2c_upgrade_is_refused(void **state)
{
	struct qrig *q = *state;
	struct tls_client_reply r = qrig_raw(q,
		"GET /v1/health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n");

	assert_int_not_equal(r.status, 101);
	tls_client_reply_clear(&r);
}

static void a_websocket_upgrade_is_refused_here(void **state)
{
	struct qrig *q = *state;
	struct ws_client w;

	assert_false(ws_client_open(&w, q->producer_port, NULL, WSS_PATH, "certq.v1", ""));
	assert_int_not_equal(w.status, 101);
	ws_client_close(&w);
}

static void tls_below_1_2_is_refused(void **state)
{
	struct qrig *q = *state;
	struct tls_client *c;

	assert_null(tls_client_open(
		q->producer_port, &(struct tls_client_options){.max_version = TLS1_1_VERSION}));
	c = tls_client_open(
		q->producer_port, &(struct tls_client_options){.max_version = TLS1_2_VERSION});
	assert_non_null(c);
	tls_client_close(c);
}

static void both_vhosts_listen_on_loopback_only(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(tls_client_tcp("127.0.0.2", q->producer_port), -1);
	assert_int_equal(tls_client_tcp("127.0.0.2", q->connector_port), -1);
}

static void a_certificate_of_another_ca_is_refused(void **state)
{
	struct qrig *q = *state;
	struct fixture_ca evil;
	EVP_PKEY *key = fixture_key("ec-p256");
	struct tls_client_options options = {.key = key};
	struct tls_client *c;
	struct tls_client_reply r = {0};

	fixture_ca_make(&evil, "Queue CA"); /* the same name, another key */
	options.certificate =
		qrig_certificate(&evil, key, "URI:certq://contoso/producer/mdm", "clientAuth");
	c = tls_client_open(q->producer_port, &options);
	if (c)
		r = tls_client_ask(c, cc_view_text("GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"));
	assert_int_equal(r.status, 0);
	tls_client_reply_clear(&r);
	tls_client_close(c);
	X509_free(options.certificate);
	EVP_PKEY_free(key);
	fixture_ca_clear(&evil);
}

static void the_chain_ends_with_the_queues_ca(void **state)
{
	struct qrig *q = *state;
	struct tls_client *c = tls_client_open(q->producer_port, NULL);

	assert_non_null(c);
	assert_int_equal(X509_cmp(tls_client_top_of_chain(c), q->ca.certificate), 0);
	tls_client_close(c);
}

/* ---- heads ---- */

static void health_needs_no_authentication(void **state)
{
	struct qrig *q = *state;
	struct tls_client_reply r = qrig_ask_with(q, NULL, "GET", "/v1/health", NULL);

	assert_int_equal(r.status, 200);
	assert_true(tls_client_reply_has(&r, "content-type: application/json"));
	assert_non_null(strstr(cc_blob_text(&r.body), "\"ok\""));
	tls_client_reply_clear(&r);
}

static void an_unknown_path_is_a_problem_document(void **state)
{
	struct qrig *q = *state;
	struct tls_client_reply r = qrig_ask_with(q, q->token, "GET", "/v1/nothing", NULL);
	json_t *problem;

	assert_int_equal(r.status, 404);
	assert_true(tls_client_reply_has(&r, "content-type: application/problem+json"));
	problem = json_loads(cc_blob_text(&r.body), 0, NULL);
	assert_string_equal(json_string_value(json_object_get(problem, "code")), "not_found");
	assert_int_equal(json_integer_value(json_object_get(problem, "status")), 404);
	assert_true(json_is_false(json_object_get(problem, "retryable")));
	assert_true(json_is_string(json_object_get(problem, "request_id")));
	json_decref(problem);
	tls_client_reply_clear(&r);
}

static void a_body_needs_a_length(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(qrig_raw_post(q, "Content-Type: application/json\r\n", ""), 411);
	assert_int_equal(
		qrig_raw_post(q, "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
			"2\r\n{}\r\n0\r\n\r\n"),
		411);
	assert_int_equal(
		qrig_raw_post(q, "Content-Type: application/json\r\nContent-Length: 2x\r\n", "{}"),
		411);
	assert_int_equal(qrig_raw_post(q,
				 "Content-Type: application/json\r\nContent-Length: 2\r\n"
				 "Content-Length: 40\r\n",
				 "{}"),
		411);
}

static void a_body_over_a_mebibyte_is_refused_before_it_is_read(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(
		qrig_raw_post(
			q, "Content-Type: application/json\r\nContent-Length: 1048577\r\n", "{"),
		413);
	assert_int_equal(
		qrig_raw_post(q,
			"Content-Type: application/json\r\nContent-Length: 99999999999999\r\n",
			"{"),
		413);
}

static void a_body_of_a_mebibyte_is_read(void **state)
{
	struct qrig *q = *state;
	char *body = cc_alloc((1 << 20) + 1);

	memset(body, ' ', 1 << 20);
	memcpy(body, "{\"x\":1}", 7);
	qrig_refused(q, "POST", QRIG_JOBS, body, 400, "unknown_member");
	free(body);
}

/* Nobody has been authenticated while a body comes in. */
static void unfinished_bodies_fill_no_more_than_their_room(void **state)
{
	enum { CLIENTS = 64, SIZE = (1 << 20) - 1 }; /* all but 64 bytes of the room */
	static const char head[] = "POST " QRIG_JOBS " HTTP/1.1\r\nHost: x\r\n"
				   "Content-Type: application/json\r\n"
				   "Content-Length: 1048576\r\n\r\n";
	struct qrig *q = *state;
	struct tls_client *clients[CLIENTS];
	char *body = cc_alloc(SIZE);
	int64_t until;
	int status = 0;

	memset(body, ' ', SIZE);
	for (size_t i = 0; i < CLIENTS; i++) {
		clients[i] = tls_client_open(q->producer_port, NULL);
		assert_non_null(clients[i]);
		assert_true(tls_client_write(clients[i], cc_view_text(head)));
		assert_true(tls_client_write(clients[i], cc_view_of(body, SIZE)));
	}
	body[100] = '\0';
	until = clock_boottime_ms() + 60 * 1000;
	while (status != 429 && clock_boottime_ms() < until) /* until all has been read */
		status = qrig_status(qrig_ask_with(q, NULL, "POST", QRIG_JOBS, body));
	assert_int_equal(status, 429);
	for (size_t i = 0; i < CLIENTS; i++)
		tls_client_close(clients[i]);
	status = 429; /* and the room is given back */
	until = clock_boottime_ms() + 60 * 1000;
	while (status == 429 && clock_boottime_ms() < until)
		status = qrig_status(qrig_ask_with(q, NULL, "POST", QRIG_JOBS, body));
	assert_int_equal(status, 401);
	free(body);
}

static void another_type_than_json_is_refused(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(
		qrig_raw_post(q, "Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}"), 415);
	assert_int_equal(qrig_raw_post(q, "Content-Length: 2\r\n", "{}"), 415);
	assert_int_equal(
		qrig_raw_post(q,
			"Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n",
			"{}"),
		400);
}

static void headers_over_four_kibibytes_end_the_connection(void **state)
{
	struct qrig *q = *state;
	char *filler = cc_alloc(8001);
	char *headers;

	memset(filler, 'a', 8000);
	headers = cc_asprintf(
		"X-Filler: %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n", filler);
	assert_int_not_equal(qrig_raw_post(q, headers, "{}"), 202);
	free(headers);
	free(filler);
	assert_int_equal(qrig_status(qrig_ask_with(q, NULL, "GET", "/v1/health", NULL)), 200);
}

static void one_connection_serves_many_requests(void **state)
{
	struct qrig *q = *state;
	struct tls_client *c = tls_client_open(q->producer_port, NULL);
	char *request =
		cc_asprintf("GET " QRIG_JOBS "/job_aaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n"
			    "Host: x\r\nAuthorization: Bearer %s\r\nX-Request-Id: r-%d\r\n\r\n",
			q->token, 7);

	assert_non_null(c);
	for (int i = 0; i < 5; i++) {
		struct tls_client_reply r = tls_client_ask(
			c, cc_view_text("GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"));

		assert_int_equal(r.status, 200);
		tls_client_reply_clear(&r);
		r = tls_client_ask(c, cc_view_text(request));
		assert_int_equal(r.status, 404);
		assert_true(tls_client_reply_has(&r, "x-request-id: r-7"));
		tls_client_reply_clear(&r);
	}
	free(request);
	tls_client_close(c);
}

/* ---- authentication ---- */

static void without_a_valid_token_nothing_is_served(void **state)
{
	struct qrig *q = *state;
	struct tls_client_reply r = qrig_ask_with(q, NULL, "GET", QRIG_JOBS "/x", NULL);
	char *long_token = cc_alloc(3001);

	assert_int_equal(r.status, 401);
	assert_true(tls_client_reply_has(&r, "www-authenticate: Bearer"));
	tls_client_reply_clear(&r);
	assert_int_equal(
		qrig_status(qrig_ask_with(q, "certq-producer-1.00", "GET", QRIG_JOBS "/x", NULL)),
		401);
	memset(long_token, 'a', 3000);
	assert_int_equal(
		qrig_status(qrig_ask_with(q, long_token, "GET", QRIG_JOBS "/x", NULL)), 401);
	free(long_token);
}

static void a_token_without_the_scope_is_refused(void **state)
{
	struct qrig *q = *state;
	char *token = qrig_token(q, "contoso", "reader", "[\"jobs:read\"]");

	assert_int_equal(qrig_status(qrig_ask_with(q, token, "POST", QRIG_JOBS, "{}")), 403);
	assert_int_equal(qrig_status(qrig_ask_with(q, token, "GET", QRIG_JOBS "/x", NULL)), 404);
	free(token);
}

static void another_tenants_job_looks_absent(void **state)
{
	struct qrig *q = *state;
	struct fixture_tenant other;
	struct tls_client_reply theirs, absent;
	char *body = qrig_job(q, "mine-1", "corp-user");
	char *path = qrig_job_path("mine-1");
	char *token;

	fixture_tenant_make(&other, "fabrikam");
	qrig_add_tenant(q, &other);
	fixture_tenant_clear(&other);
	token = qrig_token(q, "fabrikam", "mdm", QRIG_ALL_SCOPES);
	assert_int_equal(qrig_ask(q, "POST", QRIG_JOBS, body, NULL), 202);
	theirs = qrig_ask_with(q, token, "GET", path, NULL);
	absent = qrig_ask_with(
		q, token, "GET", "/v1/tenants/fabrikam/jobs/job_aaaaaaaaaaaaaaaaaaaaaaaaaa", NULL);
	assert_int_equal(theirs.status, 404);
	assert_int_equal(absent.status, 404);
	assert_int_equal(theirs.body.size, absent.body.size);
	tls_client_reply_clear(&theirs);
	tls_client_reply_clear(&absent);
	assert_int_equal(qrig_status(qrig_ask_with(q, token, "POST", QRIG_JOBS, body)), 404);
	free(body);
	free(path);
	free(token);
}

static int ask_with_certificate(struct qrig *q, const char *san, const char *token)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	struct tls_client_options options = {
		.key = key, .certificate = qrig_certificate(&q->ca, key, san, "clientAuth")};
	struct tls_client *c = tls_client_open(q->producer_port, &options);
	char *request = cc_asprintf(
		"GET /v1/tenants/contoso/connectors HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n",
		token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
	int status;

	assert_non_null(c);
	status = qrig_status(tls_client_ask(c, cc_view_text(request)));
	free(request);
	tls_client_close(c);
	X509_free(options.certificate);
	EVP_PKEY_free(key);
	return status;
}

static void a_producers_certificate_is_as_good_as_a_token(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(ask_with_certificate(q, "URI:certq://contoso/producer/mdm", NULL), 200);
	assert_int_equal(ask_with_certificate(q, "URI:certq://fabrikam/producer/mdm", NULL), 404);
	assert_int_equal(ask_with_certificate(q, "URI:certq://contoso/connector/hq-1", NULL), 401);
}

static void token_and_certificate_must_be_of_one_tenant(void **state)
{
	struct qrig *q = *state;

	assert_int_equal(
		ask_with_certificate(q, "URI:certq://contoso/producer/mdm", q->token), 200);
	assert_int_equal(
		ask_with_certificate(q, "URI:certq://fabrikam/producer/mdm", q->token), 401);
}

/* One queue for all. */
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plaintext_gets_no_answer),
		cmocka_unit_test(a_peer_that_does_not_get_on_is_dropped_in_time),
		cmocka_unit_test(http_2_is_not_selected),
		cmocka_unit_test(an_h2c_upgrade_is_refused),
		cmocka_unit_test(a_websocket_upgrade_is_refused_here),
		cmocka_unit_test(tls_below_1_2_is_refused),
		cmocka_unit_test(both_vhosts_listen_on_loopback_only),
		cmocka_unit_test(a_certificate_of_another_ca_is_refused),
		cmocka_unit_test(the_chain_ends_with_the_queues_ca),
		cmocka_unit_test(health_needs_no_authentication),
		cmocka_unit_test(an_unknown_path_is_a_problem_document),
		cmocka_unit_test(a_body_needs_a_length),
		cmocka_unit_test(a_body_over_a_mebibyte_is_refused_before_it_is_read),
		cmocka_unit_test(a_body_of_a_mebibyte_is_read),
		cmocka_unit_test(unfinished_bodies_fill_no_more_than_their_room),
		cmocka_unit_test(another_type_than_json_is_refused),
		cmocka_unit_test(headers_over_four_kibibytes_end_the_connection),
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(without_a_valid_token_nothing_is_served),
		cmocka_unit_test(a_token_without_the_scope_is_refused),
		cmocka_unit_test(another_tenants_job_looks_absent),
		cmocka_unit_test(a_producers_certificate_is_as_good_as_a_token),
		cmocka_unit_test(token_and_certificate_must_be_of_one_tenant),
	};

	return cmocka_run_group_tests(tests, qrig_setup, qrig_teardown);
}

/*
 * A whole queue for a test: its own folder, CA, server certificate and process, listening on free
 * ports of loopback; and the ways in: control socket, producers' API, a connector's certificate.
 *
 * The queue runs in a forked process, so that a test speaks to it as anybody would; it is stopped by
 * SIGTERM and has to end with status 0 (with a sanitizer: without a leak).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "cloud-queue/control.h"
#include "cloud-queue/queue.h"
#include "proto/codec.h"
#include "proto/enroll.h"
#include "proto/job.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include "tests/support/queue_described.h"
#include "tests/support/ws_client.h"
#include <fcntl.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define QRIG_ALL_SCOPES                                                                            \
	"[\"jobs:write\",\"jobs:read\",\"pfx:write\",\"pfx:read\",\"signers:write\","              \
	"\"connectors:read\"]"

struct qrig {
	char dir[64];
	char socket[96];
	struct fixture_ca ca; /* the queue's own */
	struct fixture_tenant tenant;
	pid_t pid;
	uint32_t connector_port, producer_port;
	char *token;                             /* contoso's producer, all scopes */
	void (*before_run)(struct queue *queue); /* in the queue's process; NULL: nothing */
};

/* ---- files ---- */

static inline void qrig_write(const struct qrig *q, const char *name, cc_view data, mode_t mode)
{
	char *path = file_join(q->dir, name);

	assert_int_equal(file_write_atomic(path, data, mode), CC_OK);
	free(path);
}

static inline void qrig_write_key(const struct qrig *q, const char *name, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long size;

	assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
	size = BIO_get_mem_data(bio, &data);
	qrig_write(q, name, cc_view_of(data, (size_t)size), 0600);
	BIO_free(bio);
}

static inline X509 *qrig_read_der(cc_view der)
{
	const unsigned char *at = der.data;
	X509 *x = d2i_X509(NULL, &at, (long)der.size);

	assert_non_null(x);
	return x;
}

/* A certificate of `ca` for `key` with this subject alternative name and purpose. */
static inline X509 *qrig_certificate(
	const struct fixture_ca *ca, EVP_PKEY *key, const char *san, const char *eku)
{
	X509 *x = X509_new();
	X509V3_CTX context;
	const char *const values[][2] = {{"basicConstraints", "critical,CA:FALSE"},
		{"extendedKeyUsage", eku}, {"subjectAltName", san}};

	X509_set_version(x, 2);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), random_below(UINT32_MAX) + 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -300);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
		(const unsigned char *)"test", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(ca->certificate));
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&context, ca->certificate, x, NULL, NULL, 0);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		X509_EXTENSION *e = X509V3_EXT_conf(NULL, &context, values[i][0], values[i][1]);

		assert_non_null(e);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	assert_true(X509_sign(x, ca->key, EVP_sha256()) > 0);
	return x;
}

static inline void qrig_write_server(const struct qrig *q)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	X509 *x = qrig_certificate(&q->ca, key, "IP:127.0.0.1,DNS:localhost", "serverAuth");
	char *leaf = fixture_pem(x);
	char *root = fixture_ca_pem(&q->ca);
	char *chain = cc_asprintf("%s%s", leaf, root);

	qrig_write(q, "server.pem", cc_view_text(chain), 0644);
	qrig_write(q, "queue-ca.pem", cc_view_text(root), 0644);
	qrig_write_key(q, "server.key", key);
	qrig_write_key(q, "queue-ca.key", q->ca.key);
	free(chain);
	free(root);
	free(leaf);
	X509_free(x);
	EVP_PKEY_free(key);
}

static inline void qrig_write_config(const struct qrig *q, const char *more)
{
	char *text = cc_asprintf("state_dir: state\nrun_dir: run\n"
				 "connectors: {port: 0, certificate: server.pem, key: server.key}\n"
				 "producers: {port: 0, certificate: server.pem, key: server.key}\n"
				 "ca: {certificate: queue-ca.pem, key: queue-ca.key}\n%s",
		more);

	qrig_write(q, "queue.yaml", cc_view_text(text), 0644);
	free(text);
}

/* ---- the process ---- */

/* In the child: serve until SIGTERM.  The ports go to the parent through `out`. */
static inline int qrig_serve(const struct qrig *q, int out)
{
	struct queue_config config = {0};
	struct queue *queue = NULL;
	uint32_t ports[2];
	char *path = file_join(q->dir, "queue.yaml");
	cc_err err = CC_OK;

	TRY(queue_config_read(path, &config));
	TRY(queue_open(&config, &queue));
	TRY(queue_take_signals(queue));
	ports[0] = queue_connector_port(queue);
	ports[1] = queue_producer_port(queue);
	ENSURE(write(out, ports, sizeof(ports)) == (ssize_t)sizeof(ports), cc_fail_errno("pipe"));
	if (q->before_run)
		q->before_run(queue);
	TRY(queue_run(queue));
out:
	if (err != CC_OK)
		fprintf(stderr, "queue: %s\n", cc_err_detail(err));
	queue_free(queue);
	queue_config_clear(&config);
	free(path);
	return err == CC_OK ? 0 : 1;
}

static inline void qrig_start(struct qrig *q)
{
	char *log = file_join(q->dir, "log");
	uint32_t ports[2] = {0};
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	q->pid = fork();
	if (q->pid == 0) {
		/* a test that fails leaves no queue behind, which would hold the test's output open */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		dup2(fd, STDERR_FILENO);
		close(fd);
		close(ends[0]);
		free(log);
		exit(qrig_serve(q, ends[1]));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], ports, sizeof(ports)), sizeof(ports));
	close(ends[0]);
	q->connector_port = ports[0];
	q->producer_port = ports[1];
	free(log);
}

static inline void qrig_print_log(const struct qrig *q)
{
	char *path = file_join(q->dir, "log");
	cc_blob log = CC_BLOB_NONE;

	if (file_read(path, FILE_ANY, 4 << 20, &log) == CC_OK)
		fprintf(stderr, "%s\n", cc_blob_text(&log));
	cc_blob_free(&log);
	free(path);
}

/* Orderly; gives the exit status. */
static inline int qrig_stop(struct qrig *q)
{
	int status = 0;

	kill(q->pid, SIGTERM);
	assert_int_equal(waitpid(q->pid, &status, 0), q->pid);
	q->pid = 0;
	if (status != 0)
		qrig_print_log(q);
	return status;
}

/* ---- ways in ---- */

/* One operation of the control socket; the answer.  Free with json_decref. */
static inline json_t *qrig_control(const struct qrig *q, const char *request)
{
	json_t *in = json_loads(request, 0, NULL);
	json_t *out = NULL;

	assert_non_null(in);
	assert_int_equal(control_ask(q->socket, in, 10000, &out), CC_OK);
	json_decref(in);
	return out;
}

static inline void qrig_control_ok(const struct qrig *q, const char *request)
{
	json_t *answer = qrig_control(q, request);

	if (!json_is_true(json_object_get(answer, "ok")))
		fail_msg("%s: %s", request, json_dumps(answer, 0));
	json_decref(answer);
}

static inline char *qrig_token(
	const struct qrig *q, const char *tenant, const char *name, const char *scopes)
{
	char *request = cc_asprintf("{\"op\":\"producer_token_new\",\"tenant\":\"%s\","
				    "\"name\":\"%s\",\"scopes\":%s}",
		tenant, name, scopes);
	json_t *answer = qrig_control(q, request);
	char *token = cc_strdup(json_string_value(json_object_get(answer, "token")));

	json_decref(answer);
	free(request);
	return token;
}

static inline void qrig_add_tenant(const struct qrig *q, const struct fixture_tenant *t)
{
	char *root = text_base64_new(cc_blob_view(&t->root_spki));
	char *request = cc_asprintf(
		"{\"op\":\"tenant_add\",\"tenant\":\"%s\",\"job_root\":\"%s\"}", t->name, root);

	qrig_control_ok(q, request);
	free(request);
	free(root);
}

/* A request to the producers' server, with contoso's token; `body` NULL: none. */
static inline struct tls_client_reply qrig_ask_with(
	struct qrig *q, const char *token, const char *method, const char *path, const char *body)
{
	struct tls_client *c = tls_client_open(
		q->producer_port, &(struct tls_client_options){.ca = q->ca.certificate});
	struct tls_client_reply reply;
	cc_blob request = CC_BLOB_NONE;

	assert_non_null(c);
	cc_blob_printf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path);
	if (token)
		cc_blob_printf(&request, "Authorization: Bearer %s\r\n", token);
	if (body)
		cc_blob_printf(&request,
			"Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	cc_blob_printf(&request, "\r\n%s", body ? body : "");
	reply = tls_client_ask(c, cc_blob_view(&request));
	if (reply.status != 0 && !described(method, path, reply.status))
		fail_msg("%s %s: %d is not in openapi.json", method, path, reply.status);
	cc_blob_free(&request);
	tls_client_close(c);
	return reply;
}

/* The status; the answer's body as JSON where the caller wants it. */
static inline int qrig_ask(
	struct qrig *q, const char *method, const char *path, const char *body, json_t **ret)
{
	struct tls_client_reply reply = qrig_ask_with(q, q->token, method, path, body);
	int status = reply.status;

	if (ret)
		*ret = json_loads(cc_blob_text(&reply.body), 0, NULL);
	tls_client_reply_clear(&reply);
	return status;
}

/* ... with this stable code in its problem document. */
static inline void qrig_refused(struct qrig *q, const char *method, const char *path,
	const char *body, int status, const char *code)
{
	json_t *problem = NULL;
	int got = qrig_ask(q, method, path, body, &problem);
	const char *was = json_string_value(json_object_get(problem, "code"));

	if (got != status || !was || strcmp(was, code) != 0)
		fail_msg(
			"%s %s: %d %s, not %d %s", method, path, got, was ? was : "", status, code);
	json_decref(problem);
}

/* {document, document_type, signatures} */
static inline json_t *qrig_document(const Certq__SignedDocument *d, const char *type)
{
	char *body = text_base64_new(codec_view(d->body));
	char *key = text_hex_new(codec_view(d->key_id));
	char *signature = text_base64_new(codec_view(d->signature));
	json_t *json = json_pack("{s:s, s:s, s:[{s:s, s:s}]}", "document", body, "document_type",
		type, "signatures", "key_id", key, "signature", signature);

	free(body);
	free(key);
	free(signature);
	return json;
}

static inline char *qrig_dump(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	return text;
}

static inline void qrig_put_signer(struct qrig *q, const Certq__SignedDocument *statement)
{
	uint8_t id[SHA256_SIZE];
	char *id_text, *path, *body;

	dsse_key_id(cc_blob_view(&q->tenant.signer_spki), id);
	id_text = text_hex_new(cc_view_of(id, sizeof(id)));
	path = cc_asprintf("/v1/tenants/contoso/signers/%s", id_text);
	body = qrig_dump(qrig_document(statement, DOC_SIGNER));
	assert_int_equal(qrig_ask(q, "PUT", path, body, NULL), 201);
	free(id_text);
	free(path);
	free(body);
}

/* ---- requests as they stand, and jobs ---- */

#define QRIG_JOBS "/v1/tenants/contoso/jobs"

static inline int qrig_status(struct tls_client_reply reply)
{
	int status = reply.status;

	tls_client_reply_clear(&reply);
	return status;
}

/* A request as it stands, on a connection of its own. */
static inline struct tls_client_reply qrig_raw(struct qrig *q, const char *request)
{
	struct tls_client *c = tls_client_open(q->producer_port, NULL);
	struct tls_client_reply reply;

	assert_non_null(c);
	reply = tls_client_ask(c, cc_view_text(request));
	tls_client_close(c);
	return reply;
}

static inline int qrig_raw_post(struct qrig *q, const char *headers, const char *body)
{
	char *request = cc_asprintf("POST " QRIG_JOBS " HTTP/1.1\r\nHost: x\r\n"
				    "Authorization: Bearer %s\r\n%s\r\n%s",
		q->token, headers, body);
	int status = qrig_status(qrig_raw(q, request));

	free(request);
	return status;
}

/* A signed issue job as a request's body; free. */
static inline char *qrig_job(struct qrig *q, const char *key, const char *profile)
{
	struct fixture_job j;
	Certq__SignedDocument *d;
	char *body;

	fixture_issue(&j, &q->tenant, key, profile, cc_blob_view(&q->tenant.signer_spki));
	d = fixture_sign(&q->tenant, &j, NULL);
	body = qrig_dump(qrig_document(d, DOC_JOB));
	codec_free(d);
	return body;
}

/* The id's text of a job with this key; free. */
static inline char *qrig_job_path(const char *key)
{
	uint8_t id[JOB_ID_SIZE];
	char text[JOB_TEXT_SIZE];

	job_id_derive(cc_view_text("contoso"), cc_view_text(key), id);
	text_job_id(cc_view_of(id, sizeof(id)), text);
	return cc_asprintf(QRIG_JOBS "/%s", text);
}

/* ---- enrolment ---- */

struct qrig_enrolment {
	EVP_PKEY *transport, *result;
	Certq__EnrolmentToken *token;
	cc_blob csr, result_spki;
};

static inline void qrig_enrolment_make(
	struct qrig_enrolment *e, const struct qrig *q, const char *connector)
{
	char *request = cc_asprintf("{\"op\":\"enrolment_token_new\",\"tenant\":\"contoso\","
				    "\"connector_id\":\"%s\",\"groups\":[\"hq\",\"emea\"]}",
		connector);
	json_t *answer = qrig_control(q, request);
	X509_REQ *req = X509_REQ_new();
	unsigned char *der = NULL;
	int size;

	assert_int_equal(
		enroll_token_read(cc_view_text(json_string_value(json_object_get(answer, "token"))),
			&e->token),
		CC_OK);
	json_decref(answer);
	free(request);
	e->transport = fixture_key("ec-p256");
	e->result = fixture_key("ed25519");
	e->result_spki = fixture_spki(e->result);
	X509_REQ_set_pubkey(req, e->transport);
	assert_true(X509_REQ_sign(req, e->transport, EVP_sha256()) > 0);
	size = i2d_X509_REQ(req, &der);
	e->csr = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	X509_REQ_free(req);
}

static inline void qrig_enrolment_clear(struct qrig_enrolment *e)
{
	EVP_PKEY_free(e->transport);
	EVP_PKEY_free(e->result);
	cc_blob_free(&e->csr);
	cc_blob_free(&e->result_spki);
	codec_free_secret(e->token);
}

/* `wrong`: flips a bit of the proof. */
static inline int qrig_enroll(
	struct qrig *q, const struct qrig_enrolment *e, bool wrong, json_t **ret)
{
	uint8_t mac[SHA256_SIZE];
	char *csr, *key, *proof, *id, *body;
	struct tls_client_reply r;
	int status;

	enroll_mac(codec_view(e->token->secret), codec_view(e->token->token_id),
		cc_blob_view(&e->csr), cc_blob_view(&e->result_spki), mac);
	mac[0] ^= wrong;
	csr = text_base64_new(cc_blob_view(&e->csr));
	key = text_base64_new(cc_blob_view(&e->result_spki));
	proof = text_base64_new(cc_view_of(mac, sizeof(mac)));
	id = cc_strndup(codec_view(e->token->token_id));
	body = cc_asprintf(
		"{\"token_id\":\"%s\",\"csr\":\"%s\",\"result_key\":\"%s\",\"mac\":\"%s\"}", id,
		csr, key, proof);
	r = qrig_ask_with(q, NULL, "POST", "/v1/enroll", body);
	status = r.status;
	if (ret)
		*ret = json_loads(cc_blob_text(&r.body), 0, NULL);
	tls_client_reply_clear(&r);
	free(csr);
	free(key);
	free(proof);
	free(id);
	free(body);
	return status;
}

/* An enrolled connector: its certificate, for options; the token is used up. */
static inline X509 *qrig_enrol(struct qrig *q, struct qrig_enrolment *e, const char *connector)
{
	json_t *answer = NULL;
	cc_blob der = CC_BLOB_NONE;
	X509 *x;

	qrig_enrolment_make(e, q, connector);
	assert_int_equal(qrig_enroll(q, e, false, &answer), 200);
	assert_int_equal(text_from_base64(cc_view_text(json_string_value(
						  json_object_get(answer, "certificate"))),
				 8192, &der),
		CC_OK);
	x = qrig_read_der(cc_blob_view(&der));
	cc_blob_free(&der);
	json_decref(answer);
	return x;
}

/* ---- set up ---- */

static inline struct qrig *qrig_new(const char *more_config)
{
	struct qrig *q = cc_alloc(sizeof(*q));
	const char *tmp = getenv("TMPDIR");

	snprintf(q->dir, sizeof(q->dir), "%s/queue-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(q->dir));
	snprintf(q->socket, sizeof(q->socket), "%s/run/" CONTROL_SOCKET, q->dir);
	fixture_ca_make(&q->ca, "Queue CA");
	fixture_tenant_make(&q->tenant, "contoso");
	qrig_write_server(q);
	qrig_write_config(q, more_config);
	qrig_start(q);
	qrig_add_tenant(q, &q->tenant);
	q->token = qrig_token(q, "contoso", "mdm", QRIG_ALL_SCOPES);
	qrig_put_signer(q, q->tenant.statement);
	return q;
}

static inline int qrig_remove(const char *path, const struct stat *s, int type, struct FTW *walk)
{
	(void)s;
	(void)type;
	(void)walk;
	return remove(path);
}

static inline void qrig_free(struct qrig *q)
{
	if (q->pid)
		assert_int_equal(qrig_stop(q), 0);
	nftw(q->dir, qrig_remove, 8, FTW_DEPTH | FTW_PHYS);
	fixture_ca_clear(&q->ca);
	fixture_tenant_clear(&q->tenant);
	free(q->token);
	free(q);
}

static inline int qrig_setup(void **state)
{
	*state = qrig_new("");
	return 0;
}

static inline int qrig_teardown(void **state)
{
	qrig_free(*state);
	return 0;
}

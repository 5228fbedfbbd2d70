/*
 * certqueuectl init, root, tenant, token: how a queue and those who may use it come to be.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "cloud-queue/certqueuectl.h"
#include "proto/dsse.h"
#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CA_DAYS     3650
#define SERVER_DAYS 397

struct setup {
	const char *dir, *name, *listen;
	uint64_t connector_port, producer_port;
};

static cc_err extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	bool added = extension != NULL && X509_add_ext(x, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added ? CC_OK : cc_fail_openssl(value);
}

/* A certificate with everything but extensions and signature. */
static cc_err blank(EVP_PKEY *key, const char *name, X509 *issuer, long days, X509 **ret)
{
	X509 *x = X509_new();
	BIGNUM *serial = BN_new();
	cc_err err = CC_OK;

	ENSURE(x != NULL && serial != NULL && BN_rand(serial, 127, BN_RAND_TOP_ANY, 0) == 1 &&
			BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)) != NULL,
		cc_fail_openssl("making a certificate"));
	ENSURE(X509_set_version(x, X509_VERSION_3) == 1 &&
			X509_gmtime_adj(X509_getm_notBefore(x), -300) != NULL &&
			X509_time_adj_ex(X509_getm_notAfter(x), (int)days, 0, NULL) != NULL &&
			X509_set_pubkey(x, key) == 1 &&
			X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
				(const unsigned char *)name, -1, -1, 0) == 1 &&
			X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x)) == 1,
		cc_fail_openssl("making a certificate"));
	*ret = x;
	x = NULL;
out:
	BN_free(serial);
	X509_free(x);
	return err;
}

static cc_err make_ca(EVP_PKEY *key, X509 **ret)
{
	X509 *x = NULL;
	cc_err err = CC_OK;

	TRY(blank(key, "certqueue CA", NULL, CA_DAYS, &x));
	TRY(extend(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
	TRY(extend(x, x, NID_key_usage, "critical,keyCertSign,cRLSign"));
	TRY(extend(x, x, NID_subject_key_identifier, "hash"));
	ENSURE(X509_sign(x, key, EVP_sha256()) > 0, cc_fail_openssl("signing the queue's CA"));
	*ret = x;
	x = NULL;
out:
	X509_free(x);
	return err;
}

static cc_err make_server(
	EVP_PKEY *key, const struct setup *s, EVP_PKEY *ca_key, X509 *ca, X509 **ret)
{
	bool is_address = strspn(s->name, "0123456789.") == strlen(s->name) || strchr(s->name, ':');
	char *san = cc_asprintf("%s:%s", is_address ? "IP" : "DNS", s->name);
	X509 *x = NULL;
	cc_err err = CC_OK;

	TRY(blank(key, s->name, ca, SERVER_DAYS, &x));
	TRY(extend(x, ca, NID_basic_constraints, "critical,CA:FALSE"));
	TRY(extend(x, ca, NID_key_usage, "critical,digitalSignature"));
	TRY(extend(x, ca, NID_ext_key_usage, "serverAuth"));
	TRY(extend(x, ca, NID_subject_key_identifier, "hash"));
	TRY(extend(x, ca, NID_authority_key_identifier, "keyid"));
	TRY(extend(x, ca, NID_subject_alt_name, san));
	ENSURE(X509_sign(x, ca_key, EVP_sha256()) > 0,
		cc_fail_openssl("signing the server certificate"));
	*ret = x;
	x = NULL;
out:
	free(san);
	X509_free(x);
	return err;
}

static cc_err write_pem(const char *dir, const char *name, EVP_PKEY *key, X509 *first, X509 *second)
{
	BIO *bio = BIO_new(key ? BIO_s_secmem() : BIO_s_mem());
	char *path = file_join(dir, name);
	char *data = NULL;
	cc_err err = CC_OK;

	ENSURE(bio != NULL, cc_fail_openssl("BIO_new"));
	if (key != NULL)
		ENSURE(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1,
			cc_fail_openssl(path));
	if (first != NULL)
		ENSURE(PEM_write_bio_X509(bio, first) == 1, cc_fail_openssl(path));
	if (second != NULL)
		ENSURE(PEM_write_bio_X509(bio, second) == 1, cc_fail_openssl(path));
	long size = BIO_get_mem_data(bio, &data);
	TRY(file_write_new(path, cc_view_of(data, (size_t)size), key ? 0600 : 0644));
out:
	free(path);
	BIO_free(bio);
	return err;
}

static cc_err write_config(const struct setup *s)
{
	cc_blob text = CC_BLOB_NONE;
	char *path = file_join(s->dir, "queue.yaml");
	unsigned long long connectors = s->connector_port, producers = s->producer_port;
	/* an IPv6 address stands in brackets: RFC 3986 section 3.2.2 */
	char *host = cc_asprintf(strchr(s->name, ':') ? "[%s]" : "%s", s->name);

	cc_blob_printf(&text,
		"# Written by certqueuectl init.\n"
		"state_dir: state\n"
		"run_dir: run\n"
		"connectors:\n  listen: \"%s\"\n  port: %llu\n  certificate: server.pem\n  key: "
		"server.key\n"
		"  url: \"wss://%s:%llu\"\n"
		"producers:\n  listen: \"%s\"\n  port: %llu\n  certificate: server.pem\n  key: "
		"server.key\n"
		"  url: \"https://%s:%llu\"\n"
		"ca: {certificate: queue-ca.pem, key: queue-ca.key}\n",
		s->listen, connectors, host, connectors, s->listen, producers, host, producers);
	cc_err err = file_write_new(path, cc_blob_view(&text), 0644);
	cc_blob_free(&text);
	free(host);
	free(path);
	return err;
}

static cc_err set_up(const struct setup *s)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256");
	EVP_PKEY *server_key = EVP_EC_gen("P-256");
	X509 *ca = NULL;
	X509 *server = NULL;
	char *state = file_join(s->dir, "state");
	char *run = file_join(s->dir, "run");
	cc_err err = CC_OK;

	/* it goes into a certificate and into queue.yaml */
	ENSURE(text_is_token(cc_view_text(s->name), 253) &&
			text_is_token(cc_view_text(s->listen), 64),
		cc_fail(CC_USAGE, "--name is a host name or address, --listen an address"));
	ENSURE(ca_key != NULL && server_key != NULL, cc_fail_openssl("making keys"));
	TRY(file_make_dir(s->dir, 0755));
	TRY(file_make_dir(state, 0700));
	TRY(file_make_dir(run, 0755));
	TRY(make_ca(ca_key, &ca));
	TRY(make_server(server_key, s, ca_key, ca, &server));
	TRY(write_pem(s->dir, "queue-ca.key", ca_key, NULL, NULL));
	TRY(write_pem(s->dir, "queue-ca.pem", NULL, ca, NULL));
	TRY(write_pem(s->dir, "server.key", server_key, NULL, NULL));
	TRY(write_pem(s->dir, "server.pem", NULL, server, ca));
	TRY(write_config(s));
out:
	free(run);
	free(state);
	X509_free(server);
	X509_free(ca);
	EVP_PKEY_free(server_key);
	EVP_PKEY_free(ca_key);
	return err;
}

int queuectl_init(struct queuectl *q, int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"name", required_argument, NULL, 'n'}, {"listen", required_argument, NULL, 'l'},
		{"connectors-port", required_argument, NULL, 'c'},
		{"producers-port", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	struct setup s = {.listen = "127.0.0.1", .connector_port = 9443, .producer_port = 9444};
	cc_err err = CC_OK;
	int option;

	(void)q;
	while (err == CC_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			s.dir = optarg;
			break;
		case 'n':
			s.name = optarg;
			break;
		case 'l':
			s.listen = optarg;
			break;
		case 'c':
			err = text_to_u64(cc_view_text(optarg), 1, 65535, &s.connector_port);
			break;
		case 'p':
			err = text_to_u64(cc_view_text(optarg), 1, 65535, &s.producer_port);
			break;
		default:
			s.dir = NULL;
			goto usage;
		}
	}
	if (err != CC_OK)
		return queuectl_fail("init: a port", cc_fail_in(CC_USAGE, "\"%s\"", optarg));
	if (s.dir != NULL && s.name != NULL && optind == argc) {
		err = set_up(&s);
		if (err != CC_OK)
			return queuectl_fail("init", err);
		printf("%s/queue.yaml: start with certqueued --config %s/queue.yaml\n", s.dir,
			s.dir);
		return EXIT_OK;
	}
	option = '?';
usage:
	fprintf(option == 'h' ? stdout : stderr, "usage: certqueuectl init --dir DIR --name HOST "
						 "[--listen ADDRESS] [--connectors-port N]\n"
						 "                         [--producers-port N]\n"
						 "Makes queue-ca.{key,pem}, server.{key,pem}, "
						 "queue.yaml, state/ and run/ in DIR.\n");
	return option == 'h' ? EXIT_OK : EXIT_USAGE;
}

int queuectl_root(struct queuectl *q, int argc, char **argv)
{
	(void)q;
	if (argc == 3 && strcmp(argv[1], "new") == 0 && argv[2][0] != '-') {
		cc_err err = queuectl_key_new(argv[2], "ed25519");
		if (err != CC_OK)
			return queuectl_fail("root new", err);
		printf("%s and %s.pub made; keep the first offline\n", argv[2], argv[2]);
		return EXIT_OK;
	}
	bool help = argc > 1 && strcmp(argv[argc - 1], "--help") == 0;
	fprintf(help ? stdout : stderr, "usage: certqueuectl root new FILE\n");
	return help ? EXIT_OK : EXIT_USAGE;
}

static cc_err add_tenant(const struct queuectl *q, const char *tenant, const char *root)
{
	cc_blob spki = CC_BLOB_NONE;
	json_t *answer = NULL;
	char *text = NULL;
	cc_err err = CC_OK;

	TRY(queuectl_public_read(root, &spki));
	text = text_base64_new(cc_blob_view(&spki));
	TRY(queuectl_control(q,
		json_pack(
			"{s:s, s:s, s:s}", "op", "tenant_add", "tenant", tenant, "job_root", text),
		&answer));
	printf("tenant %s: job root %s\n", tenant,
		json_string_value(json_object_get(answer, "job_root_id")));
out:
	free(text);
	json_decref(answer);
	cc_blob_free(&spki);
	return err;
}

int queuectl_tenant(struct queuectl *q, int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "add") == 0 && strcmp(argv[3], "--job-root") == 0) {
		cc_err err = add_tenant(q, argv[2], argv[4]);
		return err == CC_OK ? EXIT_OK : queuectl_fail("tenant add", err);
	}
	bool help = argc > 1 && strcmp(argv[argc - 1], "--help") == 0;
	fprintf(help ? stdout : stderr,
		"usage: certqueuectl tenant add NAME --job-root FILE.pub\n");
	return help ? EXIT_OK : EXIT_USAGE;
}

struct token_options {
	const char *name, *list, *out;
	uint64_t days;
};

/* "a,b,c" as a JSON array. */
static json_t *list_of(const char *text)
{
	json_t *list = json_array();
	for (const char *at = text; at != NULL && *at != '\0';) {
		size_t length = strcspn(at, ",");
		json_array_append_new(list, json_stringn(at, length));
		at += length + (at[length] == ',');
	}
	return list;
}

static cc_err new_token(const struct queuectl *q, const char *kind, const char *tenant,
	const struct token_options *t)
{
	bool connector = strcmp(kind, "connector") == 0;
	json_t *request = json_pack("{s:s, s:s, s:I}", "op",
		connector ? "enrolment_token_new" : "producer_token_new", "tenant", tenant,
		"lifetime_s", (json_int_t)(t->days * 86400));
	json_t *answer = NULL;
	char *line = NULL;
	cc_err err = CC_OK;

	/* no token is made at the queue that could then not be written */
	if (t->out != NULL && access(t->out, F_OK) == 0) {
		json_decref(request);
		return cc_fail(CC_CONFLICT, "%s: exists already", t->out);
	}
	json_object_set_new(request, connector ? "connector_id" : "name", json_string(t->name));
	json_object_set_new(request, connector ? "groups" : "scopes", list_of(t->list));
	TRY(queuectl_control(q, request, &answer));
	const char *token = json_string_value(json_object_get(answer, "token"));
	ENSURE(token != NULL, cc_fail(CC_PROTOCOL, "the answer has no token"));
	size_t length = strcspn(token, "\n");
	if (t->out == NULL) {
		printf("%.*s\n", (int)length, token);
		goto out;
	}
	line = cc_asprintf("%.*s\n", (int)length, token);
	TRY(file_write_new(t->out, cc_view_text(line), 0600));
	printf("%s: token for %s, until %s\n", t->out, t->name,
		json_string_value(json_object_get(answer, "not_after")));
out:
	if (line != NULL)
		OPENSSL_cleanse(line, strlen(line));
	free(line);
	json_decref(answer);
	return err;
}

int queuectl_token(struct queuectl *q, int argc, char **argv)
{
	static const struct option options[] = {{"id", required_argument, NULL, 'n'},
		{"name", required_argument, NULL, 'n'}, {"groups", required_argument, NULL, 'l'},
		{"scopes", required_argument, NULL, 'l'}, {"days", required_argument, NULL, 'd'},
		{"out", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	bool known =
		argc > 2 && (strcmp(argv[1], "connector") == 0 || strcmp(argv[1], "producer") == 0);
	struct token_options t = {.days = known && argv[1][0] == 'c' ? 1 : 90};
	cc_err err = CC_OK;
	int option = 0;

	while (known && err == CC_OK &&
		(option = getopt_long(argc - 2, argv + 2, "", options, NULL)) != -1) {
		if (option == 'n')
			t.name = optarg;
		else if (option == 'l')
			t.list = optarg;
		else if (option == 'o')
			t.out = optarg;
		else if (option == 'd')
			err = text_to_u64(cc_view_text(optarg), 1, 3650, &t.days);
		else
			known = false;
	}
	if (err != CC_OK)
		return queuectl_fail("token: --days", cc_fail_in(CC_USAGE, "\"%s\"", optarg));
	if (known && t.name != NULL && optind == argc - 2) {
		err = new_token(q, argv[1], argv[2], &t);
		return err == CC_OK ? EXIT_OK : queuectl_fail("token", err);
	}
	bool help = argc > 1 && strcmp(argv[argc - 1], "--help") == 0;
	fprintf(help ? stdout : stderr, "usage: certqueuectl token connector TENANT --id ID "
					"[--groups A,B] [--days 1] [--out FILE]\n"
					"       certqueuectl token producer TENANT --name NAME "
					"--scopes A,B [--days 90] [--out FILE]\n"
					"scopes: jobs:write jobs:read pfx:write pfx:read "
					"pfx:content signers:write connectors:read\n");
	return help ? EXIT_OK : EXIT_USAGE;
}

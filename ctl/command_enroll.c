/*
 * enroll: join a tenant's queue.
 *
 * The token carries everything that has to be believed: the pin of the queue's CA and the fingerprint
 * of the job root.  The server is verified by the pin before anything is sent, the request proves
 * the token's secret without sending it, and what comes back is compared with the token before a
 * file is written.  The transport key is made here and stays here.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/https.h"
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include "proto/enroll.h"
#include <getopt.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct enrolment {
	Certq__EnrolmentToken *token;
	cc_blob result_spki;
	EVP_PKEY *transport;
	cc_blob csr;
	json_t *answer;
	X509 *certificate;
	cc_blob job_root; /* SPKI */
};

static cc_err read_token(const char *path, Certq__EnrolmentToken **ret)
{
	cc_secret text = CC_SECRET_NONE;
	cc_err err = CC_OK;

	TRY(file_read_secret(path, 16 * 1024, &text));
	TRY(enroll_token_read(cc_secret_view(&text), ret));
	ENSURE((*ret)->not_after_s > clock_realtime_s(),
		cc_fail(CC_EXPIRED,
			"%s: the token is past its time; ask the cloud service for another", path));
out:
	cc_secret_free(&text);
	return err;
}

static cc_err ask_result_key(const struct ctl *c, cc_blob *ret)
{
	Vault__AdminListKeys list = VAULT__ADMIN_LIST_KEYS__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_KEYS;
	request.list_keys = &list;
	TRY(ctl_ask_vault(c, &request, &answer));
	for (size_t i = 0; answer->list != NULL && i < answer->list->n_keys; i++) {
		const Vault__NamedPublicKey *key = answer->list->keys[i];
		if (text_equal(codec_view(key->use), "result") && key->current)
			*ret = cc_blob_copy(codec_view(key->spki));
	}
	ENSURE(ret->size > 0, cc_fail(CC_NOT_FOUND, "the keyvault has no result key"));
out:
	codec_free(answer);
	return err;
}

static cc_err make_csr(struct enrolment *e)
{
	X509_REQ *request = X509_REQ_new();
	char *name = cc_strndup(codec_view(e->token->connector_id));
	unsigned char *der = NULL;
	cc_err err = CC_OK;

	e->transport = EVP_EC_gen("P-256");
	ENSURE(request != NULL && e->transport != NULL,
		cc_fail_openssl("making the transport key"));
	ENSURE(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
		       (const unsigned char *)name, -1, -1, 0) == 1 &&
			X509_REQ_set_pubkey(request, e->transport) == 1 &&
			X509_REQ_sign(request, e->transport, EVP_sha256()) > 0,
		cc_fail_openssl("making the transport CSR"));
	int size = i2d_X509_REQ(request, &der);
	ENSURE(size > 0, cc_fail_openssl("encoding the transport CSR"));
	e->csr = cc_blob_copy(cc_view_of(der, (size_t)size));
out:
	OPENSSL_free(der);
	free(name);
	X509_REQ_free(request);
	return err;
}

static char *request_body(const struct enrolment *e)
{
	uint8_t mac[SHA256_SIZE];
	enroll_mac(codec_view(e->token->secret), codec_view(e->token->token_id),
		cc_blob_view(&e->csr), cc_blob_view(&e->result_spki), mac);
	char *id = cc_strndup(codec_view(e->token->token_id));
	char *csr = text_base64_new(cc_blob_view(&e->csr));
	char *key = text_base64_new(cc_blob_view(&e->result_spki));
	char *proof = text_base64_new(cc_view_of(mac, sizeof(mac)));
	json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "token_id", id, "csr", csr, "result_key",
		key, "mac", proof);
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	free(proof);
	free(key);
	free(csr);
	free(id);
	return text;
}

static cc_err ask_queue(const struct ctl *c, struct enrolment *e)
{
	struct ctl_way *way = NULL;
	char *base = cc_strndup(codec_view(e->token->url));
	char *url = cc_asprintf("%s/v1/enroll", base);
	char *body = request_body(e);
	char *words = NULL;
	cc_blob answer = CC_BLOB_NONE;
	long status = 0;
	cc_err err = CC_OK;

	TRY(ctl_way_read(&c->settings, &way));
	TRY(https_ask(&(struct https_request){.url = url,
			      .ca_pin = codec_view(e->token->queue_ca_pin),
			      .body = body,
			      .proxy = ctl_way_proxy(way)},
		&status, &answer));
	words = https_problem(status, cc_blob_view(&answer));
	ENSURE(status == 200 || status == 201, cc_fail(CC_DENIED, "%s: %s", url, words));
	e->answer =
		json_loadb((const char *)answer.data, answer.size, JSON_REJECT_DUPLICATES, NULL);
	ENSURE(json_is_object(e->answer), cc_fail(CC_MALFORMED, "%s: the answer is not JSON", url));
out:
	ctl_way_free(way);
	free(words);
	cc_blob_free(&answer);
	free(body);
	free(url);
	free(base);
	return err;
}

static const char *member(const struct enrolment *e, const char *name)
{
	const char *text = json_string_value(json_object_get(e->answer, name));
	return text ? text : "";
}

static cc_err decoded(const struct enrolment *e, const char *name, cc_blob *ret)
{
	cc_err err = text_from_base64(cc_view_text(member(e, name)), 64 * 1024, ret);
	return err == CC_OK ? CC_OK : cc_fail_in(err, "member \"%s\" of the queue's answer", name);
}

/* What the connector will believe from now on is the CA that the token pins, no other. */
static cc_err check_queue_ca(const struct enrolment *e)
{
	cc_blob der = CC_BLOB_NONE;
	X509 *ca = NULL;
	unsigned char *spki = NULL;
	uint8_t id[SHA256_SIZE];
	cc_err err = CC_OK;

	TRY(decoded(e, "queue_ca", &der));
	const unsigned char *at = der.data;
	ca = d2i_X509(NULL, &at, (long)der.size);
	ENSURE(ca != NULL, cc_fail_openssl("reading the queue's CA"));
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(ca), &spki);
	ENSURE(size > 0, cc_fail_openssl("the key of the queue's CA"));
	hash_sha256(cc_view_of(spki, (size_t)size), id);
	ENSURE(cc_view_equal(cc_view_of(id, sizeof(id)), codec_view(e->token->queue_ca_pin)),
		cc_fail(CC_MISMATCH,
			"the queue's CA is not the one of the token; nothing was written"));
out:
	OPENSSL_free(spki);
	X509_free(ca);
	cc_blob_free(&der);
	return err;
}

/* wss://HOST:PORT, and nothing that could end the quotes around it in identity.yaml. */
static bool is_queue_url(const char *url)
{
	static const char scheme[] = "wss://";
	return strncmp(url, scheme, sizeof(scheme) - 1) == 0 && strlen(url) <= 512 &&
	       strspn(url + sizeof(scheme) - 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
						"abcdefghijklmnopqrstuvwxyz0123456789.:_-[]") ==
		       strlen(url) - (sizeof(scheme) - 1);
}

static cc_err check_certificate(struct enrolment *e)
{
	cc_blob der = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(decoded(e, "certificate", &der));
	const unsigned char *at = der.data;
	e->certificate = d2i_X509(NULL, &at, (long)der.size);
	ENSURE(e->certificate != NULL, cc_fail_openssl("reading the transport certificate"));
	ENSURE(X509_check_private_key(e->certificate, e->transport) == 1,
		cc_fail(CC_MISMATCH, "the queue's certificate is for another key"));
out:
	cc_blob_free(&der);
	return err;
}

/* What came back has to be what the token said. */
static cc_err check_answer(struct enrolment *e)
{
	uint8_t id[SHA256_SIZE];
	cc_err err = CC_OK;

	ENSURE(text_equal(codec_view(e->token->tenant), member(e, "tenant")) &&
			text_equal(codec_view(e->token->connector_id), member(e, "connector_id")),
		cc_fail(CC_MISMATCH, "the queue answered for another tenant or connector"));
	TRY(decoded(e, "job_root", &e->job_root));
	dsse_key_id(cc_blob_view(&e->job_root), id);
	ENSURE(cc_view_equal(cc_view_of(id, sizeof(id)), codec_view(e->token->job_root_id)),
		cc_fail(CC_MISMATCH,
			"the queue's job root is not the one of the token; nothing was written"));
	TRY(check_queue_ca(e));
	ENSURE(is_queue_url(member(e, "queue_url")),
		cc_fail(CC_MALFORMED, "the queue's address is not wss://HOST:PORT"));
	TRY(check_certificate(e));
out:
	return err;
}

static cc_err pem_of(BIO *bio, cc_blob *ret)
{
	char *data = NULL;
	long size = BIO_get_mem_data(bio, &data);
	*ret = cc_blob_copy(cc_view_of(data, (size_t)size));
	BIO_free(bio);
	return CC_OK;
}

static cc_err write_in(const char *dir, const char *name, cc_view data, mode_t mode)
{
	char *path = file_join(dir, name);
	cc_err err = file_write_atomic(path, data, mode);
	if (err == CC_OK)
		err = file_give_to_dir_owner(path);
	free(path);
	return err;
}

static cc_err write_key(const struct enrolment *e, const char *dir)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *data = NULL;
	cc_err err = CC_OK;

	ENSURE(bio != NULL &&
			PEM_write_bio_PrivateKey(bio, e->transport, NULL, NULL, 0, NULL, NULL) == 1,
		cc_fail_openssl("writing the transport key"));
	long size = BIO_get_mem_data(bio, &data);
	err = write_in(dir, "transport.key", cc_view_of(data, (size_t)size), 0600);
out:
	BIO_free(bio);
	return err;
}

/* Certificates of an array of base64 DER as PEM, appended. */
static cc_err put_certificates(const json_t *array, BIO *to)
{
	cc_err err = CC_OK;

	for (size_t i = 0; err == CC_OK && i < json_array_size(array); i++) {
		const char *text = json_string_value(json_array_get(array, i));
		cc_blob der = CC_BLOB_NONE;
		err = text_from_base64(cc_view_text(text), 64 * 1024, &der);
		const unsigned char *at = der.data;
		X509 *certificate = err == CC_OK ? d2i_X509(NULL, &at, (long)der.size) : NULL;
		if (err == CC_OK &&
			(certificate == NULL || PEM_write_bio_X509(to, certificate) != 1))
			err = cc_fail_openssl("reading the queue's chain");
		X509_free(certificate);
		cc_blob_free(&der);
	}
	return err;
}

static cc_err write_chain(const struct enrolment *e, const char *dir)
{
	BIO *bio = BIO_new(BIO_s_mem());
	BIO *ca = BIO_new(BIO_s_mem());
	json_t *one = json_pack("[s]", member(e, "queue_ca"));
	cc_blob pem = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(PEM_write_bio_X509(bio, e->certificate) == 1,
		cc_fail_openssl("writing the certificate"));
	TRY(put_certificates(json_object_get(e->answer, "chain"), bio));
	TRY(put_certificates(one, ca));
	err = pem_of(bio, &pem);
	bio = NULL;
	TRY(err);
	TRY(write_in(dir, "transport.pem", cc_blob_view(&pem), 0644));
	cc_blob_free(&pem);
	err = pem_of(ca, &pem);
	ca = NULL;
	TRY(err);
	TRY(write_in(dir, "queue-ca.pem", cc_blob_view(&pem), 0644));
out:
	cc_blob_free(&pem);
	json_decref(one);
	BIO_free(ca);
	BIO_free(bio);
	return err;
}

static cc_err write_identity(const struct ctl *c, const struct enrolment *e)
{
	char *dir = file_join(c->settings.state_dir, "identity");
	cc_blob text = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(file_make_dir(dir, 0700));
	TRY(write_key(e, dir));
	TRY(write_chain(e, dir));
	cc_blob_printf(&text, "# Written by certconnectorctl enroll.\n");
	cc_blob_printf(&text, "tenant: \"%s\"\nconnector_id: \"%s\"\nqueue_url: \"%s\"\n",
		member(e, "tenant"), member(e, "connector_id"), member(e, "queue_url"));
	/* last: this is the file that says that the rest is there */
	TRY(write_in(dir, "identity.yaml", cc_blob_view(&text), 0600));
out:
	cc_blob_free(&text);
	free(dir);
	return err;
}

static cc_err write_pins(const struct ctl *c, const struct enrolment *e)
{
	struct ctl_pins pins = {0};
	EVP_PKEY *root = NULL;
	BIO *bio = NULL;
	cc_blob pem = CC_BLOB_NONE;
	struct ctl_pins old = {0};
	cc_err err = CC_OK;

	TRY(ctl_pins_read(c->settings.pins, &old));
	TRY(dsse_public_key(cc_blob_view(&e->job_root), &root));
	bio = BIO_new(BIO_s_mem());
	ENSURE(bio != NULL && PEM_write_bio_PUBKEY(bio, root) == 1,
		cc_fail_openssl("the job root"));
	err = pem_of(bio, &pem);
	bio = NULL;
	TRY(err);
	pins = (struct ctl_pins){.tenant = cc_strdup(member(e, "tenant")),
		.connector_id = cc_strdup(member(e, "connector_id")),
		.job_root = cc_strdup(cc_blob_text(&pem)),
		.cas = old.cas,
		.ca_count = old.ca_count};
	old.cas = NULL;
	old.ca_count = 0;
	pins.groups = cc_alloc((e->token->n_groups + 1) * sizeof(*pins.groups));
	for (size_t i = 0; i < e->token->n_groups; i++)
		pins.groups[pins.group_count++] = cc_strndup(codec_view(e->token->groups[i]));
	TRY(ctl_pins_write(c->settings.pins, &pins));
out:
	cc_blob_free(&pem);
	BIO_free(bio);
	EVP_PKEY_free(root);
	ctl_pins_free(&old);
	ctl_pins_free(&pins);
	return err;
}

static void report(const struct enrolment *e)
{
	uint8_t id[SHA256_SIZE];
	dsse_key_id(cc_blob_view(&e->result_spki), id);
	char *result = text_hex_new(cc_view_of(id, sizeof(id)));
	printf("enrolled as %s of tenant %s at %s\n", member(e, "connector_id"),
		member(e, "tenant"), member(e, "queue_url"));
	printf("result key (pin it at the cloud service and in devices): %s\n", result);
	free(result);
}

static void ask_reload(const struct ctl *c)
{
	Control__ReloadRequest reload = CONTROL__RELOAD_REQUEST__INIT;
	Control__ControlRequest request = CONTROL__CONTROL_REQUEST__INIT;
	Control__ControlAnswer *answer = NULL;

	request.op_case = CONTROL__CONTROL_REQUEST__OP_RELOAD;
	request.reload = &reload;
	cc_err err = ctl_ask_connector(c, &request, &answer);
	if (err != CC_OK)
		printf("not reloaded (%s): send SIGHUP to certconnectord, or restart it\n",
			cc_err_detail(err));
	codec_free(answer);
}

static void enrolment_clear(struct enrolment *e)
{
	codec_free_secret(e->token);
	cc_blob_free(&e->result_spki);
	cc_blob_free(&e->csr);
	cc_blob_free(&e->job_root);
	EVP_PKEY_free(e->transport);
	X509_free(e->certificate);
	json_decref(e->answer);
}

static cc_err enroll(const struct ctl *c, const char *token_file)
{
	struct enrolment e = {0};
	cc_err err = CC_OK;

	TRY(read_token(token_file, &e.token));
	TRY(ask_result_key(c, &e.result_spki));
	TRY(make_csr(&e));
	TRY(ask_queue(c, &e));
	TRY(check_answer(&e));
	TRY(write_pins(c, &e));
	TRY(write_identity(c, &e));
	report(&e);
	ask_reload(c);
out:
	enrolment_clear(&e);
	return err;
}

int command_enroll(struct ctl *c, int argc, char **argv)
{
	static const struct option options[] = {
		{"token-file", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *token_file = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "t:h", options, NULL)) != -1) {
		if (option == 't')
			token_file = optarg;
		else
			break;
	}
	if (token_file == NULL || option != -1 || optind < argc) {
		bool help = option == 'h';
		fprintf(help ? stdout : stderr,
			"usage: certconnectorctl enroll --token-file FILE\n"
			"FILE holds the token that `certqueuectl token connector` made; mode 0600. "
			" "
			"Run as root or\n"
			"as the owner of the state directory, while certconnectord runs.\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	cc_err err = enroll(c, token_file);
	return err == CC_OK ? EXIT_OK : ctl_fail("enroll", err);
}

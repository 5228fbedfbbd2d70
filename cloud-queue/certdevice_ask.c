/*
 * certdevice new, ask: a device key, and requests as JobDocument JSON.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "base/tool.h"
#include "cloud-queue/certdevice.h"
#include "proto/dsse.h"
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIFETIME_S     3600
#define CRL_REASON_MAX 10
#define ARGUMENT_MAX   4096

static cc_err write_key(const char *dir, EVP_PKEY *key)
{
	char *path = file_join(dir, "device.key");
	char *public_path = file_join(dir, "device.pub");
	cc_err err = file_make_dir(dir, 0700);

	if (err == CC_OK)
		err = tool_key_write(key, path, public_path);
	free(public_path);
	free(path);
	return err;
}

static EVP_PKEY *make_key(const char *type)
{
	if (strcmp(type, "rsa-2048") == 0)
		return EVP_RSA_gen(2048);
	if (strcmp(type, "rsa-3072") == 0)
		return EVP_RSA_gen(3072);
	if (strcmp(type, "rsa-4096") == 0)
		return EVP_RSA_gen(4096);
	if (strcmp(type, "ec-p256") == 0)
		return EVP_EC_gen("P-256");
	if (strcmp(type, "ec-p384") == 0)
		return EVP_EC_gen("P-384");
	return NULL;
}

int certdevice_new(int argc, char **argv)
{
	if (argc != 4 || strcmp(argv[2], "--key") != 0) {
		bool help = argc > 1 && strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr, "usage: certdevice new DIR --key "
						"rsa-2048|rsa-3072|rsa-4096|ec-p256|ec-p384\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	EVP_PKEY *key = make_key(argv[3]);
	cc_err err =
		key ? write_key(argv[1], key) : cc_fail(CC_USAGE, "no key type \"%s\"", argv[3]);
	EVP_PKEY_free(key);
	if (err != CC_OK)
		return certdevice_fail("new", err);
	printf("%s: device key made\n", argv[1]);
	return EXIT_OK;
}

struct ask {
	const char *kind, *dir, *tenant, *profile, *key_type, *subject, *user, *device, *seal, *out;
	const char *idempotency, *audience, *pfx, *certificate, *reason;
	const char *device_certificate, *renew;
	json_t *san;
};

/* "email=a@b" as {"type": "email", "value": "a@b"}. */
static cc_err add_san(struct ask *a, const char *text)
{
	const char *at = strchr(text, '=');
	if (at == NULL)
		return cc_fail(CC_USAGE, "--san TYPE=VALUE, not \"%s\"", text);
	if (a->san == NULL)
		a->san = json_array();
	json_array_append_new(
		a->san, json_pack("{s:s#, s:s}", "type", text, (int)(at - text), "value", at + 1));
	return CC_OK;
}

static void append_certificate(json_t *chain, X509 *certificate)
{
	uint8_t *der = NULL;
	int size = i2d_X509(certificate, &der);
	char *text = text_base64_new(cc_view_of(der, size > 0 ? (size_t)size : 0));

	json_array_append_new(chain, json_string(text));
	free(text);
	OPENSSL_free(der);
}

/* A PEM file with the device's own certificate first; it has to be for the device's key. */
static cc_err read_chain(const char *path, const EVP_PKEY *key, json_t **ret)
{
	json_t *chain = json_array();
	X509 *certificate = NULL;
	cc_blob file = CC_BLOB_NONE;
	BIO *bio = NULL;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_ANY, 64 * 1024, &file));
	bio = BIO_new_mem_buf(file.data, (int)file.size);
	while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		bool own = EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;

		ENSURE(own || json_array_size(chain) > 0,
			cc_fail(CC_MISMATCH, "%s: not a certificate for this device's key", path));
		append_certificate(chain, certificate);
		X509_free(certificate);
	}
	ERR_clear_error(); /* the end of the file is an error there */
	ENSURE(json_array_size(chain) > 0, cc_fail(CC_MALFORMED, "%s: no PEM certificate", path));
	*ret = json_incref(chain);
out:
	X509_free(certificate);
	json_decref(chain);
	BIO_free(bio);
	cc_blob_free(&file);
	return err;
}

/* The device's public key, or the chain that it is certified by. */
static cc_err own_key(const struct ask *a, json_t **ret)
{
	EVP_PKEY *key = NULL;
	cc_blob spki = CC_BLOB_NONE;
	json_t *chain = NULL;
	cc_err err = CC_OK;

	TRY(certdevice_key_read(a->dir, &key));
	if (a->device_certificate != NULL) {
		TRY(read_chain(a->device_certificate, key, &chain));
		*ret = json_pack("{s:o}", "certificate_chain", chain);
	} else {
		TRY(dsse_spki(key, &spki));
		char *text = text_base64_new(cc_blob_view(&spki));
		*ret = json_pack("{s:s}", "spki", text);
		free(text);
	}
out:
	cc_blob_free(&spki);
	EVP_PKEY_free(key);
	return err;
}

static void set_text(json_t *object, const char *name, const char *text)
{
	if (text != NULL)
		json_object_set_new(object, name, json_string(text));
}

/* holder and device_key, which issue and rewrap share; takes `device` over */
static json_t *for_device(const struct ask *a, json_t *device)
{
	json_t *kind = json_object();
	json_t *holder = json_object();

	set_text(holder, "user_id", a->user);
	set_text(holder, "device_id", a->device);
	set_text(device, "seal", a->seal);
	json_object_set_new(kind, "holder", holder);
	json_object_set_new(kind, "device_key", device);
	return kind;
}

static cc_err read_certificate(const char *path, X509 **ret)
{
	cc_blob file = CC_BLOB_NONE;
	cc_err err = file_read(path, FILE_ANY, 64 * 1024, &file);

	if (err != CC_OK)
		return err;
	BIO *bio = BIO_new_mem_buf(file.data, (int)file.size);
	const uint8_t *at = file.data;
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (x == NULL)
		x = d2i_X509(NULL, &at, (long)file.size);
	BIO_free(bio);
	cc_blob_free(&file);
	if (x == NULL)
		return cc_fail(CC_MALFORMED, "%s: neither a PEM nor a DER certificate", path);
	*ret = x;
	return CC_OK;
}

/* By issuer (DER) and serial (the INTEGER's content octets) a revocation names its certificate. */
static cc_err revoke_of(const struct ask *a, json_t **ret)
{
	X509 *x = NULL;
	uint8_t *issuer = NULL, *serial = NULL;
	uint64_t reason = 0;
	cc_err err = CC_OK;

	ENSURE(a->certificate != NULL, cc_fail(CC_USAGE, "revoke: --certificate FILE is needed"));
	ENSURE(a->reason == NULL ||
			text_to_u64(cc_view_text(a->reason), 0, CRL_REASON_MAX, &reason) == CC_OK,
		cc_fail(CC_USAGE, "--reason: a number of RFC 5280, 0 to %d, not \"%s\"",
			CRL_REASON_MAX, a->reason));
	TRY(read_certificate(a->certificate, &x));
	int issuer_size = i2d_X509_NAME(X509_get_issuer_name(x), &issuer);
	int serial_size = i2d_ASN1_INTEGER(X509_get0_serialNumber(x), &serial);
	ENSURE(issuer_size > 0 && serial_size > 2 && serial_size < 128,
		cc_fail_openssl("the certificate's issuer and serial"));
	char *issuer_text = text_base64_new(cc_view_of(issuer, (size_t)issuer_size));
	char *serial_text = text_base64_new(cc_view_of(serial + 2, (size_t)serial_size - 2));
	*ret = json_pack("{s:s, s:s, s:s, s:I}", "ca_profile", a->profile ? a->profile : "",
		"issuer", issuer_text, "serial", serial_text, "reason", (json_int_t)reason);
	free(issuer_text);
	free(serial_text);
out:
	OPENSSL_free(issuer);
	OPENSSL_free(serial);
	X509_free(x);
	return err;
}

static cc_err kind_of(const struct ask *a, json_t **ret)
{
	json_t *kind = NULL, *device = NULL;
	uint64_t renew = 0;

	if (strcmp(a->kind, "chain") == 0) {
		*ret = json_pack("{s:s}", "ca_profile", a->profile ? a->profile : "");
		return CC_OK;
	}
	if (strcmp(a->kind, "revoke") == 0)
		return revoke_of(a, ret);
	if (a->renew != NULL && text_to_u64(cc_view_text(a->renew), 1, 99, &renew) != CC_OK)
		return cc_fail(CC_USAGE, "--renew: 1 to 99, not \"%s\"", a->renew);
	cc_err err = own_key(a, &device);
	if (err != CC_OK)
		return err;
	kind = for_device(a, device);
	if (strcmp(a->kind, "issue") == 0) {
		set_text(kind, "ca_profile", a->profile);
		set_text(kind, "key_type", a->key_type);
		set_text(kind, "subject", a->subject);
		set_text(kind, "pfx_profile", a->pfx);
		if (renew > 0)
			json_object_set_new(kind, "renew_percent", json_integer((json_int_t)renew));
		if (a->san != NULL)
			json_object_set(kind, "san", a->san);
	}
	*ret = kind;
	return CC_OK;
}

static cc_err write_request(const struct ask *a)
{
	uint8_t random[16];
	json_t *kind = NULL;
	json_t *request = NULL;
	char *text = NULL;
	char *key = NULL;
	cc_err err = CC_OK;

	TRY(kind_of(a, &kind));
	random_bytes(random, sizeof(random));
	key = a->idempotency ? cc_strdup(a->idempotency)
			     : text_hex_new(cc_view_of(random, sizeof(random)));
	int64_t now = clock_realtime_s();
	request = json_pack("{s:i, s:s, s:s, s:I, s:I, s:O}", "version", 1, "tenant", a->tenant,
		"idempotency_key", key, "not_before_s", (json_int_t)(now - 60), "not_after_s",
		(json_int_t)(now + LIFETIME_S), a->kind, kind);
	ENSURE(request != NULL, cc_fail(CC_USAGE, "an argument is not UTF-8"));
	set_text(request, "audience", a->audience);
	text = json_dumps(request, JSON_INDENT(1));
	if (a->out != NULL)
		TRY(file_write_atomic(a->out, cc_view_text(text), 0644));
	else
		printf("%s\n", text);
out:
	free(text);
	free(key);
	json_decref(request);
	json_decref(kind);
	return err;
}

static int ask_usage(FILE *to, int status)
{
	fprintf(to,
		"usage: certdevice ask issue|rewrap|revoke|chain --tenant NAME [OPTION...]\n"
		"  --dir DIR            the device (issue, rewrap)\n"
		"  --profile NAME       CA profile (issue, revoke, chain)\n"
		"  --certificate FILE   PEM or DER (revoke)\n"
		"  --reason N           CRLReason of RFC 5280 (revoke), default 0\n"
		"  --key-type TYPE      rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384\n"
		"  --subject DN         RFC 4514\n"
		"  --san TYPE=VALUE     email, dns, uri, ip, upn; several times\n"
		"  --renew N            ask for a hint when N per cent of the lifetime are left\n"
		"  --device-certificate FILE\n"
		"                       PEM, the device's own first: sent in place of its bare "
		"key\n"
		"  --user ID --device ID --seal FORM --pfx PROFILE --audience NAME "
		"--idempotency-key KEY\n"
		"  --out FILE           default: standard output\n");
	return status;
}

static int ask_options(struct ask *a, int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"tenant", required_argument, NULL, 't'}, {"profile", required_argument, NULL, 'p'},
		{"key-type", required_argument, NULL, 'k'},
		{"subject", required_argument, NULL, 's'}, {"san", required_argument, NULL, 'n'},
		{"user", required_argument, NULL, 'u'}, {"device", required_argument, NULL, 'v'},
		{"seal", required_argument, NULL, 'l'}, {"pfx", required_argument, NULL, 'x'},
		{"audience", required_argument, NULL, 'a'},
		{"idempotency-key", required_argument, NULL, 'i'},
		{"certificate", required_argument, NULL, 'c'},
		{"reason", required_argument, NULL, 'r'}, {"out", required_argument, NULL, 'o'},
		{"renew", required_argument, NULL, 'w'},
		{"device-certificate", required_argument, NULL, 'e'}, {NULL, 0, NULL, 0}};
	const struct {
		int option;
		const char **to;
	} places[] = {{'d', &a->dir}, {'t', &a->tenant}, {'p', &a->profile}, {'k', &a->key_type},
		{'s', &a->subject}, {'u', &a->user}, {'v', &a->device}, {'l', &a->seal},
		{'x', &a->pfx}, {'a', &a->audience}, {'i', &a->idempotency}, {'o', &a->out},
		{'c', &a->certificate}, {'r', &a->reason}, {'w', &a->renew},
		{'e', &a->device_certificate}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		/* what is not, JSON would leave out without a word */
		if (!text_is_clean(cc_view_text(optarg), ARGUMENT_MAX)) {
			fprintf(stderr, "certdevice: an argument is not clean UTF-8 text\n");
			return EXIT_USAGE;
		}
		bool known = option == 'n' && add_san(a, optarg) == CC_OK;
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			if (places[i].option == option) {
				*places[i].to = optarg;
				known = true;
			}
		}
		if (!known)
			return EXIT_USAGE;
	}
	return a->tenant != NULL && optind == argc ? -1 : EXIT_USAGE;
}

static bool is_kind(const char *text)
{
	return strcmp(text, "issue") == 0 || strcmp(text, "rewrap") == 0 ||
	       strcmp(text, "revoke") == 0 || strcmp(text, "chain") == 0;
}

/* These are about the device's own key. */
static bool needs_device(const char *kind)
{
	return strcmp(kind, "issue") == 0 || strcmp(kind, "rewrap") == 0;
}

int certdevice_ask(int argc, char **argv)
{
	struct ask a = {0};

	if (argc > 1 && strcmp(argv[argc - 1], "--help") == 0)
		return ask_usage(stdout, EXIT_OK);
	if (argc < 2 || !is_kind(argv[1]))
		return ask_usage(stderr, EXIT_USAGE);
	a.kind = argv[1];
	int status = ask_options(&a, argc - 1, argv + 1);
	if (status >= 0 || (a.dir == NULL && needs_device(a.kind))) {
		json_decref(a.san);
		return ask_usage(stderr, EXIT_USAGE);
	}
	cc_err err = write_request(&a);
	json_decref(a.san);
	return err == CC_OK ? EXIT_OK : certdevice_fail("ask", err);
}

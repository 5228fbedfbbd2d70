/*
 * The seal form windows: what is made of it, who opens it, and which certificates are refused, at the
 * sealer and at the door of a real keyvault process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include "tests/support/fixture_vault.h"
#include <openssl/cms.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOWS CERTQ__SEAL__SEAL_WINDOWS
#define PROFILE                                                                                    \
	"ca_profiles: {corp-user: {cas: [corp-ca], template: t, key_types: [ec-p256], eku: "       \
	"[1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature, keyEncipherment], max_validity: "      \
	"365d, san: {email: [contoso.com]}, seals: [cms-auth, windows]%s}}"

static const char password[] = "0123456789abcdefghijklmnopqrstuv";

struct rig {
	struct fixture_vault v;
	struct fixture_ca devices;
	struct fixture_job job;
	EVP_PKEY *device;
	cc_blob certificate; /* of the device; DER */
	ProtobufCBinaryData chain[1];
};

static int rig_new(void **state)
{
	struct rig *rig = cc_alloc(sizeof(*rig));

	fixture_vault_prepare(&rig->v, keyvault_role_main);
	fixture_ca_make(&rig->devices, "Contoso Device CA");
	rig->device = fixture_key("rsa-2048");
	rig->certificate = fixture_ca_device(&rig->devices, rig->device, "device-1");
	*state = rig;
	return 0;
}

static int rig_free(void **state)
{
	struct rig *rig = *state;

	fixture_vault_clear(&rig->v);
	fixture_ca_clear(&rig->devices);
	EVP_PKEY_free(rig->device);
	cc_blob_free(&rig->certificate);
	free(rig);
	return 0;
}

/* ---- certificates ---- */

static X509 *parse(const cc_blob *der)
{
	const uint8_t *at = der->data;
	X509 *x = d2i_X509(NULL, &at, (long)der->size);

	assert_non_null(x);
	return x;
}

static void past(X509 *x)
{
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), -200));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), -100));
}

static void tomorrow(X509 *x)
{
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 86400));
}

static void replace(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_NID(x, nid, -1)));
	assert_int_equal(X509_add_ext(x, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static void for_signing(X509 *x)
{
	replace(x, NID_key_usage, "critical,digitalSignature");
}

static void of_a_ca(X509 *x)
{
	replace(x, NID_basic_constraints, "critical,CA:TRUE");
}

/* A certificate of the device CA, altered and signed anew. */
static cc_blob altered(struct rig *rig, EVP_PKEY *key, void (*change)(X509 *))
{
	cc_blob plain = fixture_ca_device(&rig->devices, key, "device-1");
	X509 *x = parse(&plain);
	unsigned char *der = NULL;

	if (change)
		change(x);
	assert_true(X509_sign(x, rig->devices.key, EVP_sha256()) > 0);
	int size = i2d_X509(x, &der);
	assert_true(size > 0);
	cc_blob copy = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	X509_free(x);
	cc_blob_free(&plain);
	return copy;
}

/* ---- the sealer ---- */

static cc_blob seal(struct rig *rig, bool pkcs1)
{
	X509 *x = parse(&rig->certificate);
	cc_blob sealed = CC_BLOB_NONE;

	assert_int_equal(sealer_seal_windows(x, pkcs1, cc_view_text(password), &sealed), CC_OK);
	X509_free(x);
	return sealed;
}

/* The parts of RFC 5652 section 6 that make it what programs on Windows expect. */
static void check_shape(struct rig *rig, bool pkcs1)
{
	cc_blob sealed = seal(rig, pkcs1);
	const uint8_t *at = sealed.data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)sealed.size);
	CMS_RecipientInfo *info = sk_CMS_RecipientInfo_value(CMS_get0_RecipientInfos(cms), 0);
	X509 *x = parse(&rig->certificate);
	X509_ALGOR *transport = NULL;
	const ASN1_OBJECT *oid = NULL;
	ASN1_OCTET_STRING *key_id = NULL;
	X509_NAME *issuer = NULL;
	ASN1_INTEGER *serial = NULL;

	assert_int_equal(OBJ_obj2nid(CMS_get0_type(cms)), NID_pkcs7_enveloped);
	assert_int_equal(CMS_RecipientInfo_type(info), CMS_RECIPINFO_TRANS);
	assert_int_equal(CMS_RecipientInfo_ktri_get0_signer_id(info, &key_id, &issuer, &serial), 1);
	assert_null(key_id);
	assert_int_equal(X509_NAME_cmp(issuer, X509_get_issuer_name(x)), 0);
	assert_int_equal(ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(x)), 0);
	assert_int_equal(CMS_RecipientInfo_ktri_get0_algs(info, NULL, NULL, &transport), 1);
	X509_ALGOR_get0(&oid, NULL, NULL, transport);
	assert_int_equal(OBJ_obj2nid(oid), pkcs1 ? NID_rsaEncryption : NID_rsaesOaep);
	X509_free(x);
	CMS_ContentInfo_free(cms);
	cc_blob_free(&sealed);
}

static void the_recipient_is_issuer_and_serial_number(void **state)
{
	check_shape(*state, false);
	check_shape(*state, true);
}

static cc_err open_with(EVP_PKEY *key, const cc_blob *sealed, Certq__Seal form)
{
	cc_secret plain = CC_SECRET_NONE;
	cc_err err = sealer_open(key, form, cc_blob_view(sealed), &plain);

	if (err == CC_OK)
		assert_true(cc_view_equal_secret(cc_secret_view(&plain), cc_view_text(password)));
	cc_secret_free(&plain);
	return err;
}

static void the_device_opens_it_and_another_key_does_not(void **state)
{
	struct rig *rig = *state;
	cc_blob sealed = seal(rig, false);
	EVP_PKEY *other = fixture_key("rsa-2048"), *ec = fixture_key("ec-p256");

	assert_int_equal(open_with(rig->device, &sealed, WINDOWS), CC_OK);
	assert_int_equal(open_with(rig->device, &sealed, CERTQ__SEAL__SEAL_CMS_AUTH), CC_PASSWORD);
	for (int i = 0; i < 20; i++) /* a key that is made up would fit the padding now and then */
		assert_int_equal(open_with(other, &sealed, WINDOWS), CC_PASSWORD);
	assert_int_equal(open_with(ec, &sealed, WINDOWS), CC_BAD_KEY);
	cc_blob_append_byte(&sealed, 0);
	assert_int_equal(open_with(rig->device, &sealed, WINDOWS), CC_PASSWORD);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(other);
	cc_blob_free(&sealed);
}

static void what_pkcs1_transports_is_not_opened_here(void **state)
{
	struct rig *rig = *state;
	cc_blob sealed = seal(rig, true);

	assert_int_equal(open_with(rig->device, &sealed, WINDOWS), CC_PASSWORD);
	assert_non_null(
		strstr(cc_err_detail(CC_PASSWORD), "CMS with a key transport other than OAEP"));
	cc_blob_free(&sealed);
}

static void write_pem(const char *path, EVP_PKEY *key, X509 *x)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	else
		assert_int_equal(PEM_write_X509(file, x), 1);
	fclose(file);
}

static void run_openssl(const char *dir)
{
	char *const argv[] = {(char[]){"openssl"}, (char[]){"cms"}, (char[]){"-decrypt"},
		(char[]){"-binary"}, (char[]){"-inform"}, (char[]){"DER"}, (char[]){"-in"},
		(char[]){"sealed"}, (char[]){"-recip"}, (char[]){"device.pem"}, (char[]){"-inkey"},
		(char[]){"device.key"}, (char[]){"-out"}, (char[]){"plain"}, NULL};
	posix_spawn_file_actions_t in_dir;
	pid_t pid = 0;
	int status = -1;

	assert_int_equal(posix_spawn_file_actions_init(&in_dir), 0);
	assert_int_equal(posix_spawn_file_actions_addchdir_np(&in_dir, dir), 0);
	assert_int_equal(posix_spawnp(&pid, "openssl", &in_dir, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	posix_spawn_file_actions_destroy(&in_dir);
}

static void opens_with_the_openssl_program(struct rig *rig, bool pkcs1)
{
	static const char *const names[] = {"sealed", "device.pem", "device.key", "plain"};
	const char *base = getenv("TMPDIR");
	char *dir = cc_asprintf("%s/windows-XXXXXX", base ? base : "/tmp"), *paths[4];
	cc_blob sealed = seal(rig, pkcs1), plain = CC_BLOB_NONE;
	X509 *x = parse(&rig->certificate);

	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < 4; i++)
		paths[i] = file_join(dir, names[i]);
	assert_int_equal(file_write_atomic(paths[0], cc_blob_view(&sealed), 0600), CC_OK);
	write_pem(paths[1], NULL, x);
	write_pem(paths[2], rig->device, NULL);
	run_openssl(dir);
	assert_int_equal(file_read(paths[3], FILE_ANY, 1024, &plain), CC_OK);
	assert_true(text_equal(cc_blob_view(&plain), password));
	for (size_t i = 0; i < 4; i++) {
		unlink(paths[i]);
		free(paths[i]);
	}
	rmdir(dir);
	free(dir);
	X509_free(x);
	cc_blob_free(&plain);
	cc_blob_free(&sealed);
}

static void the_openssl_program_opens_both_key_transports(void **state)
{
	opens_with_the_openssl_program(*state, false);
	opens_with_the_openssl_program(*state, true);
}

/* ---- the keyvault ---- */

static void start(struct rig *rig, const char *more, const char *profile_more)
{
	char *profile = cc_asprintf(PROFILE, profile_more);
	char *base = fixture_vault_policy(profile);

	free(rig->v.policy);
	/* the first line of these two kinds goes, ours comes */
	char *keys = strstr(base, "device_keys: any_signed\n");
	char *detail = strstr(base, "report_detail: code\n");
	assert_non_null(keys);
	assert_non_null(detail);
	memcpy(keys, "# ", 2);
	memcpy(detail, "# ", 2);
	rig->v.policy = cc_asprintf("%sreport_detail: full\n%s\n", base, more);
	free(base);
	free(profile);
	fixture_vault_start(&rig->v);
}

/* The job names the device by this certificate. */
static void ask(struct rig *rig, const char *key, const cc_blob *certificate)
{
	fixture_issue(&rig->job, &rig->v.tenant, key, "corp-user", CC_VIEW_NONE);
	rig->chain[0] = codec_bytes(cc_blob_view(certificate));
	rig->job.device_key.certificate_chain = rig->chain;
	rig->job.device_key.n_certificate_chain = 1;
	rig->job.device_key.seal = WINDOWS;
}

static void expect_words(struct rig *rig, const char *code, const char *words)
{
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	cc_view detail = codec_view(answer->detail);

	if (answer->answer_case != VAULT__VAULT_ANSWER__ANSWER__NOT_SET ||
		!text_equal(codec_view(answer->code), code) || !text_equal(detail, words))
		fail_msg("%.*s: %.*s", (int)answer->code.len, (const char *)answer->code.data,
			(int)detail.size, (const char *)detail.data);
	codec_free(answer);
}

/* The sealed password of the rig's job; free with cc_blob_free. */
static cc_blob deliver(struct rig *rig)
{
	Vault__VaultAnswer *begun = fixture_vault_begin(&rig->v, &rig->job);

	assert_int_equal(begun->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	cc_blob leaf = fixture_ca_issue(
		&rig->v.ca, codec_view(begun->begun->csr), "clientAuth", 86400, NULL, NULL);
	Vault__VaultAnswer *finished = fixture_vault_finish(
		&rig->v, codec_view(begun->begun->ticket), "corp-ca", cc_blob_view(&leaf));
	assert_int_equal(finished->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	cc_blob sealed = cc_blob_copy(codec_view(finished->result->sealed_password));
	codec_free(finished);
	codec_free(begun);
	cc_blob_free(&leaf);
	return sealed;
}

static void expect_delivery(struct rig *rig)
{
	cc_blob sealed = deliver(rig);
	cc_secret plain = CC_SECRET_NONE;

	assert_int_equal(sealer_open(rig->device, WINDOWS, cc_blob_view(&sealed), &plain), CC_OK);
	assert_int_equal(plain.size, 32);
	cc_secret_free(&plain);
	cc_blob_free(&sealed);
}

static void a_job_with_the_device_s_certificate_is_delivered(void **state)
{
	struct rig *rig = *state;

	start(rig, "device_keys: any_signed", "");
	ask(rig, "job-1", &rig->certificate);
	expect_delivery(rig);
}

static void policy_alone_makes_it_pkcs1(void **state)
{
	struct rig *rig = *state;

	start(rig, "device_keys: any_signed", ", windows_key_transport: pkcs1");
	ask(rig, "job-1", &rig->certificate);
	cc_blob sealed = deliver(rig);
	const uint8_t *at = sealed.data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)sealed.size);
	X509 *x = parse(&rig->certificate);
	BIO *plain = BIO_new(BIO_s_mem());
	char *data = NULL;

	/* the device's side of it, which only stands in this test */
	assert_int_equal(CMS_decrypt(cms, rig->device, x, NULL, plain, CMS_BINARY), 1);
	assert_int_equal(BIO_get_mem_data(plain, &data), 32);
	BIO_free(plain);
	X509_free(x);
	CMS_ContentInfo_free(cms);
	cc_blob_free(&sealed);
}

static void a_policy_that_does_not_list_it_denies_it(void **state)
{
	struct rig *rig = *state;

	fixture_vault_start(&rig->v); /* cms-auth and oaep-sha256 */
	ask(rig, "job-1", &rig->certificate);
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_true(text_equal(codec_view(answer->code), "policy_denied"));
	codec_free(answer);
}

static void a_certificate_that_will_not_do_is_refused_in_words(void **state)
{
	static const struct {
		const char *key, *kind;
		void (*change)(X509 *);
		const char *words;
	} bad[] = {
		{"past", "rsa-2048", past, "device key: its certificate has expired"},
		{"tomorrow", "rsa-2048", tomorrow, "device key: its certificate is not valid yet"},
		{"signing", "rsa-2048", for_signing,
			"device key: its certificate is not for keyEncipherment"},
		{"ca", "rsa-2048", of_a_ca, "device key: the certificate is a CA's"},
		{"weak", "rsa-1024", NULL, "device key: RSA of 1024 bits, 2048 to 4096 are taken"},
		{"ec", "ec-p256", NULL, "device key: the form windows needs RSA"},
	};
	struct rig *rig = *state;

	start(rig, "device_keys: any_signed", "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EVP_PKEY *key = fixture_key(bad[i].kind);
		cc_blob certificate = altered(rig, key, bad[i].change);

		ask(rig, bad[i].key, &certificate);
		expect_words(rig, "device_key_refused", bad[i].words);
		cc_blob_free(&certificate);
		EVP_PKEY_free(key);
	}
	ask(rig, "still-serving", &rig->certificate);
	expect_delivery(rig);
}

static void a_bare_key_is_refused_in_words(void **state)
{
	struct rig *rig = *state;
	cc_blob spki = fixture_spki(rig->device);

	start(rig, "device_keys: any_signed", "");
	fixture_issue(&rig->job, &rig->v.tenant, "bare", "corp-user", cc_blob_view(&spki));
	rig->job.device_key.seal = WINDOWS;
	expect_words(rig, "device_key_refused",
		"device key: the form windows needs the device's certificate");
	cc_blob_free(&spki);
}

/* The device is known by its bare key; a certificate counts for it only when it is for that key. */
static void a_certificate_for_another_key_than_the_known_one_is_refused(void **state)
{
	struct rig *rig = *state;
	EVP_PKEY *other = fixture_key("rsa-2048");
	cc_blob wrong = altered(rig, other, NULL), spki = fixture_spki(rig->device);

	start(rig, "device_keys: pinned\nunknown_keys: refuse", "");
	fixture_issue(&rig->job, &rig->v.tenant, "first", "corp-user", cc_blob_view(&spki));
	Vault__VaultAnswer *answer = fixture_vault_begin(&rig->v, &rig->job);
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_BEGUN);
	codec_free(answer);
	ask(rig, "wrong", &wrong);
	expect_words(rig, "device_key_refused", "device key: another one is known for this device");
	ask(rig, "right", &rig->certificate);
	expect_delivery(rig);
	cc_blob_free(&wrong);
	cc_blob_free(&spki);
	EVP_PKEY_free(other);
}

/* ---- imported PFX ---- */

static void an_imported_password_is_sealed_to_the_certificate_too(void **state)
{
	static const char pfx[] = "the file is the queue's: a bound record's is not opened here";
	struct rig *rig = *state;
	cc_view file = cc_view_text(pfx);
	cc_secret plain = CC_SECRET_NONE;

	start(rig, "device_keys: any_signed", "");
	assert_int_equal(fixture_vault_stop(&rig->v), 0);
	char *listed = strstr(rig->v.policy, "rewrap: {");
	assert_non_null(listed);
	memcpy(listed, "# ", 2);
	char *policy = cc_asprintf(
		"%s\nrewrap: {purposes: [smimeEncryption], seals: [windows]}\n", rig->v.policy);
	free(rig->v.policy);
	rig->v.policy = policy;
	fixture_vault_start(&rig->v);
	fixture_rewrap(&rig->job, &rig->v.tenant, "r-1", file, CC_VIEW_NONE);
	cc_blob encrypted = fixture_encrypt_password(
		&rig->job, cc_blob_view(&rig->v.decrypt_spki), file, password);
	fixture_rewrap_add(&rig->job, cc_blob_view(&rig->v.decrypt_id), cc_blob_view(&encrypted));
	rig->chain[0] = codec_bytes(cc_blob_view(&rig->certificate));
	rig->job.device_key.certificate_chain = rig->chain;
	rig->job.device_key.n_certificate_chain = 1;
	Vault__VaultAnswer *answer =
		fixture_vault_rewrap(&rig->v, &rig->job, file, cc_blob_view(&encrypted));
	assert_int_equal(answer->answer_case, VAULT__VAULT_ANSWER__ANSWER_RESULT);
	assert_int_equal(sealer_open(rig->device, WINDOWS,
				 codec_view(answer->result->sealed_password), &plain),
		CC_OK);
	assert_true(cc_view_equal_secret(cc_secret_view(&plain), cc_view_text(password)));
	cc_secret_free(&plain);
	codec_free(answer);
	cc_blob_free(&encrypted);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_new, rig_free)
	const struct CMUnitTest tests[] = {
		WITH_RIG(the_recipient_is_issuer_and_serial_number),
		WITH_RIG(the_device_opens_it_and_another_key_does_not),
		WITH_RIG(what_pkcs1_transports_is_not_opened_here),
		WITH_RIG(the_openssl_program_opens_both_key_transports),
		WITH_RIG(a_job_with_the_device_s_certificate_is_delivered),
		WITH_RIG(policy_alone_makes_it_pkcs1),
		WITH_RIG(a_policy_that_does_not_list_it_denies_it),
		WITH_RIG(a_certificate_that_will_not_do_is_refused_in_words),
		WITH_RIG(a_bare_key_is_refused_in_words),
		WITH_RIG(a_certificate_for_another_key_than_the_known_one_is_refused),
		WITH_RIG(an_imported_password_is_sealed_to_the_certificate_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The local CA: what it issues, what it refuses, that it gives the same certificate again, and that
 * its revocation list is one that OpenSSL believes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "ca-backends/local/local.h"
#include "tests/support/local_rig.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ca_option options[] = {
	{"templates.user.eku", "1.3.6.1.5.5.7.3.2,1.3.6.1.5.5.7.3.4"},
	{"templates.user.key_usage", "digitalSignature,keyEncipherment"},
	{"templates.user.max_validity", "30d"},
	{"templates.bare.max_validity", "1d"},
	{"templates.bare.honour", "san"},
	{"crl_url", "http://crl.corp.example/crl.der"},
};

static const uint8_t job_a[16] = {1}, job_b[16] = {2};

struct rig {
	struct local_rig files;
	struct ca_context context;
	void *ca;
	X509 *root;
	struct ca_answer answer;
};

static cc_err open_ca(struct rig *r)
{
	return local_backend.open(&r->context, &r->ca);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	local_rig_make(&r->files, local_ca_init_main);
	r->context = (struct ca_context){
		.name = "corp-ca",
		.state_dir = r->files.state_dir,
		.options = options,
		.option_count = sizeof(options) / sizeof(options[0]),
		.schema = local_backend.schema,
		.schema_count = local_backend.schema_count,
		.secret = cc_blob_view(&r->files.secret),
	};
	assert_int_equal(open_ca(r), CC_OK);
	r->root = local_rig_root(&r->files);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	clock_shift_for_test(0, 0);
	ca_answer_clear(&r->answer);
	local_backend.close(r->ca);
	X509_free(r->root);
	local_rig_clear(&r->files);
	free(r);
	return 0;
}

static void fill_request(struct ca_request *q, uint8_t digest[SHA256_SIZE], const uint8_t *job,
	const char *template_name, cc_view csr)
{
	hash_sha256(csr, digest);
	*q = (struct ca_request){
		.tenant = cc_view_text("contoso"),
		.job_id = cc_view_of(job, 16),
		.template_name = cc_view_text(template_name),
		.csr = csr,
		.csr_sha256 = cc_view_of(digest, SHA256_SIZE),
	};
}

static Ca__CaResult submit(struct rig *r, const uint8_t *job, const char *template_name,
	cc_view csr, uint32_t validity_s)
{
	struct ca_request q;
	uint8_t digest[SHA256_SIZE];

	fill_request(&q, digest, job, template_name, csr);
	q.validity_s = validity_s;
	ca_answer_clear(&r->answer);
	local_backend.submit(r->ca, &q, &r->answer);
	return r->answer.result;
}

static Ca__CaResult look_up(struct rig *r, const uint8_t *job, cc_view csr)
{
	struct ca_request q;
	uint8_t digest[SHA256_SIZE];

	fill_request(&q, digest, job, "", csr);
	ca_answer_clear(&r->answer);
	local_backend.find(r->ca, &q, &r->answer);
	return r->answer.result;
}

static X509 *leaf(const struct rig *r)
{
	const unsigned char *at;
	X509 *cert;

	assert_int_equal(r->answer.result, CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(r->answer.chain_count, 2);
	at = r->answer.chain[0].data;
	cert = d2i_X509(NULL, &at, (long)r->answer.chain[0].size);
	assert_non_null(cert);
	return cert;
}

/* X509_V_OK or what is wrong; with the CRL file when `with_crl`. */
static int verify(const struct rig *r, X509 *cert, bool with_crl)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_CRL *crl = NULL;
	int result;

	X509_STORE_add_cert(store, r->root);
	if (with_crl) {
		char *path = file_join(r->files.state_dir, "local/crl.pem");
		FILE *file = fopen(path, "re");
		assert_non_null(file);
		crl = PEM_read_X509_CRL(file, NULL, NULL, NULL);
		assert_non_null(crl);
		fclose(file);
		free(path);
		X509_STORE_add_crl(store, crl);
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	}
	X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
	(void)X509_verify_cert(ctx);
	result = X509_STORE_CTX_get_error(ctx);
	X509_CRL_free(crl);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return result;
}

static const struct local_rig_ext usual[] = {
	{NID_subject_alt_name, "email:alice@contoso.com"},
	{NID_ext_key_usage, "1.3.6.1.5.5.7.3.2"},
	{NID_key_usage, "critical,digitalSignature"},
	{0, NULL},
};

static void a_certificate_is_what_was_asked_for(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);
	const ASN1_INTEGER *serial;
	X509 *cert;
	int64_t length;
	int day = 0, second = 0;

	assert_int_equal(
		submit(r, job_a, "user", cc_blob_view(&csr), 7 * 86400), CA__CA_RESULT__CA_ISSUED);
	cert = leaf(r);
	assert_int_equal(verify(r, cert, true), X509_V_OK);
	assert_int_equal(X509_check_email(cert, "alice@contoso.com", 0, 0), 1);
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_CLIENT);
	assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	assert_int_equal(X509_check_ca(cert), 0);
	serial = X509_get0_serialNumber(cert);
	assert_int_equal(serial->length, 16);
	assert_int_equal(serial->type, V_ASN1_INTEGER);
	ASN1_TIME_diff(&day, &second, X509_get0_notBefore(cert), X509_get0_notAfter(cert));
	length = (int64_t)day * 86400 + second;
	assert_true(length >= 7 * 86400 && length <= 7 * 86400 + 600);
	X509_free(cert);
	cc_blob_free(&csr);
}

static void a_request_that_names_no_usage_gets_the_templates(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", NULL);
	X509 *cert;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	cert = leaf(r);
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_CLIENT | XKU_SMIME);
	assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
	X509_free(cert);
	cc_blob_free(&csr);
}

static void validity_never_exceeds_the_templates(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", NULL);
	X509 *cert;
	int day = 0, second = 0;

	submit(r, job_a, "user", cc_blob_view(&csr), 400 * 86400);
	cert = leaf(r);
	ASN1_TIME_diff(&day, &second, NULL, X509_get0_notAfter(cert));
	assert_in_range(day, 29, 30);
	X509_free(cert);
	cc_blob_free(&csr);
}

static void an_empty_subject_makes_the_alternative_name_critical(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("", usual);
	X509 *cert;
	int critical = -1;
	GENERAL_NAMES *names;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	cert = leaf(r);
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
	assert_non_null(names);
	assert_int_equal(critical, 1);
	GENERAL_NAMES_free(names);
	X509_free(cert);
	cc_blob_free(&csr);
}

static void the_same_request_gets_the_same_certificate(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual), first;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	first = cc_blob_copy(cc_blob_view(&r->answer.chain[0]));
	assert_int_equal(submit(r, job_a, "user", cc_blob_view(&csr), 0), CA__CA_RESULT__CA_ISSUED);
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&r->answer.chain[0])));
	submit(r, job_b, "user", cc_blob_view(&csr), 0);
	assert_false(cc_view_equal(cc_blob_view(&first), cc_blob_view(&r->answer.chain[0])));
	cc_blob_free(&first);
	cc_blob_free(&csr);
}

static void the_same_certificate_is_given_after_a_restart(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual), first;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	first = cc_blob_copy(cc_blob_view(&r->answer.chain[0]));
	local_backend.close(r->ca);
	r->ca = NULL;
	assert_int_equal(open_ca(r), CC_OK);
	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	assert_true(cc_view_equal(cc_blob_view(&first), cc_blob_view(&r->answer.chain[0])));
	cc_blob_free(&first);
	cc_blob_free(&csr);
}

static void find_tells_what_was_issued_and_what_was_not(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);

	assert_int_equal(look_up(r, job_a, cc_blob_view(&csr)), CA__CA_RESULT__CA_NOT_ISSUED);
	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	assert_int_equal(look_up(r, job_a, cc_blob_view(&csr)), CA__CA_RESULT__CA_ISSUED);
	assert_int_equal(look_up(r, job_b, cc_blob_view(&csr)), CA__CA_RESULT__CA_NOT_ISSUED);
	cc_blob_free(&csr);
}

static void rejected(struct rig *r, const char *template_name, const struct local_rig_ext *ext,
	const char *words)
{
	cc_blob csr = local_rig_csr("alice", ext);

	assert_int_equal(
		submit(r, job_a, template_name, cc_blob_view(&csr), 0), CA__CA_RESULT__CA_REJECTED);
	if (strstr(r->answer.reason, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", r->answer.reason, words);
	assert_int_equal(look_up(r, job_a, cc_blob_view(&csr)), CA__CA_RESULT__CA_NOT_ISSUED);
	cc_blob_free(&csr);
}

static void an_extended_key_usage_outside_the_template_is_rejected(void **state)
{
	const struct local_rig_ext ext[] = {{NID_ext_key_usage, "serverAuth"}, {0, NULL}};
	rejected(*state, "user", ext, "extended key usage");
}

static void a_key_usage_outside_the_template_is_rejected(void **state)
{
	const struct local_rig_ext ext[] = {{NID_key_usage, "keyCertSign"}, {0, NULL}};
	rejected(*state, "user", ext, "key usage");
}

static void a_request_for_a_ca_is_rejected(void **state)
{
	const struct local_rig_ext ext[] = {{NID_basic_constraints, "CA:TRUE"}, {0, NULL}};
	rejected(*state, "user", ext, "CA's certificate");
}

static void an_extension_that_nobody_knows_is_rejected(void **state)
{
	const struct local_rig_ext ext[] = {{NID_netscape_comment, "hello"}, {0, NULL}};
	rejected(*state, "user", ext, "not known");
}

static void an_extension_that_the_template_does_not_honour_is_rejected(void **state)
{
	rejected(*state, "bare", usual, "does not take over");
}

/* Where the request has the User template's name as extension: is it in the certificate? */
static bool has_template(struct rig *r, const uint8_t *job, const char *template_name)
{
	static const char oid[] = "1.3.6.1.4.1.311.20.2";
	int nid = OBJ_txt2nid(oid) != NID_undef ? OBJ_txt2nid(oid) : OBJ_create(oid, oid, oid);
	const struct local_rig_ext ext[] = {{nid, "DER:1e080055007300650072"}, {0, NULL}};
	cc_blob csr = local_rig_csr("alice", ext);
	X509_EXTENSION *found;
	X509 *cert;
	bool has;

	submit(r, job, template_name, cc_blob_view(&csr), 0);
	cert = leaf(r);
	found = X509_get_ext(cert, X509_get_ext_by_NID(cert, nid, -1));
	has = found != NULL;
	if (has) {
		assert_int_equal(X509_EXTENSION_get_critical(found), 0);
		assert_memory_equal(ASN1_STRING_get0_data(X509_EXTENSION_get_data(found)),
			"\x1e\x08\0U\0s\0e\0r", 10);
	}
	X509_free(cert);
	cc_blob_free(&csr);
	return has;
}

static void a_template_s_extension_is_taken_over_where_it_is_honoured(void **state)
{
	assert_true(has_template(*state, job_a, "user"));
	assert_false(has_template(*state, job_b, "bare"));
}

static void a_template_s_extension_that_does_not_decode_is_rejected(void **state)
{
	static const char oid[] = "1.3.6.1.4.1.311.21.7";
	int nid = OBJ_txt2nid(oid) != NID_undef ? OBJ_txt2nid(oid) : OBJ_create(oid, oid, oid);
	const struct local_rig_ext ext[] = {{nid, "DER:300506"}, {0, NULL}};

	rejected(*state, "user", ext, "template's extension does not decode");
}

static void an_altered_request_is_rejected(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);

	csr.data[csr.size - 1] ^= 1;
	assert_int_equal(
		submit(r, job_a, "user", cc_blob_view(&csr), 0), CA__CA_RESULT__CA_REJECTED);
	cc_blob_append_byte(&csr, 0);
	assert_int_equal(
		submit(r, job_a, "user", cc_blob_view(&csr), 0), CA__CA_RESULT__CA_REJECTED);
	cc_blob_free(&csr);
}

static void an_unknown_template_is_the_administrators_to_mend(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);

	assert_int_equal(
		submit(r, job_a, "nope", cc_blob_view(&csr), 0), CA__CA_RESULT__CA_MISCONFIGURED);
	assert_non_null(strstr(r->answer.reason, "nope"));
	cc_blob_free(&csr);
}

static Ca__CaResult take_back(
	struct rig *r, const X509 *cert, const X509_NAME *issuer, uint32_t reason)
{
	struct ca_request q = {.reason = reason};
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	unsigned char *der = NULL;
	int size = i2d_X509_NAME(issuer, &der);

	assert_true(size > 0);
	q.issuer = cc_view_of(der, (size_t)size);
	q.serial = cc_view_of(serial->data, (size_t)serial->length);
	ca_answer_clear(&r->answer);
	local_backend.revoke(r->ca, &q, &r->answer);
	OPENSSL_free(der);
	return r->answer.result;
}

static void a_revoked_certificate_is_on_the_list(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual), other = local_rig_csr("bob", usual);
	X509 *cert, *kept;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	cert = leaf(r);
	submit(r, job_b, "user", cc_blob_view(&other), 0);
	kept = leaf(r);
	assert_int_equal(verify(r, cert, true), X509_V_OK);
	assert_int_equal(take_back(r, cert, X509_get_issuer_name(cert), CRL_REASON_KEY_COMPROMISE),
		CA__CA_RESULT__CA_DONE);
	assert_int_equal(verify(r, cert, true), X509_V_ERR_CERT_REVOKED);
	assert_int_equal(verify(r, kept, true), X509_V_OK);
	assert_int_equal(take_back(r, cert, X509_get_issuer_name(cert), CRL_REASON_KEY_COMPROMISE),
		CA__CA_RESULT__CA_DONE);
	X509_free(cert);
	X509_free(kept);
	cc_blob_free(&csr);
	cc_blob_free(&other);
}

static void another_cas_certificate_is_not_revoked(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);
	X509 *cert;

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	cert = leaf(r);
	assert_int_equal(
		take_back(r, cert, X509_get_subject_name(cert), 1), CA__CA_RESULT__CA_REJECTED);
	assert_int_equal(verify(r, cert, true), X509_V_OK);
	X509_free(cert);
	cc_blob_free(&csr);
}

static void a_serial_that_was_not_issued_is_not_revoked(void **state)
{
	struct rig *r = *state;

	assert_int_equal(take_back(r, r->root, X509_get_subject_name(r->root), 1),
		CA__CA_RESULT__CA_REJECTED);
}

static void the_list_is_made_anew_before_it_is_over(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual);
	char *path = file_join(r->files.state_dir, "local/crl.der");
	cc_blob before = CC_BLOB_NONE, after = CC_BLOB_NONE;

	assert_int_equal(file_read(path, FILE_ANY, 65536, &before), CC_OK);
	local_backend.health(r->ca, &r->answer);
	assert_int_equal(r->answer.result, CA__CA_RESULT__CA_DONE);
	assert_int_equal(file_read(path, FILE_ANY, 65536, &after), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	cc_blob_free(&after);
	clock_shift_for_test(INT64_C(4) * 86400 * 1000, 0);
	ca_answer_clear(&r->answer);
	local_backend.health(r->ca, &r->answer);
	assert_int_equal(r->answer.result, CA__CA_RESULT__CA_DONE);
	assert_int_equal(file_read(path, FILE_ANY, 65536, &after), CC_OK);
	assert_false(cc_view_equal(cc_blob_view(&before), cc_blob_view(&after)));
	cc_blob_free(&before);
	cc_blob_free(&after);
	cc_blob_free(&csr);
	free(path);
}

static void each_certificate_is_also_a_file(void **state)
{
	struct rig *r = *state;
	cc_blob csr = local_rig_csr("alice", usual), index = CC_BLOB_NONE;
	char *name, *path, *index_path = file_join(r->files.state_dir, "local/issued/index.txt");

	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	submit(r, job_a, "user", cc_blob_view(&csr), 0);
	name = cc_asprintf("local/issued/%s.pem", r->answer.reference);
	path = file_join(r->files.state_dir, name);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(file_read(index_path, FILE_ANY, 65536, &index), CC_OK);
	assert_non_null(strstr(cc_blob_text(&index), "CN=alice"));
	assert_ptr_equal(strstr(cc_blob_text(&index), "\n") + 1, (char *)index.data + index.size);
	assert_int_equal(unlink(path), 0); /* a file that a crash left out comes back */
	local_backend.close(r->ca);
	r->ca = NULL;
	assert_int_equal(open_ca(r), CC_OK);
	assert_int_equal(access(path, F_OK), 0);
	cc_blob_free(&index);
	cc_blob_free(&csr);
	free(name);
	free(path);
	free(index_path);
}

/* Issue to the jobs `from` to `to`; the path of the first one's file, which is taken away. */
static char *issue_many(struct rig *r, uint32_t from, uint32_t to)
{
	cc_blob csr = local_rig_csr("alice", usual);
	char *name, *first = NULL;

	for (uint32_t i = from; i <= to; i++) {
		uint8_t job[16] = {9, (uint8_t)(i >> 8), (uint8_t)i};
		assert_int_equal(
			submit(r, job, "user", cc_blob_view(&csr), 0), CA__CA_RESULT__CA_ISSUED);
		if (first == NULL) {
			name = cc_asprintf("local/issued/%s.pem", r->answer.reference);
			first = file_join(r->files.state_dir, name);
			free(name);
		}
	}
	assert_int_equal(unlink(first), 0);
	cc_blob_free(&csr);
	return first;
}

static void a_start_looks_only_at_the_last_certificates(void **state)
{
	struct rig *r = *state;
	char *old = issue_many(r, 1, 1);
	char *recent = issue_many(r, 2, 257);

	local_backend.close(r->ca);
	r->ca = NULL;
	assert_int_equal(open_ca(r), CC_OK);
	assert_int_not_equal(access(old, F_OK), 0);
	assert_int_equal(access(recent, F_OK), 0);
	free(old);
	free(recent);
}

static void the_root_may_sign_and_nothing_below_it_may(void **state)
{
	struct rig *r = *state;

	assert_int_equal(X509_check_ca(r->root), 1);
	assert_int_equal(X509_get_pathlen(r->root), 0);
	assert_int_equal(X509_get_key_usage(r->root), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	local_backend.chain(r->ca, &r->answer);
	assert_int_equal(r->answer.result, CA__CA_RESULT__CA_DONE);
	assert_int_equal(r->answer.chain_count, 1);
}

static void a_wrong_secret_does_not_open_the_ca(void **state)
{
	struct rig *r = *state;
	void *other = NULL;
	struct ca_context c = r->context;

	c.secret = cc_view_text("this is not the secret of this CA\n");
	assert_int_equal(local_backend.open(&c, &other), CC_PASSWORD);
	c.secret = CC_VIEW_NONE;
	assert_int_equal(local_backend.open(&c, &other), CC_CONFIG);
	assert_null(other);
}

static void the_key_file_holds_no_plain_key(void **state)
{
	struct rig *r = *state;
	char *path = file_join(r->files.state_dir, "local/ca.key");
	cc_blob file = CC_BLOB_NONE;
	struct stat st;

	assert_int_equal(file_read(path, FILE_SECRET, 65536, &file), CC_OK);
	assert_non_null(strstr(cc_blob_text(&file), "BEGIN ENCRYPTED PRIVATE KEY"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(r->files.secret_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	cc_blob_free(&file);
	free(path);
}

static void a_lost_database_is_not_quietly_made_anew(void **state)
{
	struct rig *r = *state;
	char *db = file_join(r->files.state_dir, "local/db");

	local_backend.close(r->ca);
	r->ca = NULL;
	local_rig_remove_tree(db);
	assert_int_equal(open_ca(r), CC_CORRUPT);
	free(db);
}

static void a_ca_is_made_only_once(void **state)
{
	struct rig *r = *state;
	char *argv[] = {(char *)(uintptr_t) "--init-ca", (char *)(uintptr_t) "--name",
		(char *)(uintptr_t) "corp-ca", (char *)(uintptr_t) "--backend",
		(char *)(uintptr_t) "local", (char *)(uintptr_t) "--state-dir", r->files.state_dir,
		(char *)(uintptr_t) "--secret", r->files.secret_path};
	X509 *root;

	assert_int_equal(local_rig_init_quietly(local_ca_init_main, 9, argv), EXIT_REFUSED);
	root = local_rig_root(&r->files);
	assert_int_equal(X509_cmp(root, r->root), 0);
	X509_free(root);
}

static void a_ca_whose_key_is_lost_is_not_made_anew_over_its_records(void **state)
{
	struct rig *r = *state;
	char *argv[] = {(char *)(uintptr_t) "--init-ca", (char *)(uintptr_t) "--name",
		(char *)(uintptr_t) "corp-ca", (char *)(uintptr_t) "--backend",
		(char *)(uintptr_t) "local", (char *)(uintptr_t) "--state-dir", r->files.state_dir,
		(char *)(uintptr_t) "--secret", r->files.secret_path};
	char *key = file_join(r->files.state_dir, "local/ca.key");
	cc_blob csr = local_rig_csr("alice", NULL);
	X509 *root;

	assert_int_equal(
		submit(r, job_a, "user", cc_blob_view(&csr), 86400), CA__CA_RESULT__CA_ISSUED);
	local_backend.close(r->ca);
	r->ca = NULL;
	assert_int_equal(unlink(key), 0);
	assert_int_equal(open_ca(r), CC_CONFIG);
	assert_non_null(strstr(cc_err_detail(CC_CONFIG), "put the CA's key back"));
	assert_int_equal(local_rig_init_quietly(local_ca_init_main, 9, argv), EXIT_REFUSED);
	root = local_rig_root(&r->files);
	assert_int_equal(X509_cmp(root, r->root), 0);
	X509_free(root);
	cc_blob_free(&csr);
	free(key);
}

static void a_ca_that_is_not_made_says_how(void **state)
{
	struct rig *r = *state;
	struct ca_context c = r->context;
	void *other = NULL;

	c.state_dir = r->files.dir;
	assert_int_equal(local_backend.open(&c, &other), CC_CONFIG);
	assert_non_null(strstr(cc_err_detail(CC_CONFIG), "ca init corp-ca"));
}

static void a_template_that_is_not_understood_is_told_at_the_start(void **state)
{
	struct rig *r = *state;
	static const struct ca_option bad[] = {{"templates.user.key_usage", "digitalSignatur"}};
	struct ca_context c = r->context;
	void *other = NULL;

	local_backend.close(r->ca);
	r->ca = NULL;
	c.options = bad;
	c.option_count = 1;
	assert_int_equal(local_backend.open(&c, &other), CC_CONFIG);
	assert_non_null(strstr(cc_err_detail(CC_CONFIG), "digitalSignatur"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_certificate_is_what_was_asked_for),
		TEST(a_request_that_names_no_usage_gets_the_templates),
		TEST(validity_never_exceeds_the_templates),
		TEST(an_empty_subject_makes_the_alternative_name_critical),
		TEST(the_same_request_gets_the_same_certificate),
		TEST(the_same_certificate_is_given_after_a_restart),
		TEST(find_tells_what_was_issued_and_what_was_not),
		TEST(an_extended_key_usage_outside_the_template_is_rejected),
		TEST(a_key_usage_outside_the_template_is_rejected),
		TEST(a_request_for_a_ca_is_rejected),
		TEST(an_extension_that_nobody_knows_is_rejected),
		TEST(an_extension_that_the_template_does_not_honour_is_rejected),
		TEST(a_template_s_extension_is_taken_over_where_it_is_honoured),
		TEST(a_template_s_extension_that_does_not_decode_is_rejected),
		TEST(an_altered_request_is_rejected),
		TEST(an_unknown_template_is_the_administrators_to_mend),
		TEST(a_revoked_certificate_is_on_the_list),
		TEST(another_cas_certificate_is_not_revoked),
		TEST(a_serial_that_was_not_issued_is_not_revoked),
		TEST(the_list_is_made_anew_before_it_is_over),
		TEST(each_certificate_is_also_a_file),
		TEST(a_start_looks_only_at_the_last_certificates),
		TEST(the_root_may_sign_and_nothing_below_it_may),
		TEST(a_wrong_secret_does_not_open_the_ca),
		TEST(the_key_file_holds_no_plain_key),
		TEST(a_lost_database_is_not_quietly_made_anew),
		TEST(a_ca_is_made_only_once),
		TEST(a_ca_whose_key_is_lost_is_not_made_anew_over_its_records),
		TEST(a_ca_that_is_not_made_says_how),
		TEST(a_template_that_is_not_understood_is_told_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

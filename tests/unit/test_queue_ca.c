/*
 * The queue's own CA: what it signs, what it refuses, and how an identity is read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cloud-queue/queue_ca.h"
#include "tests/support/queue_rig.h"

struct ca_rig {
	struct qrig files; /* folder and CA only: no process */
	struct queue_ca *ca;
};

static cc_err open_ca(
	const struct qrig *q, const char *certificate, const char *key, struct queue_ca **ret)
{
	char *certificate_path = file_join(q->dir, certificate);
	char *key_path = file_join(q->dir, key);
	cc_err err = queue_ca_open(certificate_path, key_path, ret);

	free(certificate_path);
	free(key_path);
	return err;
}

static int setup(void **state)
{
	struct ca_rig *r = cc_alloc(sizeof(*r));

	snprintf(r->files.dir, sizeof(r->files.dir), "/tmp/queue-ca-XXXXXX");
	assert_non_null(mkdtemp(r->files.dir));
	fixture_ca_make(&r->files.ca, "Queue CA");
	qrig_write_server(&r->files);
	assert_int_equal(open_ca(&r->files, "queue-ca.pem", "queue-ca.key", &r->ca), CC_OK);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct ca_rig *r = *state;

	queue_ca_free(r->ca);
	nftw(r->files.dir, qrig_remove, 8, FTW_DEPTH | FTW_PHYS);
	fixture_ca_clear(&r->files.ca);
	free(r);
	return 0;
}

static cc_blob make_csr(EVP_PKEY *key, EVP_PKEY *signer)
{
	X509_REQ *req = X509_REQ_new();
	unsigned char *der = NULL;
	cc_blob blob;
	int size;

	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
		(const unsigned char *)"somebody-else", -1, -1, 0);
	X509_REQ_set_pubkey(req, key);
	assert_true(X509_REQ_sign(req, signer,
			    EVP_PKEY_is_a(signer, "ED25519") ? NULL : EVP_sha256()) > 0);
	size = i2d_X509_REQ(req, &der);
	blob = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	X509_REQ_free(req);
	return blob;
}

static cc_err issue(const struct ca_rig *r, const char *type, cc_blob *ret)
{
	EVP_PKEY *key = fixture_key(type);
	cc_blob csr = make_csr(key, key);
	cc_err err = queue_ca_issue(r->ca, cc_view_text("contoso"), cc_view_text("hq-1"),
		cc_blob_view(&csr), clock_realtime_s(), ret);

	cc_blob_free(&csr);
	EVP_PKEY_free(key);
	return err;
}

static void a_connectors_certificate_carries_its_identity(void **state)
{
	const struct ca_rig *r = *state;
	struct queue_identity who = {0};
	cc_blob der = CC_BLOB_NONE;
	char name[64] = "";
	X509 *x;

	assert_int_equal(issue(r, "ec-p256", &der), CC_OK);
	x = qrig_read_der(cc_blob_view(&der));
	assert_int_equal(queue_ca_identity(x, &who), CC_OK);
	assert_int_equal(who.role, QUEUE_CONNECTOR);
	assert_string_equal(who.tenant, "contoso");
	assert_string_equal(who.name, "hq-1");
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof(name));
	assert_string_equal(name, "hq-1"); /* not what the request asked for */
	assert_int_equal(X509_verify(x, r->files.ca.key), 1);
	assert_int_equal(X509_check_ca(x), 0);
	assert_int_equal(X509_check_purpose(x, X509_PURPOSE_SSL_CLIENT, 0), 1);
	assert_int_equal(X509_check_purpose(x, X509_PURPOSE_SSL_SERVER, 0), 0);
	X509_free(x);
	cc_blob_free(&der);
}

static void good_keys_are_taken_and_weak_ones_are_not(void **state)
{
	const struct ca_rig *r = *state;
	cc_blob der = CC_BLOB_NONE;

	assert_int_equal(issue(r, "rsa-2048", &der), CC_OK);
	cc_blob_free(&der);
	assert_int_equal(issue(r, "ec-p384", &der), CC_OK);
	cc_blob_free(&der);
	assert_int_equal(issue(r, "ed25519", &der), CC_OK);
	cc_blob_free(&der);
	assert_int_equal(issue(r, "rsa-1024", &der), CC_BAD_KEY);
	assert_int_equal(der.size, 0);
}

static void a_request_signed_with_another_key_is_refused(void **state)
{
	const struct ca_rig *r = *state;
	EVP_PKEY *key = fixture_key("ec-p256");
	EVP_PKEY *other = fixture_key("ec-p256");
	cc_blob csr = make_csr(key, other);
	cc_blob der = CC_BLOB_NONE;

	assert_int_equal(queue_ca_issue(r->ca, cc_view_text("contoso"), cc_view_text("hq-1"),
				 cc_blob_view(&csr), clock_realtime_s(), &der),
		CC_BAD_SIGNATURE);
	cc_blob_append_byte(&csr, 0);
	assert_int_equal(queue_ca_issue(r->ca, cc_view_text("contoso"), cc_view_text("hq-1"),
				 cc_blob_view(&csr), clock_realtime_s(), &der),
		CC_MALFORMED);
	cc_blob_free(&csr);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void a_name_that_could_change_the_uri_is_refused(void **state)
{
	const struct ca_rig *r = *state;
	EVP_PKEY *key = fixture_key("ec-p256");
	cc_blob csr = make_csr(key, key);
	cc_blob der = CC_BLOB_NONE;

	assert_int_equal(queue_ca_issue(r->ca, cc_view_text("contoso"), cc_view_text("hq-1,URI:x"),
				 cc_blob_view(&csr), clock_realtime_s(), &der),
		CC_MALFORMED);
	assert_int_equal(queue_ca_issue(r->ca, cc_view_text("a/b"), cc_view_text("hq-1"),
				 cc_blob_view(&csr), clock_realtime_s(), &der),
		CC_MALFORMED);
	cc_blob_free(&csr);
	EVP_PKEY_free(key);
}

static cc_err identity_of(const struct ca_rig *r, const char *san, struct queue_identity *ret)
{
	EVP_PKEY *key = fixture_key("ec-p256");
	X509 *x = qrig_certificate(&r->files.ca, key, san, "clientAuth");
	cc_err err = queue_ca_identity(x, ret);

	X509_free(x);
	EVP_PKEY_free(key);
	return err;
}

static void only_one_uri_of_the_right_shape_is_an_identity(void **state)
{
	const struct ca_rig *r = *state;
	struct queue_identity who = {0};

	assert_int_equal(identity_of(r, "URI:certq://contoso/producer/mdm", &who), CC_OK);
	assert_int_equal(who.role, QUEUE_PRODUCER);
	assert_string_equal(who.name, "mdm");
	assert_int_equal(
		identity_of(r, "DNS:x.example,URI:certq://contoso/connector/hq-1", &who), CC_OK);
	assert_int_equal(identity_of(r, "DNS:hq-1", &who), CC_DENIED);
	assert_int_equal(identity_of(r, "URI:certq://contoso/admin/hq-1", &who), CC_DENIED);
	assert_int_equal(identity_of(r, "URI:certq://contoso/connector/hq-1/x", &who), CC_DENIED);
	assert_int_equal(identity_of(r, "URI:certq://contoso/connector/", &who), CC_DENIED);
	assert_int_equal(identity_of(r, "URI:certq:///connector/hq-1", &who), CC_DENIED);
	assert_int_equal(identity_of(r, "URI:certq://Contoso/connector/hq-1", &who), CC_DENIED);
	assert_int_equal(
		identity_of(
			r, "URI:certq://contoso/connector/a,URI:certq://contoso/connector/b", &who),
		CC_DENIED);
}

static void a_key_that_others_can_read_or_that_does_not_fit_is_refused(void **state)
{
	const struct ca_rig *r = *state;
	struct queue_ca *ca = NULL;
	char *path = file_join(r->files.dir, "queue-ca.key");

	assert_int_equal(open_ca(&r->files, "queue-ca.pem", "server.key", &ca), CC_CONFIG);
	assert_int_equal(open_ca(&r->files, "server.pem", "server.key", &ca), CC_CONFIG);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(open_ca(&r->files, "queue-ca.pem", "queue-ca.key", &ca), CC_PERMISSION);
	assert_int_equal(chmod(path, 0600), 0);
	assert_null(ca);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connectors_certificate_carries_its_identity),
		cmocka_unit_test(good_keys_are_taken_and_weak_ones_are_not),
		cmocka_unit_test(a_request_signed_with_another_key_is_refused),
		cmocka_unit_test(a_name_that_could_change_the_uri_is_refused),
		cmocka_unit_test(only_one_uri_of_the_right_shape_is_an_identity),
		cmocka_unit_test(a_key_that_others_can_read_or_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

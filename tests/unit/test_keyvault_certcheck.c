/*
 * Certcheck: a certificate that fits the job passes with its path; each way not to fit is refused, and
 * says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "keyvault/certcheck.h"
#include "keyvault/csr.h"
#include "keyvault/keygen.h"
#include "keyvault/names.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define SID "S-1-5-21-1-2-3-1104"
#define DAY 86400

struct rig {
	struct fixture_ca root, below, foreign;
	EVP_PKEY *key;
	cc_blob csr;
	uint8_t spki_sha256[SHA256_SIZE];
	Certq__Issue issue;
	Certq__Holder holder;
	Certq__AltName san[2];
	Certq__AltName *san_list[2];
	cc_view eku[2];
	STACK_OF(X509) * roots;
	struct certcheck_rules rules;
};

static void fill_issue(struct rig *rig)
{
	certq__issue__init(&rig->issue);
	certq__holder__init(&rig->holder);
	rig->issue.holder = &rig->holder;
	rig->holder.sid = codec_text(SID);
	rig->issue.subject = codec_text("CN=Alice,O=Contoso");
	for (size_t i = 0; i < 2; i++) {
		certq__alt_name__init(&rig->san[i]);
		rig->san[i].type = i == 0 ? CERTQ__ALT_TYPE__ALT_EMAIL : CERTQ__ALT_TYPE__ALT_UPN;
		rig->san[i].value = codec_text("alice@contoso.com");
		rig->san_list[i] = &rig->san[i];
	}
	rig->issue.san = rig->san_list;
	rig->issue.n_san = 2;
}

static void make_csr(struct rig *rig)
{
	const struct csr_request request = {.issue = &rig->issue};

	cc_blob_free(&rig->csr);
	assert_int_equal(csr_make(rig->key, &request, &rig->csr), CC_OK);
}

static int rig_open(void **state)
{
	struct rig *rig = (struct rig *)cc_alloc(sizeof(*rig));
	cc_blob spki;

	fixture_ca_make(&rig->root, "Root");
	fixture_ca_make_below(&rig->below, &rig->root, "Issuing");
	fixture_ca_make(&rig->foreign, "Root");
	assert_int_equal(keygen_make(CERTQ__KEY_TYPE__KEY_EC_P256, &rig->key), CC_OK);
	spki = fixture_spki(rig->key);
	dsse_key_id(cc_blob_view(&spki), rig->spki_sha256);
	cc_blob_free(&spki);
	fill_issue(rig);
	make_csr(rig);
	rig->eku[0] = cc_view_text("1.3.6.1.5.5.7.3.2");
	rig->eku[1] = cc_view_text("1.3.6.1.5.5.7.3.4");
	rig->roots = sk_X509_new_null();
	assert_true(sk_X509_push(rig->roots, rig->root.certificate) > 0);
	rig->rules = (struct certcheck_rules){
		.spki_sha256 = rig->spki_sha256,
		.issue = &rig->issue,
		.eku = rig->eku,
		.eku_count = 2,
		.key_usage = 1u << 0 | 1u << 2,
		.validity_s = 90 * DAY,
		.roots = rig->roots,
		.now_s = clock_realtime_s(),
	};
	*state = rig;
	return 0;
}

static int rig_close(void **state)
{
	struct rig *rig = *state;

	sk_X509_free(rig->roots);
	cc_blob_free(&rig->csr);
	EVP_PKEY_free(rig->key);
	fixture_ca_clear(&rig->foreign);
	fixture_ca_clear(&rig->below);
	fixture_ca_clear(&rig->root);
	free(rig);
	return 0;
}

/* Issued below the root, with the issuing CA's certificate beside it.  `expected` NULL: it passes;
 * otherwise it is refused and the detail has these words. */
static void check_chain(struct rig *rig, const cc_view *chain, size_t count, const char *expected)
{
	X509 *leaf = NULL;
	STACK_OF(X509) *path = NULL;
	cc_err err = certcheck_issued(&rig->rules, chain, count, &leaf, &path);

	if (expected) {
		assert_null(leaf);
		assert_null(path);
		if (err != CC_MISMATCH || !strstr(cc_err_detail(err), expected))
			fail_msg("%s: %s", cc_err_name(err), cc_err_detail(err));
		return;
	}
	if (err != CC_OK)
		fail_msg("%s: %s", cc_err_name(err), cc_err_detail(err));
	assert_int_equal(
		X509_cmp(sk_X509_value(path, sk_X509_num(path) - 1), rig->root.certificate), 0);
	X509_free(leaf);
	certcheck_path_free(path);
}

static void check(struct rig *rig, const char *eku, long lifetime_s, void (*change)(X509 *, void *),
	void *arg, const char *expected)
{
	cc_blob leaf = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), eku, lifetime_s, change, arg);
	const cc_view chain[] = {cc_blob_view(&leaf), cc_blob_view(&rig->below.der)};

	check_chain(rig, chain, 2, expected);
	cc_blob_free(&leaf);
}

static void check_changed(
	struct rig *rig, void (*change)(X509 *, void *), void *arg, const char *expected)
{
	check(rig, "clientAuth", 90 * DAY, change, arg, expected);
}

static void a_certificate_that_fits_passes(void **state)
{
	check_changed(*state, NULL, NULL, NULL);
}

static void the_path_is_the_whole_path_and_nothing_else(void **state)
{
	struct rig *rig = *state;
	cc_blob der = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), "clientAuth", 90 * DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&der), cc_blob_view(&rig->foreign.der),
		cc_blob_view(&rig->root.der), cc_blob_view(&rig->below.der)};
	X509 *leaf = NULL;
	STACK_OF(X509) *path = NULL;
	cc_blob again = CC_BLOB_NONE;

	assert_int_equal(certcheck_issued(&rig->rules, chain, 4, &leaf, &path), CC_OK);
	assert_int_equal(sk_X509_num(path), 2);
	assert_int_equal(X509_cmp(sk_X509_value(path, 0), rig->below.certificate), 0);
	assert_int_equal(X509_cmp(sk_X509_value(path, 1), rig->root.certificate), 0);
	assert_int_equal(certcheck_der(leaf, &again), CC_OK);
	assert_true(cc_view_equal(cc_blob_view(&again), cc_blob_view(&der)));
	cc_blob_free(&again);
	X509_free(leaf);
	certcheck_path_free(path);
	cc_blob_free(&der);
}

static void a_leaf_directly_below_the_root_passes(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->root, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&leaf)};

	check_chain(rig, chain, 1, NULL);
	cc_blob_free(&leaf);
}

static void a_foreign_root_is_refused_even_under_the_same_name(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->foreign, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&leaf), cc_blob_view(&rig->foreign.der)};

	check_chain(rig, chain, 2, "no path to a pinned root");
	cc_blob_free(&leaf);
}

static void a_missing_issuing_ca_is_refused(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&leaf), cc_blob_view(&rig->root.der)};

	check_chain(rig, chain, 2, "no path to a pinned root");
	cc_blob_free(&leaf);
}

static void without_a_pinned_root_nothing_passes(void **state)
{
	struct rig *rig = *state;

	(void)sk_X509_pop(rig->roots);
	check_changed(rig, NULL, NULL, "no root is pinned");
}

static void an_altered_signature_is_refused(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&leaf), cc_blob_view(&rig->below.der)};

	leaf.data[leaf.size - 1] ^= 1;
	check_chain(rig, chain, 2, "no path to a pinned root");
	cc_blob_free(&leaf);
}

static void a_leaf_that_signed_a_leaf_is_refused(void **state)
{
	struct rig *rig = *state;
	struct fixture_ca leaf_as_ca = {.key = fixture_key("ec-p256")};
	cc_blob middle = fixture_ca_device(&rig->root, leaf_as_ca.key, "Device"), leaf;
	const uint8_t *at = middle.data;

	leaf_as_ca.certificate = d2i_X509(NULL, &at, (long)middle.size);
	leaf = fixture_ca_issue(
		&leaf_as_ca, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view chain[] = {cc_blob_view(&leaf), cc_blob_view(&middle)};

	check_chain(rig, chain, 2, "no path to a pinned root");
	cc_blob_free(&leaf);
	cc_blob_free(&middle);
	X509_free(leaf_as_ca.certificate);
	EVP_PKEY_free(leaf_as_ca.key);
}

static void another_key_is_refused(void **state)
{
	struct rig *rig = *state;

	rig->spki_sha256[0] ^= 1;
	check_changed(rig, NULL, NULL, "its key is not the one");
}

static void set_subject(X509 *x, void *arg)
{
	X509_NAME *name = NULL;

	assert_int_equal(names_subject(cc_view_text((const char *)arg), &name), CC_OK);
	assert_int_equal(X509_set_subject_name(x, name), 1);
	X509_NAME_free(name);
}

static void another_subject_is_refused(void **state)
{
	char other[] = "CN=Mallory,O=Contoso", more[] = "CN=Alice,OU=Admins,O=Contoso",
	     less[] = "CN=Alice";

	check_changed(*state, set_subject, other, "its subject");
	check_changed(*state, set_subject, more, "its subject");
	check_changed(*state, set_subject, less, "its subject");
}

static void a_subject_in_another_order_passes(void **state)
{
	char turned[] = "O=Contoso,CN=Alice";

	check_changed(*state, set_subject, turned, NULL);
}

static void set_san(X509 *x, void *arg)
{
	int at = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
	X509_EXTENSION *ext;

	if (at >= 0)
		X509_EXTENSION_free(X509_delete_ext(x, at));
	if (!arg)
		return;
	ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, (const char *)arg);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

#define UPN_ALICE "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:alice@contoso.com"

static void alternative_names_in_another_order_pass(void **state)
{
	char turned[] = UPN_ALICE ",email:alice@contoso.com";

	check_changed(*state, set_san, turned, NULL);
}

static void an_alternative_name_more_or_less_is_refused(void **state)
{
	char more[] = "email:alice@contoso.com," UPN_ALICE ",DNS:dc.contoso.com";
	char admin[] =
		"email:alice@contoso.com,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:admin@contoso.com";
	char less[] = "email:alice@contoso.com";

	check_changed(*state, set_san, more, "it adds DNS:dc.contoso.com");
	check_changed(*state, set_san, admin, "it lacks");
	check_changed(*state, set_san, less, "it lacks");
	check_changed(*state, set_san, NULL, "it lacks");
}

static void add_second_san(X509 *x, void *arg)
{
	X509_EXTENSION *ext =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, (const char *)arg);

	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void an_extension_twice_is_refused(void **state)
{
	char more[] = "email:admin@contoso.com";

	check_changed(*state, add_second_san, more, "twice");
}

static void set_extension(X509 *x, void *arg)
{
	const char *const *pair = arg; /* name, value */
	int nid = OBJ_txt2nid(pair[0]);
	int at = X509_get_ext_by_NID(x, nid, -1);
	X509_EXTENSION *ext;

	if (at >= 0)
		X509_EXTENSION_free(X509_delete_ext(x, at));
	if (!pair[1])
		return;
	ext = X509V3_EXT_conf_nid(NULL, NULL, nid, pair[1]);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void set_serial(X509 *x, void *arg)
{
	BIGNUM *serial = BN_new();

	assert_non_null(serial);
	assert_int_equal(BN_set_bit(serial, *(const int *)arg - 1), 1);
	assert_non_null(BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)));
	BN_free(serial);
}

static void a_serial_number_of_20_octets_passes_and_of_21_is_refused(void **state)
{
	check_changed(*state, set_serial, &(int){160}, NULL);
	check_changed(*state, set_serial, &(int){161}, "its serial number has 21 octets");
}

static void a_ca_certificate_is_refused(void **state)
{
	const char *pair[] = {"basicConstraints", "critical,CA:TRUE"};

	check_changed(*state, set_extension, pair, "it is a CA's");
}

static void a_template_s_extension_passes(void **state)
{
	const char *name[] = {"1.3.6.1.4.1.311.20.2", "DER:1e080055007300650072"};
	const char *id[] = {"1.3.6.1.4.1.311.21.7", "DER:300406022a03"};
	const char *critical[] = {"1.3.6.1.4.1.311.21.7", "critical,DER:300406022a03"};

	(void)OBJ_create(name[0], "templateName", "templateName");
	(void)OBJ_create(id[0], "templateId", "templateId");
	check_changed(*state, set_extension, name, NULL);
	check_changed(*state, set_extension, id, NULL);
	check_changed(*state, set_extension, critical, "critical extension");
}

/* What the request said, each against what a CA may answer. */
static void the_template_has_to_be_the_one_that_was_asked_for(void **state)
{
	struct rig *rig = *state;
	const struct names_template asked = {
		.oid = cc_view_text("1.2.3"), .major = 100, .minor = 3};
	const struct names_template any_minor = {
		.oid = cc_view_text("1.2.3"), .major = 100, .minor = -1};
	const struct names_template no_version = {
		.oid = cc_view_text("1.2.3"), .major = -1, .minor = -1};
	const char *user[] = {"1.3.6.1.4.1.311.20.2", "DER:1e080055007300650072"};
	const char *sequence[] = {user[0], "DER:30060c0455736572"};
	const char *admin[] = {user[0], "DER:1e0a00410064006d0069006e"};
	const char *number[] = {user[0], "DER:020101"};
	const char *same[] = {"1.3.6.1.4.1.311.21.7", "DER:300a06022a03020164020103"};
	const char *minor[] = {same[0], "DER:300a06022a03020164020104"};
	const char *major[] = {same[0], "DER:300a06022a03020165020103"};
	const char *bare[] = {same[0], "DER:300406022a03"};
	const char *other[] = {same[0], "DER:300a06022a04020164020103"};
	const char *no_sequence[] = {same[0], "DER:06022a03"};

	rig->rules.template_name = cc_view_text("user");
	check_changed(rig, NULL, NULL, NULL); /* the CA need not say anything */
	check_changed(rig, set_extension, user, NULL);
	check_changed(rig, set_extension, sequence, NULL);
	check_changed(rig, set_extension, admin, "its template's name");
	check_changed(rig, set_extension, number, "its template's name");
	check_changed(rig, set_extension, other, NULL); /* of another kind than what was said */
	rig->rules.template_name = CC_VIEW_NONE;
	rig->rules.template_id = &asked;
	check_changed(rig, NULL, NULL, NULL);
	check_changed(rig, set_extension, same, NULL);
	check_changed(rig, set_extension, admin, NULL);
	check_changed(rig, set_extension, minor, "its template's identifier or version");
	check_changed(rig, set_extension, major, "its template's identifier or version");
	check_changed(rig, set_extension, bare, "its template's identifier or version");
	check_changed(rig, set_extension, other, "its template's identifier or version");
	check_changed(rig, set_extension, no_sequence, "its template's identifier or version");
	rig->rules.template_id = &any_minor;
	check_changed(rig, set_extension, minor, NULL);
	check_changed(rig, set_extension, major, "its template's identifier or version");
	rig->rules.template_id = &no_version;
	check_changed(rig, set_extension, major, NULL);
	check_changed(rig, set_extension, other, "its template's identifier or version");
}

static void add_name_twice(X509 *x, void *arg)
{
	for (int i = 0; i < 2; i++) {
		X509_EXTENSION *ext = NULL;

		assert_int_equal(names_template_name(cc_view_text((const char *)arg), &ext), CC_OK);
		assert_int_equal(X509_add_ext(x, ext, -1), 1);
		X509_EXTENSION_free(ext);
	}
}

static void two_names_of_templates_are_refused(void **state)
{
	char user[] = "User";

	check_changed(*state, add_name_twice, user, "two names of templates");
}

static void no_basic_constraints_pass(void **state)
{
	const char *pair[] = {"basicConstraints", NULL};

	check_changed(*state, set_extension, pair, NULL);
}

static void usages_beyond_the_template_are_refused(void **state)
{
	struct rig *rig = *state;
	const char *sign[] = {"keyUsage", "digitalSignature,keyCertSign"};
	const char *none[] = {"keyUsage", NULL};
	const char *last[] = {"keyUsage", "digitalSignature,decipherOnly"};

	check(rig, "clientAuth,emailProtection", DAY, NULL, NULL, NULL);
	check(rig, "clientAuth,serverAuth", DAY, NULL, NULL,
		"extended key usage that the template");
	check(rig, "anyExtendedKeyUsage", DAY, NULL, NULL, "extended key usage that the template");
	check(rig, NULL, DAY, NULL, NULL, "no extended key usage");
	check_changed(rig, set_extension, sign, "key usage that the template");
	check_changed(rig, set_extension, last, "key usage that the template");
	check_changed(rig, set_extension, none, "no key usage");
}

static void any_eku_is_refused_even_where_the_template_lists_it(void **state)
{
	struct rig *rig = *state;

	rig->eku[1] = cc_view_text("2.5.29.37.0");
	check(rig, "clientAuth,anyExtendedKeyUsage", DAY, NULL, NULL, "extended key usage");
}

static void a_validity_beyond_the_request_is_refused(void **state)
{
	struct rig *rig = *state;

	check(rig, "clientAuth", 90 * DAY + 3000, NULL, NULL, NULL);
	check(rig, "clientAuth", 90 * DAY + 4000, NULL, NULL, "valid for longer");
	check(rig, "clientAuth", -1, NULL, NULL, "past its time");
}

static void set_not_before(X509 *x, void *arg)
{
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), *(const long *)arg));
}

static void a_clock_a_little_ahead_passes_and_a_lot_is_refused(void **state)
{
	long little = 200, lot = 600;

	check_changed(*state, set_not_before, &little, NULL);
	check_changed(*state, set_not_before, &lot, "not valid yet");
}

static void add_sid(X509 *x, void *arg)
{
	X509_EXTENSION *ext = NULL;

	assert_int_equal(names_sid_extension(cc_view_text((const char *)arg), &ext), CC_OK);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void add_sid_twice(X509 *x, void *arg)
{
	add_sid(x, arg);
	add_sid(x, arg);
}

static void only_the_job_s_sid_passes(void **state)
{
	struct rig *rig = *state;
	char own[] = SID, admin[] = "S-1-5-21-1-2-3-500";

	check_changed(rig, add_sid, own, NULL);
	check_changed(rig, add_sid, admin, "its SID is not the job's");
	check_changed(rig, add_sid_twice, own, "two SIDs");
	rig->holder.sid = codec_text("");
	check_changed(rig, add_sid, own, "its SID is not the job's");
}

static void remove_sid(X509 *x, void *arg)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(NAMES_OID_SID, 1);

	(void)arg;
	X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_OBJ(x, oid, -1)));
	ASN1_OBJECT_free(oid);
}

static void a_sid_that_was_asked_for_must_be_there(void **state)
{
	struct rig *rig = *state;

	rig->issue.sid_form = CERTQ__SID_FORM__SID_EXTENSION;
	make_csr(rig);
	check_changed(rig, NULL, NULL, NULL);
	check_changed(rig, remove_sid, NULL, "missing");
	rig->issue.sid_form = CERTQ__SID_FORM__SID_URI;
	make_csr(rig);
	check_changed(rig, NULL, NULL, NULL);
	check_changed(rig, set_san, NULL, "it lacks");
}

static void add_unknown(X509 *x, void *arg)
{
	ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.99999.7", 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *ext;

	assert_int_equal(ASN1_OCTET_STRING_set(value, (const uint8_t *)"\x05\x00", 2), 1);
	ext = X509_EXTENSION_create_by_OBJ(NULL, oid, *(const int *)arg, value);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
}

static void an_unknown_extension_passes_unless_it_is_critical(void **state)
{
	int plain = 0, critical = 1;

	check_changed(*state, add_unknown, &plain, NULL);
	check_changed(*state, add_unknown, &critical, "critical extension that is not known");
}

static void what_does_not_parse_or_is_too_much_is_refused(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	cc_blob large = cc_blob_new(CERTCHECK_CERT_MAX + 1);
	cc_view chain[11];
	X509 *x = NULL;
	STACK_OF(X509) *path = NULL;

	assert_int_equal(certcheck_issued(&rig->rules, chain, 0, &x, &path), CC_TOO_LARGE);
	for (size_t i = 0; i < 11; i++)
		chain[i] = cc_blob_view(&leaf);
	assert_int_equal(certcheck_issued(&rig->rules, chain, 11, &x, &path), CC_TOO_LARGE);
	chain[1] = cc_blob_view(&large);
	assert_int_equal(certcheck_issued(&rig->rules, chain, 2, &x, &path), CC_TOO_LARGE);
	chain[1] = CC_VIEW_NONE;
	assert_int_equal(certcheck_issued(&rig->rules, chain, 2, &x, &path), CC_MALFORMED);
	cc_blob_append_byte(&leaf, 0);
	chain[0] = cc_blob_view(&leaf);
	assert_int_equal(certcheck_issued(&rig->rules, chain, 1, &x, &path), CC_MALFORMED);
	assert_null(x);
	cc_blob_free(&large);
	cc_blob_free(&leaf);
}

static void a_pinned_root_itself_is_no_leaf(void **state)
{
	struct rig *rig = *state;
	const cc_view chain[] = {cc_blob_view(&rig->root.der)};

	certcheck_spki_sha256(rig->root.certificate, rig->spki_sha256);
	check_chain(rig, chain, 1, "it is a CA's");
}

/* ---- chain jobs ---- */

static void a_ca_s_chain_goes_up_to_a_pinned_root(void **state)
{
	struct rig *rig = *state;
	const cc_view both[] = {cc_blob_view(&rig->below.der), cc_blob_view(&rig->root.der)};
	STACK_OF(X509) *path = NULL;

	assert_int_equal(certcheck_ca_chain(rig->roots, both, 2, rig->rules.now_s, &path), CC_OK);
	assert_int_equal(sk_X509_num(path), 2);
	certcheck_path_free(path);
	assert_int_equal(
		certcheck_ca_chain(rig->roots, both + 1, 1, rig->rules.now_s, &path), CC_OK);
	assert_int_equal(sk_X509_num(path), 1);
	certcheck_path_free(path);
}

static void a_chain_of_another_root_or_of_a_leaf_is_refused(void **state)
{
	struct rig *rig = *state;
	cc_blob leaf = fixture_ca_issue(
		&rig->below, cc_blob_view(&rig->csr), "clientAuth", DAY, NULL, NULL);
	const cc_view foreign[] = {cc_blob_view(&rig->foreign.der)};
	const cc_view wrong[] = {cc_blob_view(&leaf), cc_blob_view(&rig->below.der)};
	STACK_OF(X509) *path = NULL;

	assert_int_equal(
		certcheck_ca_chain(rig->roots, foreign, 1, rig->rules.now_s, &path), CC_MISMATCH);
	assert_int_equal(
		certcheck_ca_chain(rig->roots, wrong, 2, rig->rules.now_s, &path), CC_MISMATCH);
	assert_null(path);
	cc_blob_free(&leaf);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(a_certificate_that_fits_passes),
		WITH_RIG(the_path_is_the_whole_path_and_nothing_else),
		WITH_RIG(a_leaf_directly_below_the_root_passes),
		WITH_RIG(a_foreign_root_is_refused_even_under_the_same_name),
		WITH_RIG(a_missing_issuing_ca_is_refused),
		WITH_RIG(without_a_pinned_root_nothing_passes),
		WITH_RIG(an_altered_signature_is_refused),
		WITH_RIG(a_leaf_that_signed_a_leaf_is_refused),
		WITH_RIG(another_key_is_refused),
		WITH_RIG(another_subject_is_refused),
		WITH_RIG(a_subject_in_another_order_passes),
		WITH_RIG(alternative_names_in_another_order_pass),
		WITH_RIG(an_alternative_name_more_or_less_is_refused),
		WITH_RIG(an_extension_twice_is_refused),
		WITH_RIG(a_ca_certificate_is_refused),
		WITH_RIG(no_basic_constraints_pass),
		WITH_RIG(a_serial_number_of_20_octets_passes_and_of_21_is_refused),
		WITH_RIG(a_template_s_extension_passes),
		WITH_RIG(the_template_has_to_be_the_one_that_was_asked_for),
		WITH_RIG(two_names_of_templates_are_refused),
		WITH_RIG(usages_beyond_the_template_are_refused),
		WITH_RIG(any_eku_is_refused_even_where_the_template_lists_it),
		WITH_RIG(a_validity_beyond_the_request_is_refused),
		WITH_RIG(a_clock_a_little_ahead_passes_and_a_lot_is_refused),
		WITH_RIG(only_the_job_s_sid_passes),
		WITH_RIG(a_sid_that_was_asked_for_must_be_there),
		WITH_RIG(an_unknown_extension_passes_unless_it_is_critical),
		WITH_RIG(what_does_not_parse_or_is_too_much_is_refused),
		WITH_RIG(a_pinned_root_itself_is_no_leaf),
		WITH_RIG(a_ca_s_chain_goes_up_to_a_pinned_root),
		WITH_RIG(a_chain_of_another_root_or_of_a_leaf_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

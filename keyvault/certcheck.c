/*
 * The checks of finish_issue.  Each looks at one thing and refuses in words of its own; an extension that
 * is there twice or does not decode is refused by whoever looks at it.
 */
#include "base/clock.h"
#include "keyvault/certcheck_int.h"
#include "keyvault/names.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#define SERIAL_OCTETS_MAX 20

static cc_err refuse(const char *why)
{
	ERR_clear_error();
	return cc_fail(CC_MISMATCH, "certificate: %s", why);
}

/* NULL when it is absent. */
static cc_err extension(const X509 *leaf, int nid, void **ret)
{
	int state = 0;

	*ret = X509_get_ext_d2i(leaf, nid, &state, NULL);
	if (*ret || state == -1)
		return CC_OK;
	ERR_clear_error();
	return cc_fail(
		CC_MISMATCH, "certificate: %s is there twice or does not decode", OBJ_nid2ln(nid));
}

static cc_err check_key(const X509 *leaf, const uint8_t *spki_sha256)
{
	uint8_t found[SHA256_SIZE];

	certcheck_spki_sha256(leaf, found);
	return cc_view_equal(cc_view_of(found, SHA256_SIZE), cc_view_of(spki_sha256, SHA256_SIZE))
		       ? CC_OK
		       : refuse("its key is not the one that was asked for");
}

static cc_err check_kind(const X509 *leaf)
{
	BASIC_CONSTRAINTS *constraints = NULL;
	void *decoded = NULL;
	cc_err err = CC_OK;

	ENSURE(X509_get_version(leaf) == X509_VERSION_3, refuse("not of version 3"));
	TRY(extension(leaf, NID_basic_constraints, &decoded));
	constraints = decoded;
	ENSURE(!constraints || !constraints->ca, refuse("it is a CA's"));
out:
	BASIC_CONSTRAINTS_free(constraints);
	return err;
}

static cc_err check_subject(const X509 *leaf, const Certq__Issue *issue)
{
	X509_NAME *expected = NULL;
	cc_err err = CC_OK;

	TRY(names_subject(cc_view_of(issue->subject.data, issue->subject.len), &expected));
	ENSURE(names_subject_equal(expected, X509_get_subject_name(leaf)),
		refuse("its subject is not the job's"));
out:
	X509_NAME_free(expected);
	return err;
}

static cc_err check_san(const X509 *leaf, const Certq__Issue *issue)
{
	GENERAL_NAMES *expected = NULL;
	cc_blob what = CC_BLOB_NONE;
	void *found = NULL;
	cc_err err = CC_OK;

	TRY(names_san(issue, &expected));
	TRY(extension(leaf, NID_subject_alt_name, &found));
	ENSURE(names_san_equal(expected, (const GENERAL_NAMES *)found, &what),
		cc_fail(CC_MISMATCH, "certificate: its alternative names are not the job's: %s",
			cc_blob_text(&what)));
out:
	cc_blob_free(&what);
	GENERAL_NAMES_free((GENERAL_NAMES *)found);
	GENERAL_NAMES_free(expected);
	return err;
}

/* The one extension of this kind; NULL when it is absent. */
static cc_err one_extension(
	const X509 *leaf, const char *oid_text, const char *twice, X509_EXTENSION **ret)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(oid_text, 1);
	int at;
	cc_err err = CC_OK;

	ENSURE(oid, cc_fail_openssl("an extension"));
	at = X509_get_ext_by_OBJ(leaf, oid, -1);
	ENSURE(at < 0 || X509_get_ext_by_OBJ(leaf, oid, at) < 0, refuse(twice));
	*ret = at < 0 ? NULL : X509_get_ext(leaf, at);
out:
	ASN1_OBJECT_free(oid);
	return err;
}

/* A CA may add the SID that its directory knows; it must be the job's.  What was asked for must be there. */
static cc_err check_sid(const X509 *leaf, const Certq__Issue *issue)
{
	cc_view expected = cc_view_of(issue->holder->sid.data, issue->holder->sid.len);
	X509_EXTENSION *sid = NULL;
	cc_blob found = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(one_extension(leaf, NAMES_OID_SID, "it has two SIDs", &sid));
	if (!sid) {
		ENSURE(issue->sid_form != CERTQ__SID_FORM__SID_EXTENSION,
			refuse("the SID that was asked for is missing"));
		goto out;
	}
	if (names_sid_of(sid, &found) != CC_OK) {
		err = refuse("its SID does not decode");
		goto out;
	}
	ENSURE(expected.size > 0 && cc_view_equal(cc_blob_view(&found), expected),
		refuse("its SID is not the job's"));
out:
	cc_blob_free(&found);
	return err;
}

/* The CA may have taken another template than the one that policy fits to. */
static cc_err check_template(const X509 *leaf, const struct certcheck_rules *rules)
{
	X509_EXTENSION *name = NULL, *id = NULL;
	cc_err err = CC_OK;

	TRY(one_extension(leaf, NAMES_OID_TEMPLATE_NAME, "it has two names of templates", &name));
	TRY(one_extension(leaf, NAMES_OID_TEMPLATE_ID, "it has two template identifiers", &id));
	if (name && rules->template_name.size > 0)
		ENSURE(names_template_name_is(name, rules->template_name),
			refuse("its template's name is not the one that was asked for"));
	if (id && rules->template_id)
		ENSURE(names_template_id_is(id, rules->template_id),
			refuse("its template's identifier or version is not the one that was asked "
			       "for"));
out:
	return err;
}

static bool is_allowed(const ASN1_OBJECT *usage, const struct certcheck_rules *rules)
{
	char text[128];
	int size = OBJ_obj2txt(text, sizeof(text), usage, 1);

	if (size <= 0 || (size_t)size >= sizeof(text) ||
		OBJ_obj2nid(usage) == NID_anyExtendedKeyUsage)
		return false;
	for (size_t i = 0; i < rules->eku_count; i++)
		if (cc_view_equal(rules->eku[i], cc_view_of(text, (size_t)size)))
			return true;
	return false;
}

/* Absent would mean: good for everything. */
static cc_err check_eku(const X509 *leaf, const struct certcheck_rules *rules)
{
	EXTENDED_KEY_USAGE *usages = NULL;
	void *decoded = NULL;
	cc_err err = CC_OK;

	TRY(extension(leaf, NID_ext_key_usage, &decoded));
	usages = decoded;
	ENSURE(usages && sk_ASN1_OBJECT_num(usages) > 0, refuse("it has no extended key usage"));
	for (int i = 0; i < sk_ASN1_OBJECT_num(usages); i++)
		ENSURE(is_allowed(sk_ASN1_OBJECT_value(usages, i), rules),
			refuse("an extended key usage that the template does not allow"));
out:
	sk_ASN1_OBJECT_pop_free(usages, ASN1_OBJECT_free);
	return err;
}

static cc_err check_key_usage(const X509 *leaf, uint32_t allowed)
{
	ASN1_BIT_STRING *usage = NULL;
	void *decoded = NULL;
	cc_err err = CC_OK;

	TRY(extension(leaf, NID_key_usage, &decoded));
	usage = decoded;
	ENSURE(usage, refuse("it has no key usage"));
	for (int bit = 0; bit < ASN1_STRING_length(usage) * 8; bit++)
		ENSURE(!ASN1_BIT_STRING_get_bit(usage, bit) || (bit < 9 && allowed & 1u << bit),
			refuse("a key usage that the template does not allow"));
out:
	ASN1_BIT_STRING_free(usage);
	return err;
}

static cc_err check_validity(
	const X509 *leaf, const struct certcheck_rules *rules, int64_t *ret_not_before_s)
{
	const int64_t now_s = rules->now_s;
	const int64_t not_before_s = clock_asn1_s(X509_get0_notBefore(leaf));
	const int64_t not_after_s = clock_asn1_s(X509_get0_notAfter(leaf));
	cc_err err = CC_OK;

	ENSURE(not_before_s != -1 && not_after_s != -1, refuse("a time that does not decode"));
	ENSURE(not_before_s <= now_s + CERTCHECK_SKEW_S, refuse("it is not valid yet"));
	ENSURE(not_after_s > now_s, refuse("it is past its time"));
	ENSURE((uint64_t)(not_after_s - not_before_s) <=
			rules->validity_s + CERTCHECK_VALIDITY_SLACK_S,
		refuse("it is valid for longer than was asked for"));
	*ret_not_before_s = not_before_s;
out:
	return err;
}

/* A job that revokes names no longer one (RFC 5280 section 4.1.2.2). */
static cc_err check_serial(const X509 *leaf)
{
	int octets = ASN1_STRING_length(X509_get0_serialNumber(leaf));

	if (octets <= SERIAL_OCTETS_MAX)
		return CC_OK;
	return cc_fail(CC_MISMATCH,
		"certificate: its serial number has %d octets, where RFC 5280 allows %d; the CA "
		"has "
		"to be set to shorter ones",
		octets, SERIAL_OCTETS_MAX);
}

static cc_err check_critical(const X509 *leaf)
{
	for (int i = 0; i < X509_get_ext_count(leaf); i++) {
		X509_EXTENSION *ext = X509_get_ext(leaf, i);

		if (X509_EXTENSION_get_critical(ext) && !X509_supported_extension(ext))
			return refuse("a critical extension that is not known");
	}
	return CC_OK;
}

static cc_err check_leaf(
	const X509 *leaf, const struct certcheck_rules *rules, int64_t *ret_not_before_s)
{
	cc_err err = CC_OK;

	TRY(check_key(leaf, rules->spki_sha256));
	TRY(check_kind(leaf));
	TRY(check_serial(leaf));
	TRY(check_critical(leaf));
	TRY(check_subject(leaf, rules->issue));
	TRY(check_san(leaf, rules->issue));
	TRY(check_sid(leaf, rules->issue));
	TRY(check_template(leaf, rules));
	TRY(check_eku(leaf, rules));
	TRY(check_key_usage(leaf, rules->key_usage));
	TRY(check_validity(leaf, rules, ret_not_before_s));
out:
	return err;
}

cc_err certcheck_issued(const struct certcheck_rules *rules, const cc_view *chain, size_t count,
	X509 **ret_leaf, STACK_OF(X509) * *ret_path)
{
	STACK_OF(X509) *parsed = NULL, *path = NULL;
	int64_t at_s = 0;
	cc_err err = CC_OK;

	TRY(certcheck_parse_chain(chain, count, &parsed));
	TRY(check_leaf(sk_X509_value(parsed, 0), rules, &at_s));
	/* a leaf from a CA whose clock is a little ahead is judged at its first second */
	if (at_s < rules->now_s)
		at_s = rules->now_s;
	TRY(certcheck_path(rules->roots, parsed, at_s, &path));
	ENSURE(sk_X509_num(path) > 1, refuse("it is itself a pinned root"));
	*ret_leaf = sk_X509_shift(path);
	*ret_path = path;
	path = NULL;
out:
	certcheck_path_free(path);
	certcheck_path_free(parsed);
	return err;
}

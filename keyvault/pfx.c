/*
 * PKCS#12 by OpenSSL's parts, walked bag by bag and not by PKCS12_parse: so that every key derivation is
 * paid from one budget before it runs, also those that only show behind the outer encryption.
 */
#include "keyvault/pfx.h"
#include "base/hash.h"

#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_MAX 1024u
#define DEPTH_MAX    4
#define MAC_SALT     8

cc_secret pfx_password_new(void)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	const uint8_t unbiased = 248; /* 4 * 62: bytes from here on are drawn again */
	cc_secret password = cc_secret_new(PFX_PASSWORD_SIZE);

	for (size_t i = 0; i < PFX_PASSWORD_SIZE;) {
		uint8_t byte;

		random_secret(&byte, 1);
		if (byte < unbiased)
			password.data[i++] = (uint8_t)letters[byte % 62];
	}
	return password;
}

/* ---- pack ---- */

static cc_err terminated(cc_view password, cc_secret *ret)
{
	if (password.size > PASSWORD_MAX ||
		(password.size && memchr(password.data, 0, password.size)))
		return cc_fail(
			CC_MALFORMED, "pfx: a password with a NUL or over %u bytes", PASSWORD_MAX);
	*ret = cc_secret_new(password.size + 1); /* zeroed */
	if (password.size)
		memcpy(ret->data, password.data, password.size);
	return CC_OK;
}

static cc_err encode(PKCS12 *p12, cc_blob *ret)
{
	unsigned char *der = NULL;
	int size = i2d_PKCS12(p12, &der);

	if (size <= 0)
		return cc_fail_openssl("pfx: encode");
	if ((size_t)size > PFX_MAX) {
		OPENSSL_free(der);
		return cc_fail(CC_TOO_LARGE, "pfx: %d bytes, at most %u are taken", size, PFX_MAX);
	}
	*ret = cc_blob_copy(cc_view_of(der, (size_t)size));
	OPENSSL_free(der);
	return CC_OK;
}

cc_err pfx_pack(EVP_PKEY *key, X509 *leaf, STACK_OF(X509) * chain, const cc_secret *password,
	Certq__PfxProfile profile, uint32_t iterations, cc_blob *ret)
{
	bool compat = profile == CERTQ__PFX_PROFILE__PFX_COMPAT;
	int pbe = compat ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
	cc_secret text = CC_SECRET_NONE;
	PKCS12 *p12 = NULL;
	cc_err err = CC_OK;

	ENSURE(compat || profile == CERTQ__PFX_PROFILE__PFX_MODERN,
		cc_fail(CC_NOT_SUPPORTED, "pfx: profile %d", (int)profile));
	ENSURE(iterations > 0 && iterations <= PFX_ITERATIONS_MAX / 4,
		cc_fail(CC_NOT_SUPPORTED, "pfx: %u iterations", iterations));
	if (X509_check_private_key(leaf, key) != 1) {
		ERR_clear_error();
		err = cc_fail(CC_MISMATCH, "pfx: the key does not belong to the certificate");
		goto out;
	}
	TRY(terminated(cc_secret_view(password), &text));
	/* The MAC is set on its own: PKCS12_create cannot choose its digest. */
	p12 = PKCS12_create(
		(const char *)text.data, NULL, key, leaf, chain, pbe, pbe, (int)iterations, -1, 0);
	ENSURE(p12, cc_fail_openssl("pfx: pack"));
	ENSURE(PKCS12_set_mac(p12, (const char *)text.data, -1, NULL, MAC_SALT, (int)iterations,
		       compat ? EVP_sha1() : EVP_sha256()) == 1,
		cc_fail_openssl("pfx: MAC"));
	TRY(encode(p12, ret));
out:
	PKCS12_free(p12);
	cc_secret_free(&text);
	return err;
}

/* ---- limits ---- */

struct walk {
	struct pfx_facts spent;
	bool decrypt;          /* false: only what is visible is counted */
	OSSL_LIB_CTX *library; /* with the legacy provider; NULL: the default one, without */
	const char *password;
	int password_size;
	EVP_PKEY *key;
	STACK_OF(X509) * certificates;
};

static cc_err malformed(const char *what)
{
	ERR_clear_error();
	return cc_fail(CC_MALFORMED, "pfx: %s", what);
}

static cc_err spend_iterations(struct walk *w, const ASN1_INTEGER *count)
{
	uint64_t iterations = 1; /* the MAC's default */

	if (count && (ASN1_INTEGER_get_uint64(&iterations, count) != 1 || iterations == 0))
		return malformed("an iteration count that is no positive number");
	if (iterations > PFX_ITERATIONS_MAX - w->spent.iterations)
		return cc_fail(CC_TOO_LARGE, "pfx: more than %u iterations", PFX_ITERATIONS_MAX);
	w->spent.iterations += iterations;
	return CC_OK;
}

static cc_err spend_pbkdf2(struct walk *w, const X509_ALGOR *algorithm)
{
	PBKDF2PARAM *p = (PBKDF2PARAM *)ASN1_TYPE_unpack_sequence(
		ASN1_ITEM_rptr(PBKDF2PARAM), algorithm->parameter);
	cc_err err = p ? spend_iterations(w, p->iter) : malformed("PBKDF2 parameters");

	PBKDF2PARAM_free(p);
	return err;
}

static cc_err spend_scrypt(struct walk *w, const X509_ALGOR *algorithm)
{
	SCRYPT_PARAMS *p = (SCRYPT_PARAMS *)ASN1_TYPE_unpack_sequence(
		ASN1_ITEM_rptr(SCRYPT_PARAMS), algorithm->parameter);
	uint64_t n = 0, r = 0, parallel = 0;
	cc_err err = CC_OK;

	ENSURE(p && ASN1_INTEGER_get_uint64(&n, p->costParameter) == 1 &&
			ASN1_INTEGER_get_uint64(&r, p->blockSize) == 1 &&
			ASN1_INTEGER_get_uint64(&parallel, p->parallelizationParameter) == 1,
		malformed("scrypt parameters"));
	/* each is bounded first, so that the product fits */
	ENSURE(n <= PFX_SCRYPT_MAX && r <= PFX_SCRYPT_MAX && parallel <= PFX_SCRYPT_MAX &&
			n * r <= PFX_SCRYPT_MAX &&
			n * r * parallel <= PFX_SCRYPT_MAX - w->spent.scrypt,
		cc_fail(CC_TOO_LARGE, "pfx: scrypt over %u in sum", PFX_SCRYPT_MAX));
	w->spent.scrypt += n * r * parallel;
out:
	SCRYPT_PARAMS_free(p);
	return err;
}

static cc_err spend_pbes2(struct walk *w, const X509_ALGOR *algorithm)
{
	PBE2PARAM *p = (PBE2PARAM *)ASN1_TYPE_unpack_sequence(
		ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
	cc_err err = CC_OK;

	ENSURE(p, malformed("PBES2 parameters"));
	switch (OBJ_obj2nid(p->keyfunc->algorithm)) {
	case NID_id_pbkdf2:
		err = spend_pbkdf2(w, p->keyfunc);
		break;
	case NID_id_scrypt:
		err = spend_scrypt(w, p->keyfunc);
		break;
	default:
		err = cc_fail(CC_NOT_SUPPORTED, "pfx: a key derivation that is not known");
	}
out:
	PBE2PARAM_free(p);
	return err;
}

static cc_err spend_pbe(struct walk *w, const X509_ALGOR *algorithm)
{
	PBEPARAM *p = (PBEPARAM *)ASN1_TYPE_unpack_sequence(
		ASN1_ITEM_rptr(PBEPARAM), algorithm->parameter);
	cc_err err = p ? spend_iterations(w, p->iter) : malformed("PBE parameters");

	PBEPARAM_free(p);
	return err;
}

static cc_err spend(struct walk *w, const X509_ALGOR *algorithm)
{
	switch (OBJ_obj2nid(algorithm->algorithm)) {
	case NID_pbes2:
		return spend_pbes2(w, algorithm);
	case NID_pbe_WithSHA1And40BitRC2_CBC:
	case NID_pbe_WithSHA1And128BitRC2_CBC:
		if (w->decrypt && !w->library)
			return cc_fail(CC_NOT_SUPPORTED,
				"pfx: encrypted with RC2, which is read only when it is imported; "
				"convert it: certconnectorctl pfx import");
		return spend_pbe(w, algorithm);
	case NID_pbe_WithSHA1And3_Key_TripleDES_CBC:
	case NID_pbe_WithSHA1And2_Key_TripleDES_CBC:
		return spend_pbe(w, algorithm);
	default:
		return cc_fail(CC_NOT_SUPPORTED, "pfx: an encryption that is not known");
	}
}

/* ---- bags ---- */

static cc_err add_key(struct walk *w, const PKCS8_PRIV_KEY_INFO *info)
{
	if (w->key)
		return cc_fail(CC_NOT_SUPPORTED, "pfx: more than one private key");
	w->key = info ? EVP_PKCS82PKEY(info) : NULL;
	return w->key ? CC_OK : malformed("a private key that does not parse");
}

static cc_err visit_shrouded(struct walk *w, const PKCS12_SAFEBAG *bag)
{
	const X509_SIG *sealed = PKCS12_SAFEBAG_get0_pkcs8(bag);
	PKCS8_PRIV_KEY_INFO *info = NULL;
	const X509_ALGOR *algorithm = NULL;
	cc_err err = CC_OK;

	ENSURE(sealed, malformed("a key bag without a key"));
	X509_SIG_get0(sealed, &algorithm, NULL);
	TRY(spend(w, algorithm));
	if (!w->decrypt)
		goto out;
	info = PKCS8_decrypt_ex(sealed, w->password, w->password_size, w->library, NULL);
	ENSURE(info, malformed("a private key that does not decrypt"));
	TRY(add_key(w, info));
out:
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

static cc_err visit_certificate(struct walk *w, const PKCS12_SAFEBAG *bag)
{
	X509 *certificate;

	if (!w->decrypt || PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
		return CC_OK;
	certificate = PKCS12_SAFEBAG_get1_cert(bag);
	if (!certificate)
		return malformed("a certificate that does not parse");
	if (sk_X509_push(w->certificates, certificate) <= 0)
		cc_die("pfx: out of memory");
	return CC_OK;
}

static cc_err visit_bags(struct walk *w, const STACK_OF(PKCS12_SAFEBAG) * bags, unsigned depth)
{
	cc_err err = CC_OK;

	ENSURE(depth < DEPTH_MAX, cc_fail(CC_TOO_LARGE, "pfx: nested too deeply"));
	for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
		const PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);

		ENSURE(++w->spent.bags <= PFX_BAGS_MAX,
			cc_fail(CC_TOO_LARGE, "pfx: more than %d bags", PFX_BAGS_MAX));
		switch (PKCS12_SAFEBAG_get_nid(bag)) {
		case NID_keyBag:
			if (w->decrypt)
				TRY(add_key(w, PKCS12_SAFEBAG_get0_p8inf(bag)));
			break;
		case NID_pkcs8ShroudedKeyBag:
			TRY(visit_shrouded(w, bag));
			break;
		case NID_certBag:
			TRY(visit_certificate(w, bag));
			break;
		case NID_safeContentsBag:
			TRY(visit_bags(w, PKCS12_SAFEBAG_get0_safes(bag), depth + 1));
			break;
		default: /* revocation lists, secrets: not for us */
			break;
		}
	}
out:
	return err;
}

static cc_err visit_encrypted(struct walk *w, PKCS7 *part, STACK_OF(PKCS12_SAFEBAG) * *ret_bags)
{
	cc_err err = CC_OK;

	ENSURE(part->d.encrypted && part->d.encrypted->enc_data &&
			part->d.encrypted->enc_data->algorithm,
		malformed("an encrypted part without its algorithm"));
	TRY(spend(w, part->d.encrypted->enc_data->algorithm));
	if (!w->decrypt)
		goto out;
	*ret_bags = PKCS12_unpack_p7encdata(part, w->password, w->password_size);
	ENSURE(*ret_bags, malformed("an encrypted part that does not decrypt"));
out:
	return err;
}

static cc_err visit_part(struct walk *w, PKCS7 *part)
{
	STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
	cc_err err = CC_OK;

	switch (OBJ_obj2nid(part->type)) {
	case NID_pkcs7_data:
		bags = PKCS12_unpack_p7data(part);
		ENSURE(bags, malformed("a part that does not parse"));
		break;
	case NID_pkcs7_encrypted:
		TRY(visit_encrypted(w, part, &bags));
		break;
	default:
		err = cc_fail(CC_NOT_SUPPORTED, "pfx: a part that is encrypted to a public key");
		goto out;
	}
	if (bags)
		TRY(visit_bags(w, bags, 0));
out:
	sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
	return err;
}

/* The parameters of PBMAC1 (RFC 9579) are not even looked at. */
static cc_err spend_mac(struct walk *w, const PKCS12 *p12)
{
	const ASN1_INTEGER *iterations = NULL;
	const X509_ALGOR *algorithm = NULL;
	cc_err err = CC_OK;

	ENSURE(PKCS12_mac_present(p12), cc_fail(CC_NOT_SUPPORTED, "pfx: without a MAC"));
	PKCS12_get0_mac(NULL, &algorithm, NULL, &iterations, p12);
	ENSURE(OBJ_obj2nid(algorithm->algorithm) != NID_pbmac1,
		cc_fail(CC_NOT_SUPPORTED,
			"pfx: a MAC by PBMAC1; export it with an HMAC of PKCS#12"));
	ENSURE(EVP_get_digestbyobj(algorithm->algorithm),
		cc_fail(CC_NOT_SUPPORTED, "pfx: a MAC that is not known"));
	TRY(spend_iterations(w, iterations));
out:
	return err;
}

/* The whole file, once.  Called first without and then with decryption; each starts from nothing spent. */
static cc_err visit(struct walk *w, const PKCS12 *p12)
{
	STACK_OF(PKCS7) *parts = NULL;
	cc_err err = CC_OK;

	w->spent = (struct pfx_facts){0};
	TRY(spend_mac(w, p12));
	parts = PKCS12_unpack_authsafes(p12);
	ENSURE(parts, malformed("its content does not parse"));
	ENSURE(sk_PKCS7_num(parts) <= PFX_BAGS_MAX,
		cc_fail(CC_TOO_LARGE, "pfx: more than %d parts", PFX_BAGS_MAX));
	for (int i = 0; i < sk_PKCS7_num(parts); i++)
		TRY(visit_part(w, sk_PKCS7_value(parts, i)));
out:
	sk_PKCS7_pop_free(parts, PKCS7_free);
	return err;
}

static cc_err parse(cc_view pfx, OSSL_LIB_CTX *library, PKCS12 **ret)
{
	const uint8_t *at = pfx.data;
	PKCS12 *p12 = NULL;
	cc_err err = CC_OK;

	ENSURE(pfx.size > 0, malformed("an empty file"));
	ENSURE(pfx.size <= PFX_MAX,
		cc_fail(CC_TOO_LARGE, "pfx: %zu bytes, at most %u are taken", pfx.size, PFX_MAX));
	p12 = PKCS12_init_ex(NID_pkcs7_data, library, NULL);
	ENSURE(p12, cc_fail_openssl("pfx"));
	ENSURE(d2i_PKCS12(&p12, &at, (long)pfx.size),
		malformed("not a PKCS#12 file, or one that was cut off"));
	ENSURE(at == pfx.data + pfx.size,
		cc_fail(CC_MALFORMED, "pfx: %zu bytes behind the end of the file",
			(size_t)(pfx.data + pfx.size - at)));
	*ret = p12;
	p12 = NULL;
out:
	PKCS12_free(p12);
	return err;
}

cc_err pfx_inspect(cc_view pfx, struct pfx_facts *ret)
{
	struct walk w = {0};
	PKCS12 *p12 = NULL;
	cc_err err = CC_OK;

	TRY(parse(pfx, NULL, &p12));
	TRY(visit(&w, p12));
	if (ret)
		*ret = w.spent;
out:
	PKCS12_free(p12);
	return err;
}

/* ---- open ---- */

/* An empty password is written in two ways; the MAC says which. */
static cc_err check_mac(struct walk *w, PKCS12 *p12)
{
	bool ok = PKCS12_verify_mac(p12, w->password, w->password_size) == 1;

	if (!ok && w->password_size == 0) {
		w->password = NULL;
		ok = PKCS12_verify_mac(p12, NULL, 0) == 1;
	}
	ERR_clear_error();
	return ok ? CC_OK : cc_fail(CC_PASSWORD, "pfx: the password does not fit its MAC");
}

/* The certificate of the key leaves the list of the others. */
static cc_err take_leaf(struct walk *w, X509 **ret)
{
	if (!w->key)
		return cc_fail(CC_MISMATCH, "pfx: no private key");
	for (int i = 0; i < sk_X509_num(w->certificates); i++) {
		if (X509_check_private_key(sk_X509_value(w->certificates, i), w->key) != 1)
			continue;
		ERR_clear_error();
		if (sk_X509_num(w->certificates) > PFX_CHAIN_MAX + 1)
			return cc_fail(CC_TOO_LARGE,
				"pfx: %d certificates beside its own, at most %d are taken",
				sk_X509_num(w->certificates) - 1, PFX_CHAIN_MAX);
		*ret = sk_X509_delete(w->certificates, i);
		return CC_OK;
	}
	ERR_clear_error();
	return cc_fail(CC_MISMATCH, "pfx: no certificate belongs to its key");
}

static cc_err open_file(cc_view pfx, struct walk *w)
{
	PKCS12 *p12 = NULL;
	cc_err err = CC_OK;

	TRY(parse(pfx, w->library, &p12));
	TRY(visit(w, p12));
	TRY(check_mac(w, p12));
	w->decrypt = true;
	TRY(visit(w, p12));
out:
	PKCS12_free(p12);
	return err;
}

struct pfx_legacy {
	OSSL_LIB_CTX *library;
	OSSL_PROVIDER *normal, *old;
};

cc_err pfx_legacy_load(struct pfx_legacy **ret)
{
	struct pfx_legacy *l = cc_alloc(sizeof(*l));
	cc_err err = CC_OK;

	l->library = OSSL_LIB_CTX_new();
	ENSURE(l->library, cc_fail_openssl("pfx: library context"));
	l->normal = OSSL_PROVIDER_load(l->library, "default");
	l->old = OSSL_PROVIDER_load(l->library, "legacy");
	ENSURE(l->normal && l->old, cc_fail_openssl("pfx: legacy provider"));
	*ret = l;
	l = NULL;
out:
	pfx_legacy_free(l);
	return err;
}

void pfx_legacy_free(struct pfx_legacy *l)
{
	if (!l)
		return;
	if (l->old)
		OSSL_PROVIDER_unload(l->old);
	if (l->normal)
		OSSL_PROVIDER_unload(l->normal);
	OSSL_LIB_CTX_free(l->library);
	free(l);
}

cc_err pfx_open(
	cc_view pfx, cc_view password, const struct pfx_legacy *legacy, struct pfx_content *ret)
{
	struct walk w = {.library = legacy ? legacy->library : NULL};
	cc_secret text = CC_SECRET_NONE;
	X509 *leaf = NULL;
	cc_err err = CC_OK;

	TRY(terminated(password, &text));
	w.password = (const char *)text.data;
	w.password_size = (int)password.size;
	w.certificates = sk_X509_new_null();
	if (!w.certificates)
		cc_die("pfx: out of memory");
	TRY(open_file(pfx, &w));
	TRY(take_leaf(&w, &leaf));
	*ret = (struct pfx_content){.key = w.key, .leaf = leaf, .others = w.certificates};
	w.key = NULL;
	w.certificates = NULL;
out:
	EVP_PKEY_free(w.key);
	sk_X509_pop_free(w.certificates, X509_free);
	cc_secret_free(&text);
	return err;
}

void pfx_content_clear(struct pfx_content *content)
{
	EVP_PKEY_free(content->key);
	X509_free(content->leaf);
	sk_X509_pop_free(content->others, X509_free);
	*content = (struct pfx_content){0};
}

/*
 * Device keys from jobs.  A stolen signing key of the cloud service can name any key it likes; policy
 * decides what that is worth here.
 */
#include "keyvault/device.h"
#include "keyvault/certcheck.h"
#include "keyvault/names.h"
#include "keyvault/sealer.h"
#include "proto/codec.h"
#include <openssl/x509v3.h>
#include <string.h>

#define DEVICE_CHAIN_MAX 8

cc_err device_key_read(const Certq__DeviceKey *from, struct device_key *ret)
{
	struct device_key k = {0};
	cc_err err = CC_OK;

	if (from->n_certificate_chain > 0) {
		TRY(sealer_device_key_from_certificate(
			codec_view(from->certificate_chain[0]), &k.key, &k.spki));
		TRY(certcheck_parse(codec_view(from->certificate_chain[0]), &k.certificate));
	} else {
		TRY(sealer_device_key(codec_view(from->spki), &k.key));
		k.spki = cc_blob_copy(codec_view(from->spki));
	}
	hash_sha256(cc_blob_view(&k.spki), k.spki_sha256);
	*ret = k;
	k = (struct device_key){0};
out:
	device_key_clear(&k);
	return err;
}

void device_key_clear(struct device_key *k)
{
	EVP_PKEY_free(k->key);
	X509_free(k->certificate);
	cc_blob_free(&k->spki);
	*k = (struct device_key){0};
}

cc_err device_key_check_form(const struct device_key *k, Certq__Seal form, int64_t now_s)
{
	cc_err err = sealer_check_form(k->key, form);

	if (err != CC_OK || form != CERTQ__SEAL__SEAL_WINDOWS)
		return err;
	if (k->certificate == NULL)
		return cc_fail(
			CC_BAD_KEY, "device key: the form windows needs the device's certificate");
	return sealer_check_certificate(k->certificate, now_s);
}

cc_err device_key_seal(
	const struct device_key *k, Certq__Seal form, bool pkcs1, cc_view password, cc_blob *ret)
{
	return form == CERTQ__SEAL__SEAL_WINDOWS && k->certificate != NULL
		       ? sealer_seal_windows(k->certificate, pkcs1, password, ret)
		       : sealer_seal(k->key, form, password, ret);
}

/* ---- certified ---- */

static cc_err read_chain(const Certq__DeviceKey *from, X509 **ret_leaf, STACK_OF(X509) * rest)
{
	X509 *certificate = NULL;
	cc_err err = CC_OK;

	ENSURE(from->n_certificate_chain > 0 && from->n_certificate_chain <= DEVICE_CHAIN_MAX,
		cc_fail(CC_DENIED, "device key: policy wants a device certificate"));
	for (size_t i = 0; i < from->n_certificate_chain; i++) {
		TRY(certcheck_parse(codec_view(from->certificate_chain[i]), &certificate));
		if (i == 0)
			*ret_leaf = certificate;
		else
			ENSURE(sk_X509_push(rest, certificate) > 0,
				cc_fail_openssl("a device's chain"));
		certificate = NULL;
	}
out:
	X509_free(certificate);
	return err;
}

static cc_err verify_chain(
	X509 *leaf, STACK_OF(X509) * rest, const STACK_OF(X509) * roots, int64_t now_s)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *trusted = sk_X509_dup(roots);
	cc_err err = CC_OK;

	ENSURE(ctx && trusted && X509_STORE_CTX_init(ctx, NULL, leaf, rest) == 1,
		cc_fail_openssl("a device's chain"));
	X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
	X509_VERIFY_PARAM_set_depth(param, DEVICE_CHAIN_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, CERTCHECK_AUTH_LEVEL);
	/* A device CA may be an issuing CA: what policy lists is trusted itself. */
	ENSURE(X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
			X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT) == 1,
		cc_fail_openssl("a device's chain"));
	if (X509_verify_cert(ctx) != 1)
		err = cc_fail(CC_DENIED, "device key: its certificate does not verify: %s",
			X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
out:
	X509_STORE_CTX_free(ctx);
	sk_X509_free(trusted);
	return err;
}

static bool common_name_is(X509 *leaf, cc_view expected)
{
	const X509_NAME *name = X509_get_subject_name(leaf);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);

	/* One CN exactly: with two, readers would differ. */
	if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
		return false;
	return names_string_is(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), expected);
}

static bool alt_name_fits(const GENERAL_NAME *name, const Certq__Holder *holder)
{
	switch (name->type) {
	case GEN_DNS:
		return names_string_is(name->d.dNSName, codec_view(holder->device_id));
	case GEN_EMAIL:
		return names_string_is(name->d.rfc822Name, codec_view(holder->email));
	case GEN_OTHERNAME:
		return OBJ_obj2nid(name->d.otherName->type_id) == NID_ms_upn &&
		       name->d.otherName->value->type == V_ASN1_UTF8STRING &&
		       names_string_is(
			       name->d.otherName->value->value.utf8string, codec_view(holder->upn));
	default:
		return false;
	}
}

static bool names_holder(X509 *leaf, const Certq__Holder *holder)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool fits = common_name_is(leaf, codec_view(holder->device_id));

	for (int i = 0; !fits && i < sk_GENERAL_NAME_num(names); i++)
		fits = alt_name_fits(sk_GENERAL_NAME_value(names, i), holder);
	GENERAL_NAMES_free(names);
	return fits;
}

cc_err device_key_certified(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, int64_t now_s)
{
	STACK_OF(X509) *rest = sk_X509_new_null();
	X509 *leaf = NULL;
	cc_err err = CC_OK;

	ENSURE(rest, cc_fail_openssl("a device's chain"));
	TRY(read_chain(from, &leaf, rest));
	TRY(verify_chain(leaf, rest, policy_device_cas(p), now_s));
	ENSURE(names_holder(leaf, holder),
		cc_fail(CC_DENIED,
			"device key: its certificate names neither the job's device nor its user"));
out:
	X509_free(leaf);
	sk_X509_pop_free(rest, X509_free);
	return err;
}

cc_err device_key_judge(const struct policy *p, const Certq__Holder *holder,
	const Certq__DeviceKey *from, const struct device_key *key, bool imported, int64_t now_s,
	struct state_device *ret)
{
	enum policy_device_keys mode = policy_device_keys(p);
	cc_err err = CC_OK;

	if (mode == POLICY_CERTIFIED)
		TRY(device_key_certified(p, holder, from, now_s));
	*ret = (struct state_device){
		.user_id = cc_blob_copy(codec_view(holder->user_id)),
		.device_id = cc_blob_copy(codec_view(holder->device_id)),
		.source = policy_device_keys_name(mode),
		.pinned = mode == POLICY_PINNED || mode == POLICY_OPERATOR,
		.asks_first = mode == POLICY_OPERATOR,
		.imported = imported,
		.may_wait = policy_asks_operator(p),
		.per_user_per_day = policy_limits(p)->pinned_per_user_per_day,
		.per_tenant_per_day = policy_limits(p)->pinned_per_tenant_per_day,
	};
	memcpy(ret->spki_sha256, key->spki_sha256, SHA256_SIZE);
out:
	return err;
}

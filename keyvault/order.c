/*
 * Orders, signed.
 */
#include "keyvault/order.h"
#include "proto/codec.h"
#include "proto/dsse.h"

cc_err order_sign(struct keystore *ks, const struct order_facts *facts, Certq__SignedDocument **ret)
{
	Vault__Order order = VAULT__ORDER__INIT;
	EVP_PKEY *key = NULL;
	cc_blob body = CC_BLOB_NONE;
	cc_err err = CC_OK;

	order.version = 1;
	order.op = facts->op;
	order.tenant = codec_bytes(facts->tenant);
	order.job_id = codec_bytes(facts->job_id);
	order.ca = codec_bytes(facts->ca);
	order.template_ = codec_bytes(facts->template_name);
	order.csr = codec_bytes(facts->csr);
	order.validity_s = facts->validity_s;
	order.issuer = codec_bytes(facts->issuer);
	order.serial = codec_bytes(facts->serial);
	order.reason = facts->crl_reason;
	order.not_after_s = facts->now_s + ORDER_LIFETIME_S;
	body = codec_pack(&order);
	TRY(keystore_signing_key(ks, KEYSTORE_APPROVAL, &key));
	TRY(dsse_sign(key, DOC_ORDER, cc_blob_view(&body), ret));
out:
	EVP_PKEY_free(key);
	cc_blob_free(&body);
	return err;
}

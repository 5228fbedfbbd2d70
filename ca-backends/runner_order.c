/*
 * Orders: signature first, then the decoded fields one by one.
 */
#include "ca-backends/runner_order.h"
#include "base/text.h"
#include "proto/codec.h"
#include "proto/dsse.h"

#define SKEW_S         60
#define TEMPLATE_MAX   256u
#define ATTRIBUTE_MAX  4096u
#define ATTRIBUTES_MAX 64u
#define ISSUER_MAX     4096u
#define SERIAL_MAX     21u
#define CRL_REASON_MAX 10u

static cc_err check_request(const Vault__Order *o)
{
	if (o->csr.len == 0 || o->csr.len > ORDER_CSR_MAX)
		return cc_fail(CC_MALFORMED, "order: no CSR, or a CSR over the limit");
	if (!text_is_clean(codec_view(o->template_), TEMPLATE_MAX))
		return cc_fail(CC_MALFORMED, "order: the template is not clean text");
	if (o->n_attributes > ATTRIBUTES_MAX)
		return cc_fail(CC_TOO_LARGE, "order: more than %u attributes", ATTRIBUTES_MAX);
	for (size_t i = 0; i < o->n_attributes; i++) {
		if (o->attributes[i]->name.len == 0 ||
			!text_is_clean(codec_view(o->attributes[i]->name), ATTRIBUTE_MAX) ||
			!text_is_clean(codec_view(o->attributes[i]->value), ATTRIBUTE_MAX))
			return cc_fail(CC_MALFORMED, "order: an attribute is not clean text");
	}
	return CC_OK;
}

static cc_err check_revoke(const Vault__Order *o)
{
	if (o->issuer.len == 0 || o->issuer.len > ISSUER_MAX)
		return cc_fail(CC_MALFORMED, "order: no issuer, or one over the limit");
	if (o->serial.len == 0 || o->serial.len > SERIAL_MAX)
		return cc_fail(CC_MALFORMED, "order: no serial, or one over the limit");
	/* 7 is not assigned; 8 (removeFromCRL) would take a certificate off the list */
	if (o->reason > CRL_REASON_MAX || o->reason == 7 || o->reason == 8)
		return cc_fail(
			CC_MALFORMED, "order: reason %u is not one of a revocation", o->reason);
	return CC_OK;
}

static cc_err check_fields(
	const Vault__Order *o, const char *ca_name, Vault__OrderOp op, int64_t now_s)
{
	if (o->version != 1)
		return cc_fail(CC_VERSION, "order: version %u", o->version);
	if (!text_equal(codec_view(o->ca), ca_name))
		return cc_fail(CC_MISMATCH, "order: for another CA than %s", ca_name);
	if (o->op != op)
		return cc_fail(CC_MISMATCH, "order: for another operation (%d, not %d)", (int)o->op,
			(int)op);
	if (now_s > o->not_after_s)
		return cc_fail(CC_EXPIRED, "order: over since %lld s",
			(long long)(now_s - o->not_after_s));
	if (o->not_after_s - now_s > ORDER_LIFETIME_S + SKEW_S)
		return cc_fail(CC_DENIED, "order: valid for longer than an order may be");
	if (!text_is_name(codec_view(o->tenant)))
		return cc_fail(CC_MALFORMED, "order: the tenant is not a name");
	if (o->job_id.len != JOB_ID_SIZE)
		return cc_fail(CC_MALFORMED, "order: the job id is not of %d bytes", JOB_ID_SIZE);
	return op == VAULT__ORDER_OP__ORDER_REVOKE ? check_revoke(o) : check_request(o);
}

cc_err order_verify(cc_view approval_spki, const char *ca_name, Vault__OrderOp op,
	const Certq__SignedDocument *document, int64_t now_s, Vault__Order **ret)
{
	Vault__Order *order = NULL;
	cc_err err = CC_OK;

	ENSURE(document != NULL, cc_fail(CC_MALFORMED, "order: there is none"));
	TRY(dsse_verify(approval_spki, DOC_ORDER, document));
	TRY(codec_decode_document(
		&vault__order__descriptor, codec_view(document->body), DOC_BODY_MAX, &order));
	TRY(check_fields(order, ca_name, op, now_s));
	*ret = order;
	order = NULL;
out:
	codec_free(order);
	return err;
}

/*
 * Orders: may this runner do what it is asked?
 *
 * Runner only; pure functions over the signed document.  An order is believed when the keyvault's
 * approval key signed it, it is of a known version, for this CA, this operation and this moment, and
 * every field is of its form.  Nothing outside the order is acted on.  Every refusal is a cc_err whose
 * detail says why; the runner answers CA_ORDER_REFUSED.
 */
#pragma once

#include "base/hash.h"
#include "certq/v1/job.pb-c.h"
#include "vault/v1/vault.pb-c.h"

#define ORDER_LIFETIME_S 600 /* what the keyvault gives */
#define ORDER_CSR_MAX    (64u * 1024u)

/* `op` is what the call is for.  The order is allocated; free with codec_free. */
cc_err order_verify(cc_view approval_spki, const char *ca_name, Vault__OrderOp op,
	const Certq__SignedDocument *document, int64_t now_s, Vault__Order **ret) CC_MUST_USE;

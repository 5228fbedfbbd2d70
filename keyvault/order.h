/*
 * Orders: what a CA runner may do, signed with the keyvault's approval key.
 *
 * Keyvault; any thread.  An order holds for ten minutes; `reorder` makes a fresh one.
 */
#pragma once

#include "keyvault/keystore.h"
#include "vault/v1/vault.pb-c.h"

#define ORDER_LIFETIME_S 600

struct order_facts {
	Vault__OrderOp op;
	cc_view tenant, job_id;
	cc_view ca, template_name; /* the configured strings, not the job's */
	cc_view csr;               /* submit, poll, withdraw */
	uint32_t validity_s;
	cc_view issuer, serial; /* revoke: DER Name, INTEGER content octets */
	uint32_t crl_reason;
	int64_t now_s;
};

/* Free with codec_free. */
cc_err order_sign(struct keystore *ks, const struct order_facts *facts,
	Certq__SignedDocument **ret) CC_MUST_USE;

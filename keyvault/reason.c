/*
 * The table of reasons, and what each means at the door.
 */
#include "keyvault/reason.h"

static const struct {
	Vault__VaultStatus status;
	const char *code;
	uint32_t event;
} reasons[] = {
#define REASON_ROW(name, status, code, event)                                                      \
	[name] = {VAULT__VAULT_STATUS__VAULT_##status, code, event},
	REASON_TABLE(REASON_ROW)
#undef REASON_ROW
};

Vault__VaultStatus reason_status(enum reason r)
{
	return reasons[r].status;
}

const char *reason_code(enum reason r)
{
	return reasons[r].code;
}

uint32_t reason_event(enum reason r)
{
	return reasons[r].event;
}

bool reason_is_decision(enum reason r)
{
	Vault__VaultStatus s = reasons[r].status;

	return s == VAULT__VAULT_STATUS__VAULT_OK || s == VAULT__VAULT_STATUS__VAULT_REFUSED ||
	       s == VAULT__VAULT_STATUS__VAULT_REFUSED_HERE ||
	       s == VAULT__VAULT_STATUS__VAULT_WAITS_OPERATOR;
}

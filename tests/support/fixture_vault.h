/*
 * Fixture: a keyvault process and everybody around it: the supervisor on descriptor 3, the connector
 * at its conversation, an administrator at the socket.
 *
 * Any test that links the keyvault; single-threaded, blocking with time limits.  Every function ends the
 * test program when the harness fails; what the keyvault answers is the test's to judge.  State lives in
 * a temporary directory of its own, so a keyvault can be ended and started again on it.
 */
#pragma once

#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include "vault/v1/vault.pb-c.h"
#include <sys/types.h>

struct fixture_vault {
	char dir[64];
	struct fixture_tenant tenant; /* "contoso" */
	struct fixture_ca ca;         /* pinned for "corp-ca" */
	char *policy, *pins;          /* text; NULL: no such file.  malloc'ed, may be replaced */
	uint8_t master[32];
	int (*role_main)(void);
	uint32_t threads, pool;

	pid_t pid;
	int link, conversation, listener;
	uint64_t serial, ids;
	cc_blob approval_spki;                         /* from Ready */
	cc_blob result_spki, decrypt_spki, decrypt_id; /* from list_public */
	cc_blob decisions; /* counters that came with answers, 8 bytes each */
};

/* Directory, tenant, CA, a policy (device_keys: any_signed, profile corp-user) and pins. */
void fixture_vault_prepare(struct fixture_vault *v, int (*role_main)(void));
void fixture_vault_clear(struct fixture_vault *v);
/* The default policy with this line in place of the one that begins alike ("device_keys: pinned"). */
char *fixture_vault_policy(const char *line);
/* That as the policy in force: passed to the keyvault. */
void fixture_vault_use_policy(struct fixture_vault *v, const char *line);
char *fixture_vault_pins(const struct fixture_vault *v);

/* Fork the role, pass Setup, wait for Ready, converse, and read the public list. */
void fixture_vault_start(struct fixture_vault *v);
int fixture_vault_stop(struct fixture_vault *v); /* orderly; the exit status */
void fixture_vault_kill(struct fixture_vault *v);
/* A fresh conversation in place of the present one. */
void fixture_vault_converse(struct fixture_vault *v);
/* Pass policy and pins as they are now. */
void fixture_vault_reload(struct fixture_vault *v);
void fixture_vault_refuse_pid(struct fixture_vault *v, pid_t pid);

/* One request, its answer; free with codec_free.  The id is set here. */
Vault__VaultAnswer *fixture_vault_ask(struct fixture_vault *v, Vault__VaultRequest *request);
/* The next answer, whatever its id; NULL when the conversation is over. */
Vault__VaultAnswer *fixture_vault_next(struct fixture_vault *v);
/* Bytes as a frame; true when the keyvault then ends the conversation. */
bool fixture_vault_hangs_up(struct fixture_vault *v, cc_view frame);
/* NULL when the door is shut in our face. */
Vault__AdminAnswer *fixture_vault_admin(struct fixture_vault *v, Vault__AdminRequest *request);

/* The three common requests for a signed job. */
Vault__VaultAnswer *fixture_vault_begin(struct fixture_vault *v, const struct fixture_job *job);
Vault__VaultAnswer *fixture_vault_finish(
	struct fixture_vault *v, cc_view ticket, const char *ca, cc_view leaf);
Vault__VaultAnswer *fixture_vault_rewrap(
	struct fixture_vault *v, const struct fixture_job *job, cc_view pfx, cc_view password);

/*
 * House: the real roles of certconnectord, with the test as their supervisor.
 *
 * Any test; single-threaded.  The test holds the other end of every role's descriptor 3, passes Setup
 * with descriptors, waits for Ready, and keeps for itself one end of every conversation: it stands where the
 * connector would stand, and says there what it likes (tests/support/hostile_courier.h).  The programs are
 * those of $CC_BUILD_DIR; everything that they write is in one temporary folder.
 *
 * Three CAs stand in the policy's one profile (HOUSE_PROFILE) and in the pins:
 *   corp-ca    local CA, its runner believes the keyvault's approval key
 *   backup-ca  local CA, its runner believes the test's own approval key, so that a test can make orders
 *              that the keyvault would never sign
 *   test-ca    no runner: the test holds its key and can issue what no honest CA would
 *
 * Every function ends the test program when it fails; the roles end with their links.
 */
#pragma once

#include "base/blob.h"
#include "role/v1/role.pb-c.h"
#include "tests/support/fixture_ca.h"
#include "tests/support/fixture_jobs.h"
#include <sys/types.h>

#define HOUSE_TENANT    "contoso"
#define HOUSE_CONNECTOR "hq-1"
#define HOUSE_PROFILE   "corp-user"
#define HOUSE_CORP_CA   "corp-ca"
#define HOUSE_BACKUP_CA "backup-ca"
#define HOUSE_TEST_CA   "test-ca"
#define HOUSE_BUILD_ID  "build-of-a-hostile-house"
#define HOUSE_WAIT_MS   60000

struct house_role {
	Role__RoleKind kind;
	const char *name;
	pid_t pid;
	int link; /* the supervisor's end of its descriptor 3 */
	int talk; /* the connector's end of the conversation */
	uint64_t serial;
};

struct house {
	char *dir;
	struct fixture_tenant tenant;
	struct fixture_ca test_ca;
	struct house_role vault, corp, backup;
	cc_blob approval_spki; /* the keyvault's, as its Ready says */
	EVP_PKEY *approval;    /* the test's own, for backup-ca */
	uint64_t requests;
	size_t issued; /* certificates that the local CAs are known to have made */
};

/* Both local CAs made, keyvault and both runners up, a conversation with each. */
void house_open(struct house *h);
/* Ends the roles by closing their links, and insists that each exits with status 0. */
void house_close(struct house *h);

/* kill -9, start again, new conversation. */
void house_kill(struct house *h, struct house_role *role);

/* New ends for the conversation, greeted as the connector; what was there is closed. */
void house_converse(struct house_role *role);
/* The same, and the first frame is the caller's. */
void house_converse_as(struct house_role *role, cc_view greeting);

/* Tell the keyvault which processes may not come to the administrator's socket. */
void house_refuse_pid(struct house *h, pid_t pid);
char *house_admin_path(const struct house *h); /* caller frees */

/* Files in the lists of both local CAs now. */
size_t house_count_issued(const struct house *h);

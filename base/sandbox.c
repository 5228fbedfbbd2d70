/*
 * Walls: the steps by which a role gives up what it does not need.  Files by name are Landlock's
 * (sandbox_landlock.c), system calls are seccomp's (sandbox_seccomp.c); here are the process's own
 * attributes, its user, its capabilities, and the order of it all.
 */
#include "base/sandbox.h"
#include "base/hash.h"
#include "base/link.h"
#include "base/sandbox_int.h"
#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void sandbox_early(bool may_stay_dumpable)
{
	const struct rlimit no_core = {0, 0};

	if (!(may_stay_dumpable && CC_TEST_DUMPABLE) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		cc_die("cannot become undumpable");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		cc_die("cannot give up new privileges");
	if (setrlimit(RLIMIT_CORE, &no_core) != 0)
		cc_die("cannot give up core files");
	(void)umask(077);
	if (close_range(LINK_FD + 1, ~0U, 0) != 0)
		cc_die("cannot close inherited descriptors");
}

/* ---- user and capabilities ---- */

static int compare_groups(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a;
	gid_t y = *(const gid_t *)b;

	return (x > y) - (x < y);
}

static bool groups_are(const gid_t *groups, size_t count)
{
	int now = getgroups(0, NULL);
	bool same = false;

	if (now < 0 || (size_t)now != count)
		return false;
	if (count == 0)
		return true;
	gid_t *have = cc_alloc(count * sizeof(*have));
	gid_t *want = cc_alloc(count * sizeof(*want));
	now = getgroups((int)count, have);
	for (size_t i = 0; i < count; i++)
		want[i] = groups[i];
	if (now >= 0 && (size_t)now == count) {
		qsort(have, count, sizeof(*have), compare_groups);
		qsort(want, count, sizeof(*want), compare_groups);
		same = cc_view_equal(cc_view_of(have, count * sizeof(*have)),
			cc_view_of(want, count * sizeof(*want)));
	}
	free(have);
	free(want);
	return same;
}

static bool user_is(uid_t uid)
{
	uid_t real, effective, saved;

	return getresuid(&real, &effective, &saved) == 0 && real == uid && effective == uid &&
	       saved == uid;
}

static bool group_is(gid_t gid)
{
	gid_t real, effective, saved;

	return getresgid(&real, &effective, &saved) == 0 && real == gid && effective == gid &&
	       saved == gid;
}

static bool has_capability(unsigned capability)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, capability) != 0;
}

static cc_err change_user(uid_t uid, gid_t gid, const gid_t *groups, size_t count)
{
	/* a caller that stays who it is and may not set groups keeps the ones it has */
	bool keep = user_is(uid) && !has_capability(CAP_SETGID);

	if (!keep && !groups_are(groups, count) && setgroups(count, groups) != 0)
		return cc_fail(CC_PERMISSION, "cannot set the groups of uid %u: start as root",
			(unsigned)uid);
	if (!group_is(gid) && setresgid(gid, gid, gid) != 0)
		return cc_fail(CC_PERMISSION,
			"cannot change to gid %u: start as root, or leave out users",
			(unsigned)gid);
	if (!user_is(uid) && setresuid(uid, uid, uid) != 0)
		return cc_fail(CC_PERMISSION,
			"cannot change to uid %u: start as root, or leave out users",
			(unsigned)uid);
	if (!user_is(uid) || !group_is(gid))
		return cc_fail(
			CC_INTERNAL, "uid %u or gid %u did not take", (unsigned)uid, (unsigned)gid);
	return CC_OK;
}

/* The bounding set can be emptied only while CAP_SETPCAP is there, so before the user changes; it
 * matters little behind no_new_privs. */
static void empty_bounding_set(void)
{
	if (!has_capability(CAP_SETPCAP))
		return;
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
}

cc_err sandbox_drop_capabilities(void)
{
	empty_bounding_set();
	(void)prctl(
		PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* unknown before Linux 4.3 */
	capng_clear(CAPNG_SELECT_CAPS);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return cc_fail_errno("cannot drop capabilities");
	if (capng_get_caps_process() != 0 ||
		capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE)
		return cc_fail(CC_INTERNAL, "capabilities are left after dropping them");
	return CC_OK;
}

/* Nothing may lead back: neither to the user that we were nor to root. */
static cc_err check_no_way_back(uid_t uid, gid_t gid)
{
	if (uid != 0 && (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || !user_is(uid)))
		return cc_fail(CC_INTERNAL, "root can be regained after the change to uid %u",
			(unsigned)uid);
	if (uid != 0 && gid != 0 && (setresgid((gid_t)-1, 0, (gid_t)-1) == 0 || !group_is(gid)))
		return cc_fail(CC_INTERNAL, "group root can be regained after the change to gid %u",
			(unsigned)gid);
	return CC_OK;
}

cc_err sandbox_user(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count)
{
	cc_err err = CC_OK;

	empty_bounding_set();
	TRY(change_user(uid, gid, groups, group_count));
	TRY(sandbox_drop_capabilities());
	TRY(check_no_way_back(uid, gid));
out:
	return err;
}

/* ---- walls ---- */

/* Libraries read files on first use (openssl.cnf, the time zone) and take it for broken when they
 * may not: have them do it before. */
static void load_lazy_parts(void)
{
	cc_secret heap = cc_secret_new(1);
	uint8_t hash[SHA256_SIZE];

	cc_secret_free(&heap);
	(void)OPENSSL_init_crypto(
		OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
	hash_sha256(CC_VIEW_NONE, hash);
	random_bytes(hash, sizeof(hash));
	random_secret(hash, sizeof(hash));
	tzset();
}

bool sandbox_leave_network(void)
{
	return unshare(CLONE_NEWNET) == 0;
}

cc_err sandbox_enter(enum sandbox_profile profile, const char *const *writable,
	const char *const *readable, int *ret_abi)
{
	cc_err err = CC_OK;
	int abi = 0;

	load_lazy_parts();
	if (profile == SANDBOX_KEYVAULT || profile == SANDBOX_TOOL)
		(void)sandbox_leave_network(); /* where it may; the filter refuses sockets anyway */
	TRY(sandbox_limit_paths(profile, writable, readable, &abi));
	TRY(sandbox_filter_calls(profile));
	ENSURE(abi > 0,
		cc_fail(CC_NOT_SUPPORTED,
			"this kernel has no Landlock (Linux 5.13, lsm=landlock): files are not "
			"walled off; accept it with walls: allow_reduced"));
	*ret_abi = abi;
out:
	return err;
}

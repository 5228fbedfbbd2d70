/*
 * Landlock: files by name, and from ABI 4 on the network, from ABI 6 on signals and abstract sockets.
 *
 * By system calls, because Debian 12 has no wrapper.  Names of newer ABIs than that of the system's
 * headers are given here; what the running kernel does not know is left out by the ABI that it tells.
 */
#include "base/sandbox_int.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/landlock.h of Linux 6.12 */
#define FS_REFER              (UINT64_C(1) << 13) /* ABI 2 */
#define FS_TRUNCATE           (UINT64_C(1) << 14) /* ABI 3 */
#define NET_BIND_TCP          (UINT64_C(1) << 0)  /* ABI 4 */
#define NET_CONNECT_TCP       (UINT64_C(1) << 1)
#define FS_IOCTL_DEV          (UINT64_C(1) << 15) /* ABI 5 */
#define SCOPE_ABSTRACT_SOCKET (UINT64_C(1) << 0)  /* ABI 6 */
#define SCOPE_SIGNAL          (UINT64_C(1) << 1)

#define FS_ABI_1      ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FS_READ_FILE  (UINT64_C(0) | LANDLOCK_ACCESS_FS_READ_FILE)
#define FS_READ_DIR   (UINT64_C(0) | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)
/* No device nodes, sockets, FIFOs or symbolic links are made in a state directory, and no program is
 * started from it. */
#define FS_CHANGE_DIR                                                                              \
	(LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |                               \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_REFER)

struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

static int kernel_abi(void)
{
	long abi = syscall(
		SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < 0 ? 0 : (int)abi;
}

static uint64_t handled_files(int abi)
{
	return FS_ABI_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
	       (abi >= 5 ? FS_IOCTL_DEV : 0);
}

static struct ruleset_attr ruleset_of(enum sandbox_profile profile, int abi)
{
	struct ruleset_attr attr = {.handled_access_fs = handled_files(abi)};
	bool alone = profile == SANDBOX_KEYVAULT || profile == SANDBOX_TOOL;

	if (alone && abi >= 4)
		attr.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (alone && abi >= 6)
		attr.scoped = SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL;
	return attr;
}

/* What does not exist cannot be opened, so a readable path that is absent needs no rule. */
static cc_err allow_path(int ruleset, const char *path, uint64_t access, bool may_be_absent)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = -1};
	struct stat st;
	cc_err err = CC_OK;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0 && errno == ENOENT && may_be_absent)
		return CC_OK;
	ENSURE(rule.parent_fd >= 0 && fstat(rule.parent_fd, &st) == 0, cc_fail_errno(path));
	if (!S_ISDIR(st.st_mode)) /* a rule for a file may not name rights of directories */
		rule.allowed_access &= FS_READ_FILE | FS_WRITE_FILE;
	ENSURE(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0,
		cc_fail_errno(path));
out:
	if (rule.parent_fd >= 0)
		(void)close(rule.parent_fd);
	return err;
}

/* Landlock is for the calling thread and those it starts later: an older thread would stay out. */
static cc_err check_single_thread(void)
{
	struct stat st;

	/* one link each for itself, its parent, and every thread */
	if (stat("/proc/self/task", &st) == 0 && st.st_nlink > 3)
		return cc_fail(CC_INTERNAL, "sandbox: %lu threads run already",
			(unsigned long)st.st_nlink - 2);
	return CC_OK;
}

cc_err sandbox_limit_paths(enum sandbox_profile profile, const char *const *writable,
	const char *const *readable, int *ret_abi)
{
	cc_err err = CC_OK;
	int ruleset = -1;
	int abi = kernel_abi();

	TRY(check_single_thread());
	if (abi == 0)
		goto done;
	struct ruleset_attr attr = ruleset_of(profile, abi);
	uint64_t known = handled_files(abi);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	ENSURE(ruleset >= 0, cc_fail_errno("landlock_create_ruleset"));
	for (; writable != NULL && *writable != NULL; writable++)
		TRY(allow_path(ruleset, *writable,
			(FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_CHANGE_DIR) & known,
			false));
	for (; readable != NULL && *readable != NULL; readable++)
		TRY(allow_path(ruleset, *readable, FS_READ_FILE | FS_READ_DIR, true));
	ENSURE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, cc_fail_errno("no_new_privs"));
	ENSURE(syscall(SYS_landlock_restrict_self, ruleset, 0) == 0,
		cc_fail_errno("landlock_restrict_self"));
done:
	*ret_abi = abi;
out:
	if (ruleset >= 0)
		(void)close(ruleset);
	return err;
}

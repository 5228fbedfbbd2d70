/*
 * System calls of each profile.
 *
 * Keyvault and tool have a list of what is allowed, and everything else fails with EPERM: they know
 * what they need.  Connector and runners work with libraries that reach the network, and have a list
 * of what is refused: the calls by which a taken-over process would start programs, look into other
 * processes, change who it is, or reach rarely used parts of the kernel.
 *
 * clone3 fails with ENOSYS everywhere, so that libc falls back to clone, whose flags a filter can
 * see.  The lists hold what AddressSanitizer needs too (sigaltstack for each thread).
 */
#include "base/sandbox_int.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- allowed in keyvault and tool ---- */

static const int allow_memory[] = {
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(msync),
	SCMP_SYS(mlock), SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(membarrier),
	/* mmap and mprotect: by their arguments */
};

static const int allow_threads[] = {
	SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(set_tid_address), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(getcpu), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(gettid),
	/* clone, prctl, tgkill: by their arguments */
};

static const int allow_signals[] = {SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall)};

static const int allow_time[] = {SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time)};

static const int allow_facts[] = {
	/* about itself and the machine */
	SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(getresuid), SCMP_SYS(getresgid), SCMP_SYS(getgroups),
	SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(uname), SCMP_SYS(sysinfo),
	SCMP_SYS(umask), SCMP_SYS(getrandom),
	/* prlimit64: by its arguments */
};

/* On descriptors that are open already; new ones lead nowhere (memfd, pipe, eventfd, a copy). */
static const int allow_descriptors[] = {
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(preadv2),
	SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev),
	SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(close),
	SCMP_SYS(close_range), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(fcntl),
	SCMP_SYS(fcntl64), SCMP_SYS(fstat), SCMP_SYS(fstat64), SCMP_SYS(pipe2),
	SCMP_SYS(memfd_create),
	/* ioctl: by its arguments */
};

static const int allow_waiting[] = {SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(poll),
	SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(eventfd2),
	SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime)};

/* Conversations that were passed in.  No socket, connect, bind or listen. */
static const int allow_conversations[] = {SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto),
	SCMP_SYS(sendmsg), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname),
	SCMP_SYS(getpeername), SCMP_SYS(shutdown)};

/* ---- allowed in the keyvault only ---- */

static const int allow_accept[] = {SCMP_SYS(accept), SCMP_SYS(accept4)};

/* Files by name (which ones, Landlock says) and what LMDB and atomic writing need. */
static const int allow_files[] = {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2),
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(stat64), SCMP_SYS(lstat64), SCMP_SYS(fstatat64),
	SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(statfs), SCMP_SYS(fstatfs),
	SCMP_SYS(statfs64), SCMP_SYS(fstatfs64), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
	SCMP_SYS(getdents64), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range),
	SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64), SCMP_SYS(fallocate), SCMP_SYS(fadvise64),
	SCMP_SYS(flock), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink),
	SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2),
	SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(chmod), SCMP_SYS(fchmod), SCMP_SYS(fchmodat)};

/* ---- refused in connector and runners ---- */

static const int deny_programs[] = {SCMP_SYS(execve), SCMP_SYS(execveat)};

static const int deny_other_processes[] = {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
	SCMP_SYS(process_madvise), SCMP_SYS(perf_event_open), SCMP_SYS(move_pages),
	SCMP_SYS(migrate_pages)};

static const int deny_identity[] = {SCMP_SYS(setuid), SCMP_SYS(setuid32), SCMP_SYS(setgid),
	SCMP_SYS(setgid32), SCMP_SYS(setreuid), SCMP_SYS(setreuid32), SCMP_SYS(setregid),
	SCMP_SYS(setregid32), SCMP_SYS(setresuid), SCMP_SYS(setresuid32), SCMP_SYS(setresgid),
	SCMP_SYS(setresgid32), SCMP_SYS(setfsuid), SCMP_SYS(setfsuid32), SCMP_SYS(setfsgid),
	SCMP_SYS(setfsgid32), SCMP_SYS(setgroups), SCMP_SYS(setgroups32), SCMP_SYS(capset)};

static const int deny_namespaces_and_mounts[] = {SCMP_SYS(unshare), SCMP_SYS(setns),
	SCMP_SYS(chroot), SCMP_SYS(pivot_root), SCMP_SYS(mount), SCMP_SYS(umount),
	SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree), SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr),
	SCMP_SYS(name_to_handle_at), SCMP_SYS(open_by_handle_at), SCMP_SYS(quotactl),
	SCMP_SYS(quotactl_fd), SCMP_SYS(fanotify_init)};

static const int deny_keys[] = {SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key)};

/* Parts of the kernel that made many holes, and io_uring, which passes by this filter. */
static const int deny_kernel[] = {SCMP_SYS(bpf), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(personality),
	SCMP_SYS(modify_ldt), SCMP_SYS(vmsplice), SCMP_SYS(uselib), SCMP_SYS(ustat),
	SCMP_SYS(sysfs), SCMP_SYS(_sysctl), SCMP_SYS(lookup_dcookie), SCMP_SYS(remap_file_pages),
	SCMP_SYS(nfsservctl)};

static const int deny_machine[] = {SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load),
	SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module),
	SCMP_SYS(create_module), SCMP_SYS(reboot), SCMP_SYS(swapon), SCMP_SYS(swapoff),
	SCMP_SYS(acct), SCMP_SYS(syslog), SCMP_SYS(vhangup), SCMP_SYS(sethostname),
	SCMP_SYS(setdomainname), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(settimeofday),
	SCMP_SYS(stime), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex)};

/* ---- the lists of a profile ---- */

enum {
	IN_KEYVAULT = 1u << SANDBOX_KEYVAULT,
	IN_TOOL = 1u << SANDBOX_TOOL,
	IN_CONNECTOR = 1u << SANDBOX_CONNECTOR,
	IN_RUNNER = 1u << SANDBOX_RUNNER,
	WITH_ALLOW_LIST = IN_KEYVAULT | IN_TOOL,
	WITH_DENY_LIST = IN_CONNECTOR | IN_RUNNER,
};

#define LIST(profiles, calls)                                                                      \
	{                                                                                          \
		(profiles), (calls), sizeof(calls) / sizeof((calls)[0])                            \
	}

static const struct call_list {
	unsigned profiles;
	const int *calls;
	size_t count;
} call_lists[] = {LIST(WITH_ALLOW_LIST, allow_memory), LIST(WITH_ALLOW_LIST, allow_threads),
	LIST(WITH_ALLOW_LIST, allow_signals), LIST(WITH_ALLOW_LIST, allow_time),
	LIST(WITH_ALLOW_LIST, allow_facts), LIST(WITH_ALLOW_LIST, allow_descriptors),
	LIST(WITH_ALLOW_LIST, allow_waiting), LIST(WITH_ALLOW_LIST, allow_conversations),
	LIST(IN_KEYVAULT, allow_accept), LIST(IN_KEYVAULT, allow_files),
	LIST(WITH_DENY_LIST, deny_programs), LIST(WITH_DENY_LIST, deny_other_processes),
	LIST(WITH_DENY_LIST, deny_identity), LIST(WITH_DENY_LIST, deny_namespaces_and_mounts),
	LIST(WITH_DENY_LIST, deny_keys), LIST(WITH_DENY_LIST, deny_kernel),
	LIST(WITH_DENY_LIST, deny_machine)};

/* A filter being made.  Rules are added in a straight line; the first failure stays. */
struct filter {
	scmp_filter_ctx ctx;
	uint32_t action;
	int rc;
};

static void add_rule(struct filter *f, int call)
{
	if (f->rc == 0)
		f->rc = seccomp_rule_add(f->ctx, f->action, call, 0);
}

/* For an argument that the kernel takes as 32 bits. */
static void add_rule_equal(struct filter *f, int call, unsigned argument, uint32_t value)
{
	struct scmp_arg_cmp compare = {argument, SCMP_CMP_MASKED_EQ, UINT32_MAX, value};

	if (f->rc == 0)
		f->rc = seccomp_rule_add_array(f->ctx, f->action, call, 1, &compare);
}

static void add_rule_masked(
	struct filter *f, int call, unsigned argument, uint64_t mask, uint64_t value)
{
	struct scmp_arg_cmp compare = {argument, SCMP_CMP_MASKED_EQ, mask, value};

	if (f->rc == 0)
		f->rc = seccomp_rule_add_array(f->ctx, f->action, call, 1, &compare);
}

static void add_call_lists(struct filter *f, enum sandbox_profile profile)
{
	for (size_t i = 0; i < sizeof(call_lists) / sizeof(call_lists[0]); i++) {
		const struct call_list *list = &call_lists[i];
		if ((list->profiles & 1u << profile) == 0)
			continue;
		for (size_t k = 0; k < list->count; k++)
			add_rule(f, list->calls[k]);
	}
}

/* Memory is writable or executable, never both. */
static void allow_write_xor_execute(struct filter *f, int call)
{
	add_rule_masked(f, call, 2, PROT_EXEC, 0);
	add_rule_masked(f, call, 2, PROT_WRITE, 0);
}

static void allow_by_arguments(struct filter *f)
{
	static const uint32_t process_options[] = {
		PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE};

	allow_write_xor_execute(f, SCMP_SYS(mmap));
	allow_write_xor_execute(f, SCMP_SYS(mmap2));
	allow_write_xor_execute(f, SCMP_SYS(mprotect));
	/* threads, not processes */
	add_rule_masked(f, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);
	/* abort, and signals between our own threads */
	add_rule_equal(f, SCMP_SYS(tgkill), 0, (uint32_t)getpid());
	for (size_t i = 0; i < sizeof(process_options) / sizeof(process_options[0]); i++)
		add_rule_equal(f, SCMP_SYS(prctl), 0, process_options[i]);
	/* limits are read, not set */
	add_rule_masked(f, SCMP_SYS(prlimit64), 2, UINT64_MAX, 0);
	add_rule_equal(f, SCMP_SYS(ioctl), 1, FIONBIO);
	add_rule_equal(f, SCMP_SYS(ioctl), 1, FIONREAD);
}

static void deny_by_arguments(struct filter *f)
{
	/* AF_UNIX, AF_INET, AF_INET6, and AF_NETLINK for the resolver; no other family */
	struct scmp_arg_cmp newer = {0, SCMP_CMP_GT, AF_NETLINK, 0};

	for (uint32_t family = 0; family < AF_NETLINK; family++)
		if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
			add_rule_equal(f, SCMP_SYS(socket), 0, family);
	if (f->rc == 0)
		f->rc = seccomp_rule_add_array(f->ctx, f->action, SCMP_SYS(socket), 1, &newer);
	/* new user namespaces bring capabilities, and with them the rest of the kernel */
	add_rule_masked(f, SCMP_SYS(clone), 0, CLONE_NEWUSER, CLONE_NEWUSER);
	/* typing into the terminal of whoever started us */
	add_rule_equal(f, SCMP_SYS(ioctl), 1, TIOCSTI);
	add_rule_equal(f, SCMP_SYS(ioctl), 1, TIOCLINUX);
}

cc_err sandbox_filter_calls(enum sandbox_profile profile)
{
	bool allow_list = (WITH_ALLOW_LIST & 1u << profile) != 0;
	uint32_t refuse = SCMP_ACT_ERRNO(EPERM);
	struct filter f = {.action = allow_list ? SCMP_ACT_ALLOW : refuse};
	cc_err err = CC_OK;

	f.ctx = seccomp_init(allow_list ? refuse : SCMP_ACT_ALLOW);
	if (f.ctx == NULL)
		cc_die("out of memory: seccomp");
	f.rc = seccomp_attr_set(f.ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	add_call_lists(&f, profile);
	if (allow_list)
		allow_by_arguments(&f);
	else
		deny_by_arguments(&f);
	f.action = SCMP_ACT_ERRNO(ENOSYS);
	add_rule(&f, SCMP_SYS(clone3));
	if (f.rc == 0)
		f.rc = seccomp_load(f.ctx);
	if (f.rc != 0) {
		errno = -f.rc;
		err = cc_fail_errno("seccomp");
	}
	seccomp_release(f.ctx);
	return err;
}

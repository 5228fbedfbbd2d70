/*
 * base/sandbox*.c: a child enters a profile, tries what it may and what it may not, and reports by its
 * exit status.  Children leave by _exit: LeakSanitizer cannot do its work behind the walls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/committer.h"
#include "base/file.h"
#include "base/link.h"
#include "base/loop.h"
#include "base/sandbox.h"

#define EXIT_NO_LANDLOCK 77

/* In a child: say what is wrong and give up. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			dprintf(STDERR_FILENO, "line %d: %s (errno %d)\n", __LINE__, #condition,   \
				errno);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
#define CHECK_REFUSED(expr, number)                                                                \
	do {                                                                                       \
		errno = 0;                                                                         \
		CHECK((expr) < 0);                                                                 \
		CHECK(errno == (number));                                                          \
	} while (0)

static char *dir;
static char *state_dir;
static char *readable_file;

static int make_dirs(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	dir = cc_asprintf("%s/cc-sandbox-XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		return -1;
	state_dir = file_join(dir, "state");
	readable_file = file_join(dir, "readable");
	if (mkdir(state_dir, 0700) != 0)
		return -1;
	return file_write_atomic(readable_file, cc_view_text("text"), 0644) == CC_OK ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
	(void)st;
	(void)flag;
	(void)walk;
	return remove(path);
}

static int remove_dirs(void **state)
{
	(void)state;
	int rc = nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(readable_file);
	free(state_dir);
	free(dir);
	return rc;
}

static void run_child(void (*fn)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == EXIT_NO_LANDLOCK) {
		print_message("SKIPPED: this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void enter(enum sandbox_profile profile)
{
	const char *const writable[] = {state_dir, NULL};
	const char *const readable[] = {readable_file, "/no/such/path", NULL};
	int abi = -1;
	bool tool = profile == SANDBOX_TOOL;
	cc_err err = sandbox_enter(profile, tool ? NULL : writable, tool ? NULL : readable, &abi);

	if (err == CC_NOT_SUPPORTED)
		_exit(EXIT_NO_LANDLOCK);
	if (err != CC_OK)
		dprintf(STDERR_FILENO, "sandbox_enter: %s\n", cc_err_detail(err));
	CHECK(err == CC_OK);
	CHECK(abi >= 1);
}

/* ---- the first step ---- */

static void try_early(void)
{
	struct rlimit core;
	int fd = open("/dev/null", O_RDONLY);

	CHECK(dup2(fd, LINK_FD) == LINK_FD);
	CHECK(dup2(fd, 40) == 40);
	sandbox_early(false);
	CHECK(fcntl(LINK_FD, F_GETFD) >= 0);
	CHECK_REFUSED(fcntl(40, F_GETFD), EBADF);
	CHECK_REFUSED(fcntl(LINK_FD + 1, F_GETFD), EBADF);
	CHECK(prctl(PR_GET_DUMPABLE) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
	CHECK(umask(0) == 077);
}

static void early_gives_up_dumps_privileges_and_descriptors(void **state)
{
	(void)state;
	run_child(try_early);
}

static void try_early_dumpable(void)
{
	sandbox_early(true);
	CHECK(prctl(PR_GET_DUMPABLE) == CC_TEST_DUMPABLE);
}

static void only_a_test_build_may_stay_dumpable(void **state)
{
	(void)state;
	run_child(try_early_dumpable);
}

/* ---- user ---- */

static void try_same_user(void)
{
	gid_t group = 54321;
	uid_t uid = geteuid() == 0 ? 12345 : geteuid();

	if (geteuid() == 0)
		CHECK(setgroups(0, NULL) == 0 && setresgid(uid, uid, uid) == 0 &&
			setresuid(uid, uid, uid) == 0);
	CHECK(sandbox_user(uid, getgid(), &group, 1) == CC_OK);
	CHECK(sandbox_user(uid + 1, getgid(), NULL, 0) == CC_PERMISSION);
	CHECK(sandbox_user(uid, getgid() + 1, NULL, 0) == CC_PERMISSION);
}

static void staying_the_same_user_needs_no_privilege(void **state)
{
	(void)state;
	run_child(try_same_user);
}

static void try_change_user(void)
{
	const gid_t groups[] = {12347, 12346};
	gid_t have[8];

	CHECK(sandbox_user(12345, 12346, groups, 2) == CC_OK);
	CHECK(getuid() == 12345 && geteuid() == 12345);
	CHECK(getgid() == 12346 && getegid() == 12346);
	CHECK(getgroups(8, have) == 2);
	CHECK_REFUSED(setuid(0), EPERM);
	CHECK_REFUSED(setgid(0), EPERM);
	CHECK_REFUSED(setgroups(0, NULL), EPERM);
	CHECK(capng_get_caps_process() == 0);
	CHECK(capng_have_capabilities(CAPNG_SELECT_ALL) == CAPNG_NONE);
	CHECK(sandbox_user(12345, 12346, groups, 2) == CC_OK);
}

static void root_becomes_the_user_for_good(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIPPED: changing the user needs root\n");
		skip();
	}
	run_child(try_change_user);
}

static void try_drop_capabilities(void)
{
	CHECK(sandbox_drop_capabilities() == CC_OK);
	CHECK(capng_get_caps_process() == 0);
	CHECK(capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE);
	CHECK_REFUSED(setgroups(0, NULL), EPERM);
	CHECK(sandbox_user(geteuid(), getegid(), NULL, 0) == CC_OK);
}

static void capabilities_go_without_a_change_of_user(void **state)
{
	(void)state;
	run_child(try_drop_capabilities);
}

/* ---- what every profile has in common ---- */

static void check_files(int symlink_error)
{
	char *path = file_join(state_dir, "f");
	char *moved = file_join(state_dir, "sub/g");
	char *sub = file_join(state_dir, "sub");
	char *outside = file_join(dir, "outside");
	char *link_path = file_join(state_dir, "link");
	cc_blob b = CC_BLOB_NONE;

	CHECK(file_write_atomic(path, cc_view_text("x"), 0600) == CC_OK);
	CHECK(file_write_new(path, cc_view_text("x"), 0600) == CC_CONFLICT);
	CHECK(file_make_dir(sub, 0700) == CC_OK);
	CHECK(rename(path, moved) == 0 || errno == EXDEV); /* EXDEV: Landlock ABI 1 */
	CHECK(file_read(readable_file, FILE_ANY, 10, &b) == CC_OK && b.size == 4);
	CHECK_REFUSED(open(readable_file, O_WRONLY), EACCES);
	CHECK_REFUSED(open("/etc/passwd", O_RDONLY), EACCES);
	CHECK_REFUSED(open("/proc/self/status", O_RDONLY), EACCES);
	CHECK_REFUSED(open(outside, O_WRONLY | O_CREAT, 0600), EACCES);
	CHECK_REFUSED(mkdir(outside, 0700), EACCES);
	CHECK_REFUSED(symlink("/etc/passwd", link_path), symlink_error);
}

static void *add_one(void *arg)
{
	cc_secret s = cc_secret_copy(cc_view_text("in a thread"));

	cc_secret_free(&s);
	(*(int *)arg)++;
	return NULL;
}

static void check_threads(void)
{
	pthread_t threads[3];
	int counts[3] = {0};

	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, add_one, &counts[i]) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_join(threads[i], NULL) == 0 && counts[i] == 1);
}

static void check_cryptography(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	cc_secret large = cc_secret_new((size_t)8 << 20);

	CHECK(key != NULL);
	EVP_PKEY_free(key);
	cc_secret_free(&large);
}

static void check_waiting(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
	sigset_t signals;
	int loop = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
	int wake = eventfd(1, EFD_CLOEXEC);

	CHECK(sigemptyset(&signals) == 0 && sigaddset(&signals, SIGTERM) == 0);
	CHECK(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
	int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	CHECK(loop >= 0 && timer >= 0 && wake >= 0 && signal_fd >= 0);
	CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
	CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, wake, &event) == 0);
	CHECK(epoll_wait(loop, &event, 1, 1000) == 1);
	CHECK(raise(SIGTERM) == 0);
}

static void check_no_programs_and_no_change_of_identity(void)
{
	char *const arguments[] = {(char *)(uintptr_t) "true", NULL};

	CHECK_REFUSED(execv("/bin/true", arguments), EPERM);
	CHECK_REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM);
	CHECK_REFUSED(syscall(SYS_process_vm_readv, getppid(), NULL, 0UL, NULL, 0UL, 0UL), EPERM);
	CHECK_REFUSED(unshare(CLONE_NEWUSER), EPERM);
	CHECK_REFUSED(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
	CHECK_REFUSED(syscall(SYS_bpf, 0, NULL, 0), EPERM);
	CHECK_REFUSED(syscall(SYS_io_uring_setup, 1, NULL), EPERM);
	CHECK_REFUSED(syscall(SYS_setresuid, getuid(), getuid(), getuid()), EPERM);
	CHECK_REFUSED(syscall(SYS_setgroups, 0, NULL), EPERM);
	CHECK_REFUSED(syscall(SYS_chroot, "/"), EPERM);
	CHECK_REFUSED(syscall(SYS_mount, NULL, "/", NULL, 0, NULL), EPERM);
}

static void check_no_new_sockets(void)
{
	CHECK_REFUSED(socket(AF_INET, SOCK_STREAM, 0), EPERM);
	CHECK_REFUSED(socket(AF_INET6, SOCK_DGRAM, 0), EPERM);
	CHECK_REFUSED(socket(AF_UNIX, SOCK_STREAM, 0), EPERM);
	CHECK_REFUSED(socket(AF_NETLINK, SOCK_RAW, 0), EPERM);
}

/* ---- keyvault ---- */

static int listener = -1;
static int client = -1;

static void make_listener(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/admin.sock", dir);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(listen(listener, 1) == 0);
	CHECK(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0);
}

static void try_keyvault_files(void)
{
	enter(SANDBOX_KEYVAULT);
	check_files(EPERM);
}

static void the_keyvault_reaches_its_state_and_nothing_else(void **state)
{
	(void)state;
	run_child(try_keyvault_files);
}

static void try_keyvault_storage(void)
{
	char *path = file_join(state_dir, "data.mdb");
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

	enter(SANDBOX_KEYVAULT);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK(flock(fd, LOCK_EX | LOCK_NB) == 0);
	CHECK(fcntl(fd, F_SETLK, &lock) == 0);
	CHECK(ftruncate(fd, 8192) == 0);
	CHECK(pwrite(fd, "x", 1, 4096) == 1);
	CHECK(fdatasync(fd) == 0);
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED && map[4096] == 'x');
	CHECK(msync(map, 8192, MS_SYNC) == 0);
	CHECK(munmap(map, 8192) == 0);
}

static void the_keyvault_can_do_what_its_database_does(void **state)
{
	(void)state;
	run_child(try_keyvault_storage);
}

static cc_err put_one(struct db *d, MDB_txn *txn, void *arg)
{
	(void)arg;
	return db_put(d, txn, 0, cc_view_text("key"), cc_view_text("value"));
}

static cc_err committed = CC_AGAIN;

static void stop_after_commit(void *arg, cc_err err)
{
	committed = err;
	loop_stop(arg);
}

static void stop_on_fatal(void *arg, cc_err err)
{
	stop_after_commit(arg, err);
}

static void on_signal(void *arg, int number)
{
	(void)arg;
	(void)number;
}

/* All of it behind the walls: loop, database, committer and its thread. */
static void try_keyvault_committer(void)
{
	const char *const names[] = {"devices"};
	const int signals[] = {SIGTERM};
	char *path = file_join(state_dir, "db");
	struct committer *committer = NULL;
	struct loop *loop = NULL;
	struct db *d = NULL;

	enter(SANDBOX_KEYVAULT);
	CHECK(loop_new(&loop) == CC_OK);
	CHECK(loop_signals(loop, signals, 1, on_signal, NULL) == CC_OK);
	CHECK(db_open(path, (uint64_t)1 << 30, names, 1, &d) == CC_OK);
	CHECK(committer_start(d, loop, stop_on_fatal, loop, &committer) == CC_OK);
	committer_submit(committer, put_one, stop_after_commit, loop);
	loop_run(loop);
	CHECK(committed == CC_OK);
	CHECK(db_used_bytes(d) > 0);
	committer_stop(committer);
	db_close(d);
}

static void the_keyvault_can_commit(void **state)
{
	(void)state;
	run_child(try_keyvault_committer);
}

static void try_keyvault_work(void)
{
	enter(SANDBOX_KEYVAULT);
	check_threads();
	check_cryptography();
	check_waiting();
	int fd = -1;
	CHECK(file_memfd("m", cc_view_text("x"), &fd) == CC_OK);
}

static void the_keyvault_can_work_with_threads_keys_and_timers(void **state)
{
	(void)state;
	run_child(try_keyvault_work);
}

static void try_keyvault_conversations(void)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	char byte = 0;
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	make_listener();
	enter(SANDBOX_KEYVAULT);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0);
	CHECK(peer.uid == geteuid() && peer.pid == getpid());
	CHECK(send(client, "x", 1, MSG_NOSIGNAL) == 1);
	CHECK(recvmsg(fd, &message, 0) == 1 && byte == 'x');
	CHECK(sendmsg(fd, &message, MSG_NOSIGNAL) == 1);
	CHECK(shutdown(fd, SHUT_RDWR) == 0);
}

static void the_keyvault_accepts_on_the_socket_that_it_was_given(void **state)
{
	(void)state;
	run_child(try_keyvault_conversations);
}

static void try_keyvault_network(void)
{
	struct sockaddr_in loopback = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(fd >= 0);
	enter(SANDBOX_KEYVAULT);
	check_no_new_sockets();
	CHECK_REFUSED(connect(fd, (struct sockaddr *)&loopback, sizeof(loopback)), EPERM);
	CHECK_REFUSED(bind(fd, (struct sockaddr *)&loopback, sizeof(loopback)), EPERM);
	CHECK_REFUSED(listen(fd, 1), EPERM);
}

static void the_keyvault_has_no_network(void **state)
{
	(void)state;
	run_child(try_keyvault_network);
}

static void try_keyvault_escape(void)
{
	struct rlimit limit = {64, 64};
	const int both = PROT_READ | PROT_WRITE | PROT_EXEC;

	enter(SANDBOX_KEYVAULT);
	check_no_programs_and_no_change_of_identity();
	CHECK_REFUSED(fork(), EPERM);
	CHECK_REFUSED(kill(getppid(), 0), EPERM);
	CHECK_REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0), EPERM);
	CHECK_REFUSED(setrlimit(RLIMIT_NOFILE, &limit), EPERM);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK_REFUSED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM);
	CHECK(mmap(NULL, 4096, both, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK_REFUSED(mprotect(page, 4096, both), EPERM);
	CHECK(mprotect(page, 4096, PROT_NONE) == 0);
}

static void the_keyvault_starts_signals_and_traces_nothing(void **state)
{
	(void)state;
	run_child(try_keyvault_escape);
}

/* ---- tool ---- */

static void try_tool(void)
{
	char bytes[8];
	int fd = open(readable_file, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	enter(SANDBOX_TOOL);
	CHECK(pread(fd, bytes, sizeof(bytes), 0) == 4);
	CHECK_REFUSED(open(readable_file, O_RDONLY), EPERM);
	CHECK_REFUSED(open("/etc/passwd", O_RDONLY), EPERM);
	check_no_new_sockets();
	check_no_programs_and_no_change_of_identity();
	CHECK_REFUSED(accept4(fd, NULL, NULL, 0), EPERM);
	check_threads();
	check_cryptography();
}

static void a_tool_has_only_what_is_open(void **state)
{
	(void)state;
	run_child(try_tool);
}

/* ---- connector and runner ---- */

static void check_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(server >= 0 && fd >= 0);
	CHECK(bind(server, (struct sockaddr *)&address, size) == 0 && listen(server, 1) == 0);
	CHECK(getsockname(server, (struct sockaddr *)&address, &size) == 0);
	CHECK(connect(fd, (struct sockaddr *)&address, size) == 0);
}

static void check_networked(enum sandbox_profile profile)
{
	enter(profile);
	check_files(EACCES);
	check_threads();
	check_cryptography();
	check_waiting();
	check_loopback();
	check_no_programs_and_no_change_of_identity();
	CHECK_REFUSED(socket(AF_PACKET, SOCK_RAW, 0), EPERM);
	CHECK_REFUSED(socket(AF_VSOCK, SOCK_STREAM, 0), EPERM);
	CHECK_REFUSED(socket(AF_ALG, SOCK_SEQPACKET, 0), EPERM);
	CHECK_REFUSED(socket(AF_AX25, SOCK_STREAM, 0), EPERM);
	CHECK(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
}

static void try_connector(void)
{
	check_networked(SANDBOX_CONNECTOR);
}

static void try_runner(void)
{
	check_networked(SANDBOX_RUNNER);
}

static void the_connector_reaches_the_network_and_its_state(void **state)
{
	(void)state;
	run_child(try_connector);
}

static void a_runner_reaches_the_network_and_its_state(void **state)
{
	(void)state;
	run_child(try_runner);
}

/* ---- mistakes of the caller ---- */

static void *wait_for_end(void *arg)
{
	char byte;

	(void)!read(*(int *)arg, &byte, 1);
	return NULL;
}

static void try_threads_before(void)
{
	int ends[2];
	int abi = -1;
	pthread_t thread;

	sandbox_early(false);
	CHECK(pipe(ends) == 0);
	CHECK(pthread_create(&thread, NULL, wait_for_end, &ends[0]) == 0);
	CHECK(sandbox_enter(SANDBOX_RUNNER, NULL, NULL, &abi) == CC_INTERNAL);
	CHECK(abi == -1);
	CHECK(close(ends[1]) == 0 && pthread_join(thread, NULL) == 0);
}

static void walls_are_refused_when_a_thread_would_stay_outside(void **state)
{
	(void)state;
	run_child(try_threads_before);
}

static void try_missing_state(void)
{
	const char *const writable[] = {"/no/such/directory", NULL};
	int abi = -1;
	cc_err err = sandbox_enter(SANDBOX_KEYVAULT, writable, NULL, &abi);

	if (err == CC_NOT_SUPPORTED)
		_exit(EXIT_NO_LANDLOCK);
	CHECK(err == CC_NOT_FOUND);
	CHECK(strcmp(cc_err_detail(err), "/no/such/directory: No such file or directory") == 0);
}

static void a_state_directory_has_to_exist(void **state)
{
	(void)state;
	run_child(try_missing_state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(early_gives_up_dumps_privileges_and_descriptors),
		cmocka_unit_test(only_a_test_build_may_stay_dumpable),
		cmocka_unit_test(staying_the_same_user_needs_no_privilege),
		cmocka_unit_test(root_becomes_the_user_for_good),
		cmocka_unit_test(capabilities_go_without_a_change_of_user),
		cmocka_unit_test(the_keyvault_reaches_its_state_and_nothing_else),
		cmocka_unit_test(the_keyvault_can_do_what_its_database_does),
		cmocka_unit_test(the_keyvault_can_commit),
		cmocka_unit_test(the_keyvault_can_work_with_threads_keys_and_timers),
		cmocka_unit_test(the_keyvault_accepts_on_the_socket_that_it_was_given),
		cmocka_unit_test(the_keyvault_has_no_network),
		cmocka_unit_test(the_keyvault_starts_signals_and_traces_nothing),
		cmocka_unit_test(a_tool_has_only_what_is_open),
		cmocka_unit_test(the_connector_reaches_the_network_and_its_state),
		cmocka_unit_test(a_runner_reaches_the_network_and_its_state),
		cmocka_unit_test(walls_are_refused_when_a_thread_would_stay_outside),
		cmocka_unit_test(a_state_directory_has_to_exist),
	};

	return cmocka_run_group_tests(tests, make_dirs, remove_dirs);
}

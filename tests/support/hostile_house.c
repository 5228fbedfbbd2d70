/*
 * The supervisor's part, as plainly as it can be written: blocking, one packet at a time, with the same
 * link, greeting and messages as the real one but none of its code.
 */
#include "tests/support/hostile_house.h"
#include "tests/support/hostile_files.h"
#include "base/chan.h"
#include "base/file.h"
#include "base/link.h"
#include "base/log.h"
#include "base/role.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "proto/role_link.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char *borrow(const char *text)
{
	return (char *)(uintptr_t)text; /* protobuf-c wants char *, and writes to none of it */
}

/* ---- programs ---- */

static void exec_daemon(char **arguments)
{
	const char *build = getenv("CC_BUILD_DIR");
	char *program = cc_asprintf("%s/connector/certconnectord", build ? build : ".");

	/* a sandboxed process cannot be searched for leaks: the search hangs */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	execv(program, arguments);
	fprintf(stderr, "house: %s cannot be run; CC_BUILD_DIR names the build\n", program);
	_exit(EXIT_FAILED);
}

static void run_init_ca(const struct house *h, const char *ca)
{
	char *config = hostile_files_path(h, "connector.yaml");
	char *arguments[] = {borrow("certconnectord"), borrow("--config"), config,
		borrow("--init-ca"), borrow(ca), borrow("--key"), borrow("ec-p256"), NULL};
	int status = -1;
	pid_t pid = fork();

	NEED(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			dup2(null, STDOUT_FILENO);
		exec_daemon(arguments);
	}
	NEED(waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
		WEXITSTATUS(status) == EXIT_OK);
	free(config);
}

static void exec_role(int link, Role__RoleKind kind)
{
	char *arguments[] = {borrow("certconnectord"), borrow(ROLE_OPTION),
		borrow(greeting_role_name(kind)), NULL};

	if (link == LINK_FD)
		fcntl(link, F_SETFD, 0);
	else if (dup2(link, LINK_FD) < 0)
		_exit(EXIT_FAILED);
	close_range(LINK_FD + 1, ~0U, 0);
	exec_daemon(arguments);
}

static void spawn(struct house_role *role)
{
	const struct timeval limit = {.tv_sec = HOUSE_WAIT_MS / 1000};
	int pair[2];

	NEED_OK(link_pair(pair));
	NEED(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
	role->pid = fork();
	NEED(role->pid >= 0);
	if (role->pid == 0)
		exec_role(pair[1], role->kind);
	close(pair[1]);
	role->link = pair[0];
}

/* ---- the link ---- */

static void tell(
	const struct house_role *role, const Role__LinkMessage *m, const int *fds, size_t count)
{
	cc_blob packet = codec_pack(m);

	NEED_OK(link_send(role->link, cc_blob_view(&packet), fds, count));
	cc_blob_free(&packet);
}

/* `fds` are the supervisor's to close once they are sent. */
static void send_setup(const struct house_role *role, Role__Setup *setup, int *fds, size_t count)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;

	setup->protocol = ROLE_LINK_PROTOCOL;
	setup->build_id = borrow(HOUSE_BUILD_ID);
	setup->role = role->kind;
	setup->name = borrow(role->name);
	setup->log_format = borrow("logfmt");
	setup->log_level = LOG_WARNING_;
	setup->n_descriptors = count;
	m.body_case = ROLE__LINK_MESSAGE__BODY_SETUP;
	m.setup = setup;
	tell(role, &m, fds, count);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

/* Everything but Ready is for other supervisors. */
static cc_blob await_ready(const struct house_role *role)
{
	cc_blob spki = CC_BLOB_NONE;
	bool ready = false;

	while (!ready) {
		Role__LinkMessage *m = NULL;
		cc_blob packet = CC_BLOB_NONE;
		int fds[LINK_FDS_MAX];
		size_t count = 0;

		NEED_OK(link_receive(role->link, &packet, fds, &count));
		NEED(count == 0);
		NEED_OK(codec_decode(&role__link_message__descriptor, cc_blob_view(&packet),
			LINK_PACKET_MAX, &m));
		ready = m->body_case == ROLE__LINK_MESSAGE__BODY_READY;
		if (ready)
			spki = cc_blob_copy(codec_view(m->ready->approval_spki));
		codec_free(m);
		cc_blob_free(&packet);
	}
	return spki;
}

/* ---- conversations ---- */

void house_converse_as(struct house_role *role, cc_view greeting)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__Conversation c = ROLE__CONVERSATION__INIT;
	int pair[2];

	if (role->talk >= 0)
		close(role->talk);
	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	c.peer = ROLE__ROLE_KIND__ROLE_CONNECTOR;
	c.peer_name = borrow("connector");
	c.peer_pid = (uint32_t)getpid();
	c.serial = ++role->serial;
	m.body_case = ROLE__LINK_MESSAGE__BODY_CONVERSATION;
	m.conversation = &c;
	tell(role, &m, &pair[1], 1);
	close(pair[1]);
	role->talk = pair[0];
	NEED_OK(chan_write_frame(role->talk, greeting, HOUSE_WAIT_MS));
}

void house_converse(struct house_role *role)
{
	cc_blob own = greeting_pack(ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector", HOUSE_BUILD_ID);
	cc_blob theirs = CC_BLOB_NONE;

	house_converse_as(role, cc_blob_view(&own));
	NEED_OK(chan_read_frame(role->talk, GREETING_MAX, HOUSE_WAIT_MS, &theirs));
	NEED_OK(greeting_check(cc_blob_view(&theirs), role->kind, role->name, HOUSE_BUILD_ID));
	cc_blob_free(&own);
	cc_blob_free(&theirs);
}

/* ---- the keyvault ---- */

char *house_admin_path(const struct house *h)
{
	return hostile_files_path(h, "vault-admin.sock");
}

static int listen_admin(const struct house *h)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char *path = house_admin_path(h);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	NEED(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	unlink(path);
	NEED(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
		listen(fd, 4) == 0);
	free(path);
	return fd;
}

static int open_file(const struct house *h, const char *name)
{
	char *path = hostile_files_path(h, name);
	int fd = -1;

	NEED_OK(file_open(path, FILE_SECRET, &fd));
	free(path);
	return fd;
}

static void start_vault(struct house *h)
{
	Role__Setup setup = ROLE__SETUP__INIT;
	Role__VaultSetup vault = ROLE__VAULT_SETUP__INIT;
	char *names[] = {
		borrow("admin-socket"), borrow("master-key"), borrow("policy"), borrow("pins")};
	int fds[] = {listen_admin(h), open_file(h, "master.key"), open_file(h, "policy.yaml"),
		open_file(h, "pins.yaml")};
	char *state = hostile_files_path(h, "state/vault");

	vault.threads = 2;
	setup.vault = &vault;
	setup.state_dir = state;
	setup.descriptors = names;
	spawn(&h->vault);
	send_setup(&h->vault, &setup, fds, 4);
	cc_blob spki = await_ready(&h->vault);
	/* a keyvault that comes back is the same one */
	NEED(h->approval_spki.size == 0 ||
		cc_view_equal(cc_blob_view(&spki), cc_blob_view(&h->approval_spki)));
	cc_blob_free(&h->approval_spki);
	h->approval_spki = spki;
	house_converse(&h->vault);
	free(state);
}

void house_refuse_pid(struct house *h, pid_t pid)
{
	Role__LinkMessage m = ROLE__LINK_MESSAGE__INIT;
	Role__RolePids pids = ROLE__ROLE_PIDS__INIT;
	uint32_t list[] = {(uint32_t)h->vault.pid, (uint32_t)pid};

	pids.pids = list;
	pids.n_pids = 2;
	m.body_case = ROLE__LINK_MESSAGE__BODY_ROLE_PIDS;
	m.role_pids = &pids;
	tell(&h->vault, &m, NULL, 0);
}

/* ---- runners ---- */

static void start_runner(struct house *h, struct house_role *role, cc_view approval_spki)
{
	Role__Setup setup = ROLE__SETUP__INIT;
	Role__RunnerSetup runner = ROLE__RUNNER_SETUP__INIT;
	Role__Option options[3] = {ROLE__OPTION__INIT, ROLE__OPTION__INIT, ROLE__OPTION__INIT};
	const char *const texts[3][2] = {{"templates.user.eku", HOSTILE_EKU},
		{"templates.user.key_usage", HOSTILE_USAGE},
		{"templates.user.max_validity", HOSTILE_VALIDITY}};
	Role__Option *list[3];
	char *names[] = {borrow("approval-key"), borrow("ca-secret")};
	char *secret = cc_asprintf("ca.d/%s.secret", role->name);
	char *state = cc_asprintf("%s/state/ca/%s", h->dir, role->name);
	int fds[2] = {-1, open_file(h, secret)};

	NEED_OK(file_memfd("approval-key", approval_spki, &fds[0]));
	for (size_t i = 0; i < 3; i++) {
		options[i].name = borrow(texts[i][0]);
		options[i].value = borrow(texts[i][1]);
		list[i] = &options[i];
	}
	runner.ca_name = borrow(role->name);
	runner.backend = borrow("local");
	runner.options = list;
	runner.n_options = 3;
	setup.runner = &runner;
	setup.state_dir = state;
	setup.descriptors = names;
	spawn(role);
	send_setup(role, &setup, fds, 2);
	cc_blob none = await_ready(role);
	NEED(none.size == 0);
	house_converse(role);
	free(secret);
	free(state);
}

static void start_backup(struct house *h)
{
	cc_blob spki = fixture_spki(h->approval);

	start_runner(h, &h->backup, cc_blob_view(&spki));
	cc_blob_free(&spki);
}

/* ---- the lists ---- */

static size_t count_list(const struct house *h, const char *ca)
{
	char *path = cc_asprintf("%s/state/ca/%s/local/issued", h->dir, ca);
	DIR *dir = opendir(path);
	size_t count = 0;

	for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
		size_t size = strlen(e->d_name);
		count += size > 4 && strcmp(e->d_name + size - 4, ".pem") == 0;
	}
	if (dir != NULL)
		closedir(dir);
	free(path);
	return count;
}

size_t house_count_issued(const struct house *h)
{
	return count_list(h, HOUSE_CORP_CA) + count_list(h, HOUSE_BACKUP_CA);
}

/* ---- the house ---- */

void house_open(struct house *h)
{
	*h = (struct house){
		.vault = {ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault", 0, -1, -1, 0},
		.corp = {ROLE__ROLE_KIND__ROLE_CA_RUNNER, HOUSE_CORP_CA, 0, -1, -1, 0},
		.backup = {ROLE__ROLE_KIND__ROLE_CA_RUNNER, HOUSE_BACKUP_CA, 0, -1, -1, 0},
	};
	fixture_tenant_make(&h->tenant, HOUSE_TENANT);
	fixture_ca_make(&h->test_ca, "Test CA");
	h->approval = fixture_key("ed25519");
	hostile_files_dir(h);
	hostile_files_configuration(h);
	run_init_ca(h, HOUSE_CORP_CA);
	run_init_ca(h, HOUSE_BACKUP_CA);
	hostile_files_policy(h);
	hostile_files_pins(h);
	start_vault(h);
	start_runner(h, &h->corp, cc_blob_view(&h->approval_spki));
	start_backup(h);
}

static int end(struct house_role *role)
{
	int status = -1;

	close(role->talk);
	close(role->link);
	NEED(waitpid(role->pid, &status, 0) == role->pid);
	role->talk = role->link = -1;
	role->pid = 0;
	return status;
}

void house_kill(struct house *h, struct house_role *role)
{
	NEED(kill(role->pid, SIGKILL) == 0);
	end(role);
	if (role == &h->vault)
		start_vault(h);
	else if (role == &h->corp)
		start_runner(h, role, cc_blob_view(&h->approval_spki));
	else
		start_backup(h);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st;
	(void)type;
	(void)walk;
	return remove(path);
}

void house_close(struct house *h)
{
	struct house_role *const roles[] = {&h->vault, &h->corp, &h->backup};

	for (size_t i = 0; i < 3; i++) {
		int status = end(roles[i]);
		NEED(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_OK);
	}
	NEED(nftw(h->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
	fixture_tenant_clear(&h->tenant);
	fixture_ca_clear(&h->test_ca);
	EVP_PKEY_free(h->approval);
	cc_blob_free(&h->approval_spki);
	free(h->dir);
}

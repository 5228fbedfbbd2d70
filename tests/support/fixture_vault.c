/*
 * Around the keyvault.  The child is a fork of the test that moves its end of the link to descriptor 3
 * and calls the role, so that sanitizers see it; it leaves by _exit, behind the leak checker's back, which
 * cannot run inside the walls.
 */
#include "tests/support/fixture_vault.h"
#include "base/chan.h"
#include "base/file.h"
#include "base/link.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include "proto/role_link.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS  30000
#define BUILD_ID "test-build"

#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "fixture: %s:%d: %s\n", __FILE__, __LINE__, #condition);   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* ---- files ---- */

static const char *const policy_lines[] = {
	"version: 1",
	"revision: 7",
	"report_detail: code",
	"max_job_lifetime: 72h",
	"device_keys: any_signed",
	"pinned_limits: {per_user_per_day: 2, per_tenant_per_day: 10}",
	"limits: {issue_per_hour: 0, rewrap_per_hour: 0}",
	"ca_profiles: {corp-user: {cas: [corp-ca, backup-ca], template: user-template, templates: "
	"{vpn: vpn-template}, key_types: [rsa-2048, ec-p256], eku: [1.3.6.1.5.5.7.3.2, "
	"1.3.6.1.5.5.7.3.4], default_eku: [1.3.6.1.5.5.7.3.2], key_usage: [digitalSignature, "
	"keyEncipherment], max_validity: 365d, default_validity: 90d, san: {email: [contoso.com], "
	"upn: "
	"[contoso.com], dns: [corp.contoso.com]}, seal: cms-auth, seals: [cms-auth, oaep-sha256]}}",
	"rewrap: {purposes: [smimeEncryption], seals: [cms-auth, oaep-sha256]}",
};

static size_t key_size(const char *line)
{
	return strcspn(line, ":");
}

char *fixture_vault_policy(const char *line)
{
	cc_blob text = CC_BLOB_NONE;

	for (size_t i = 0; i < sizeof(policy_lines) / sizeof(policy_lines[0]); i++) {
		bool replaced = line != NULL && key_size(line) == key_size(policy_lines[i]) &&
				strncmp(line, policy_lines[i], key_size(line)) == 0;
		if (!replaced)
			cc_blob_printf(&text, "%s\n", policy_lines[i]);
	}
	if (line != NULL)
		cc_blob_printf(&text, "%s\n", line);
	char *copy = cc_strdup(cc_blob_text(&text));
	cc_blob_free(&text);
	return copy;
}

static void put_block(cc_blob *text, const char *pem, const char *indent)
{
	cc_blob_printf(text, "|\n");
	while (*pem != '\0') {
		size_t size = strcspn(pem, "\n");

		cc_blob_printf(text, "%s%.*s\n", indent, (int)size, pem);
		pem += size + (pem[size] == '\n');
	}
}

char *fixture_vault_pins(const struct fixture_vault *v)
{
	char *job_root = fixture_root_pem(&v->tenant);
	char *ca = fixture_ca_pem(&v->ca);
	cc_blob text = CC_BLOB_NONE;

	cc_blob_printf(
		&text, "tenant: %s\nconnector_id: hq-1\ngroups: [hq]\njob_root: ", v->tenant.name);
	put_block(&text, job_root, "  ");
	cc_blob_printf(&text, "cas:\n  corp-ca:\n    roots:\n      - ");
	put_block(&text, ca, "        ");
	char *copy = cc_strdup(cc_blob_text(&text));
	cc_blob_free(&text);
	free(job_root);
	free(ca);
	return copy;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void fixture_vault_prepare(struct fixture_vault *v, int (*role_main)(void))
{
	*v = (struct fixture_vault){.role_main = role_main,
		.link = -1,
		.conversation = -1,
		.listener = -1,
		.threads = 2};
	NEED((size_t)snprintf(v->dir, sizeof(v->dir), "/tmp/vault-XXXXXX") < sizeof(v->dir));
	NEED(mkdtemp(v->dir) != NULL);
	random_bytes(v->master, sizeof(v->master));
	fixture_tenant_make(&v->tenant, "contoso");
	fixture_ca_make(&v->ca, "Contoso Root");
	v->policy = fixture_vault_policy(NULL);
	v->pins = fixture_vault_pins(v);
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop_session(struct fixture_vault *v)
{
	close_one(&v->link);
	close_one(&v->conversation);
	close_one(&v->listener);
	cc_blob_free(&v->approval_spki);
	cc_blob_free(&v->result_spki);
	cc_blob_free(&v->decrypt_spki);
	cc_blob_free(&v->decrypt_id);
	v->serial = 0;
	v->pid = 0;
}

void fixture_vault_clear(struct fixture_vault *v)
{
	if (v->pid > 0)
		NEED(fixture_vault_stop(v) == 0); /* a sanitizer's complaint shows here */
	drop_session(v);
	nftw(v->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	fixture_tenant_clear(&v->tenant);
	fixture_ca_clear(&v->ca);
	cc_blob_free(&v->decisions);
	free(v->policy);
	free(v->pins);
	*v = (struct fixture_vault){0};
}

/* ---- the supervisor's part ---- */

static void link_say(
	struct fixture_vault *v, const Role__LinkMessage *message, const int *fds, size_t count)
{
	cc_blob packet = codec_pack(message);

	NEED(link_send(v->link, cc_blob_view(&packet), fds, count) == CC_OK);
	cc_blob_free(&packet);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

static int listen_admin(struct fixture_vault *v)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	NEED(fd >= 0);
	NEED((size_t)snprintf(at.sun_path, sizeof(at.sun_path), "%s/admin.sock", v->dir) <
		sizeof(at.sun_path));
	unlink(at.sun_path);
	NEED(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 8) == 0);
	return fd;
}

struct passed {
	char *names[4];
	int fds[4];
	size_t count;
};

static void pass(struct passed *p, const char *name, int fd)
{
	p->names[p->count] = (char *)(uintptr_t)name;
	p->fds[p->count++] = fd;
}

static void pass_text(struct passed *p, const char *name, const char *text)
{
	int fd = -1;

	if (text == NULL)
		return;
	NEED(file_memfd(name, cc_view_text(text), &fd) == CC_OK);
	pass(p, name, fd);
}

static void say_setup(struct fixture_vault *v)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Setup setup = ROLE__SETUP__INIT;
	Role__VaultSetup vault = ROLE__VAULT_SETUP__INIT;
	struct passed p = {0};
	int fd = -1;

	NEED(file_memfd("master-key", cc_view_of(v->master, sizeof(v->master)), &fd) == CC_OK);
	pass(&p, "master-key", fd);
	pass(&p, "admin-socket", dup(v->listener));
	pass_text(&p, "policy", v->policy);
	pass_text(&p, "pins", v->pins);
	char *state_dir = file_join(v->dir, "vault");
	NEED(file_make_dir(state_dir, 0700) == CC_OK);
	setup.protocol = ROLE_LINK_PROTOCOL;
	setup.build_id = (char *)(uintptr_t)BUILD_ID;
	setup.role = ROLE__ROLE_KIND__ROLE_KEYVAULT;
	setup.name = (char *)(uintptr_t) "keyvault";
	setup.state_dir = state_dir;
	setup.log_format = (char *)(uintptr_t) "logfmt";
	setup.log_level = 2;
	setup.n_descriptors = p.count;
	setup.descriptors = p.names;
	vault.threads = v->threads;
	vault.pool_rsa_2048 = v->pool;
	setup.vault = &vault;
	message.body_case = ROLE__LINK_MESSAGE__BODY_SETUP;
	message.setup = &setup;
	link_say(v, &message, p.fds, p.count);
	free(state_dir);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, WAIT_MS) == 1;
}

/* Messages of the role until Ready comes. */
static void wait_ready(struct fixture_vault *v)
{
	bool ready = false;

	while (!ready) {
		Role__LinkMessage *message = NULL;
		cc_blob packet = CC_BLOB_NONE;
		int fds[LINK_FDS_MAX];
		size_t count = 0;

		NEED(readable(v->link));
		NEED(link_receive(v->link, &packet, fds, &count) == CC_OK);
		NEED(codec_decode(&role__link_message__descriptor, cc_blob_view(&packet),
			     LINK_PACKET_MAX, &message) == CC_OK);
		if (message->body_case == ROLE__LINK_MESSAGE__BODY_READY) {
			v->approval_spki = cc_blob_copy(codec_view(message->ready->approval_spki));
			ready = true;
		}
		codec_free(message);
		cc_blob_free(&packet);
	}
}

static void read_list(struct fixture_vault *v)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__ListPublic list = VAULT__LIST_PUBLIC__INIT;

	request.op_case = VAULT__VAULT_REQUEST__OP_LIST_PUBLIC;
	request.list_public = &list;
	Vault__VaultAnswer *answer = fixture_vault_ask(v, &request);
	NEED(answer->answer_case == VAULT__VAULT_ANSWER__ANSWER_LIST);
	for (size_t i = 0; i < answer->list->n_keys; i++) {
		const Vault__NamedPublicKey *key = answer->list->keys[i];

		if (key->current && text_equal(codec_view(key->use), "result"))
			v->result_spki = cc_blob_copy(codec_view(key->spki));
		if (key->current && text_equal(codec_view(key->use), "decrypt")) {
			v->decrypt_spki = cc_blob_copy(codec_view(key->spki));
			v->decrypt_id = cc_blob_copy(codec_view(key->key_id));
		}
	}
	codec_free(answer);
}

static void child(int end, int (*role_main)(void))
{
	NEED(dup2(end, LINK_FD) == LINK_FD);
	_exit(role_main());
}

void fixture_vault_start(struct fixture_vault *v)
{
	int ends[2];

	NEED(link_pair(ends) == CC_OK);
	v->listener = listen_admin(v);
	v->pid = fork();
	NEED(v->pid >= 0);
	if (v->pid == 0)
		child(ends[1], v->role_main);
	close(ends[1]);
	v->link = ends[0];
	say_setup(v);
	wait_ready(v);
	fixture_vault_converse(v);
	read_list(v);
}

static int wait_child(struct fixture_vault *v)
{
	int status = 0;

	NEED(waitpid(v->pid, &status, 0) == v->pid);
	drop_session(v);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int fixture_vault_stop(struct fixture_vault *v)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Stop stop = ROLE__STOP__INIT;

	stop.grace_ms = 5000;
	message.body_case = ROLE__LINK_MESSAGE__BODY_STOP;
	message.stop = &stop;
	link_say(v, &message, NULL, 0);
	return wait_child(v);
}

void fixture_vault_kill(struct fixture_vault *v)
{
	NEED(kill(v->pid, SIGKILL) == 0);
	wait_child(v);
}

void fixture_vault_converse(struct fixture_vault *v)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Conversation conversation = ROLE__CONVERSATION__INIT;
	cc_blob greeting = greeting_pack(ROLE__ROLE_KIND__ROLE_CONNECTOR, "connector", BUILD_ID);
	cc_blob answer = CC_BLOB_NONE;
	int ends[2];

	close_one(&v->conversation);
	NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	v->conversation = ends[0];
	conversation.peer = ROLE__ROLE_KIND__ROLE_CONNECTOR;
	conversation.peer_name = (char *)(uintptr_t) "connector";
	conversation.peer_pid = (uint32_t)getpid();
	conversation.serial = ++v->serial;
	message.body_case = ROLE__LINK_MESSAGE__BODY_CONVERSATION;
	message.conversation = &conversation;
	link_say(v, &message, &ends[1], 1);
	NEED(chan_write_frame(v->conversation, cc_blob_view(&greeting), WAIT_MS) == CC_OK);
	NEED(chan_read_frame(v->conversation, GREETING_MAX, WAIT_MS, &answer) == CC_OK);
	NEED(greeting_check(cc_blob_view(&answer), ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault",
		     BUILD_ID) == CC_OK);
	cc_blob_free(&greeting);
	cc_blob_free(&answer);
}

void fixture_vault_reload(struct fixture_vault *v)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__Files files = ROLE__FILES__INIT;
	struct passed p = {0};

	pass_text(&p, "policy", v->policy);
	pass_text(&p, "pins", v->pins);
	files.n_descriptors = p.count;
	files.descriptors = p.names;
	message.body_case = ROLE__LINK_MESSAGE__BODY_FILES;
	message.files = &files;
	link_say(v, &message, p.fds, p.count);
}

void fixture_vault_refuse_pid(struct fixture_vault *v, pid_t pid)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__RolePids pids = ROLE__ROLE_PIDS__INIT;
	uint32_t one = (uint32_t)pid;

	pids.n_pids = 1;
	pids.pids = &one;
	message.body_case = ROLE__LINK_MESSAGE__BODY_ROLE_PIDS;
	message.role_pids = &pids;
	link_say(v, &message, NULL, 0);
}

/* ---- the connector's part ---- */

Vault__VaultAnswer *fixture_vault_next(struct fixture_vault *v)
{
	Vault__VaultAnswer *answer = NULL;
	cc_blob frame = CC_BLOB_NONE;

	if (chan_read_frame(v->conversation, CHAN_FRAME_MAX, WAIT_MS, &frame) != CC_OK)
		return NULL;
	NEED(codec_decode(&vault__vault_answer__descriptor, cc_blob_view(&frame), CHAN_FRAME_MAX,
		     &answer) == CC_OK);
	for (size_t i = 0; i < answer->n_decisions; i++)
		cc_blob_append_u64(&v->decisions, answer->decisions[i]->counter);
	cc_blob_free(&frame);
	return answer;
}

Vault__VaultAnswer *fixture_vault_ask(struct fixture_vault *v, Vault__VaultRequest *request)
{
	request->request_id = ++v->ids;
	cc_blob frame = codec_pack(request);
	NEED(chan_write_frame(v->conversation, cc_blob_view(&frame), WAIT_MS) == CC_OK);
	cc_blob_free(&frame);
	for (;;) {
		Vault__VaultAnswer *answer = fixture_vault_next(v);

		NEED(answer != NULL);
		if (answer->request_id == request->request_id)
			return answer;
		NEED(answer->request_id == 0);
		codec_free(answer);
	}
}

bool fixture_vault_hangs_up(struct fixture_vault *v, cc_view frame)
{
	NEED(chan_write_frame(v->conversation, frame, WAIT_MS) == CC_OK);
	for (;;) {
		cc_blob answer = CC_BLOB_NONE;
		cc_err err = chan_read_frame(v->conversation, CHAN_FRAME_MAX, WAIT_MS, &answer);

		cc_blob_free(&answer);
		if (err != CC_OK)
			return err == CC_CLOSED;
	}
}

Vault__AdminAnswer *fixture_vault_admin(struct fixture_vault *v, Vault__AdminRequest *request)
{
	char *path = file_join(v->dir, "admin.sock");
	Vault__AdminAnswer *answer = NULL;
	cc_blob frame = codec_pack(request), reply = CC_BLOB_NONE;
	int fd = -1;

	NEED(chan_connect_path(path, WAIT_MS, &fd) == CC_OK);
	if (chan_write_frame(fd, cc_blob_view(&frame), WAIT_MS) == CC_OK &&
		chan_read_frame(fd, CHAN_FRAME_MAX, WAIT_MS, &reply) == CC_OK)
		NEED(codec_decode(&vault__admin_answer__descriptor, cc_blob_view(&reply),
			     CHAN_FRAME_MAX, &answer) == CC_OK);
	close(fd);
	cc_blob_free(&frame);
	cc_blob_free(&reply);
	free(path);
	return answer;
}

Vault__VaultAnswer *fixture_vault_begin(struct fixture_vault *v, const struct fixture_job *job)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__BeginIssue begin = VAULT__BEGIN_ISSUE__INIT;
	uint8_t id[JOB_ID_SIZE];

	begin.job = fixture_sign(&v->tenant, job, id);
	begin.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	begin.signer = v->tenant.statement;
	request.op_case = VAULT__VAULT_REQUEST__OP_BEGIN_ISSUE;
	request.begin_issue = &begin;
	Vault__VaultAnswer *answer = fixture_vault_ask(v, &request);
	codec_free(begin.job);
	return answer;
}

Vault__VaultAnswer *fixture_vault_finish(
	struct fixture_vault *v, cc_view ticket, const char *ca, cc_view leaf)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__FinishIssue finish = VAULT__FINISH_ISSUE__INIT;
	ProtobufCBinaryData chain[1] = {codec_bytes(leaf)};

	finish.ticket = codec_bytes(ticket);
	finish.ca = codec_text(ca);
	finish.n_chain = 1;
	finish.chain = chain;
	request.op_case = VAULT__VAULT_REQUEST__OP_FINISH_ISSUE;
	request.finish_issue = &finish;
	return fixture_vault_ask(v, &request);
}

Vault__VaultAnswer *fixture_vault_rewrap(
	struct fixture_vault *v, const struct fixture_job *job, cc_view pfx, cc_view password)
{
	Vault__VaultRequest request = VAULT__VAULT_REQUEST__INIT;
	Vault__Rewrap rewrap = VAULT__REWRAP__INIT;
	ProtobufCBinaryData passwords[1] = {codec_bytes(password)};
	uint8_t id[JOB_ID_SIZE];

	rewrap.job = fixture_sign(&v->tenant, job, id);
	rewrap.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	rewrap.signer = v->tenant.statement;
	rewrap.pfx = codec_bytes(pfx);
	rewrap.n_passwords = 1;
	rewrap.passwords = passwords;
	request.op_case = VAULT__VAULT_REQUEST__OP_REWRAP;
	request.rewrap = &rewrap;
	Vault__VaultAnswer *answer = fixture_vault_ask(v, &request);
	codec_free(rewrap.job);
	return answer;
}

void fixture_vault_use_policy(struct fixture_vault *v, const char *line)
{
	free(v->policy);
	v->policy = fixture_vault_policy(line);
	fixture_vault_reload(v);
}

/*
 * The keyvault's process: the ritual of a role, what it owns, and the supervisor's messages.
 *
 * Order matters: secrets and stores are opened as the role's own user, the walls go up before a byte
 * from outside is read, threads start behind the walls (a thread takes its walls from the one that made
 * it), and Ready is said when requests can be served.
 */
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/crypt.h"
#include "base/file.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "keyvault/dispatch.h"
#include "keyvault/door_admin.h"
#include "keyvault/door_connector.h"
#include "proto/role_link.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEND_MS       (60 * 1000)   /* the pool */
#define TEND_STATE_MS (3600 * 1000) /* rows, salts */
#define MASTER_MAX    4096
#define THREADS_MAX   64

struct keyvault {
	struct vault vault;
	Role__Setup *setup;
	int fds[LINK_FDS_MAX];
	struct loop_timer *tend, *grace;
	int64_t state_tended_ms;
	bool tending;
	struct state_change tend_change;
	cc_err ended_by; /* CC_OK: an orderly stop */
};

/* ---- house-keeping ---- */

struct salt_walk {
	struct ticket_ring *ring;
	uint32_t numbers[64];
	size_t count;
};

static cc_err take_salt(void *arg, uint64_t number, cc_view row)
{
	struct salt_walk *walk = arg;
	Vault__TicketSalt *salt = NULL;
	cc_err err = CC_OK;

	TRY(codec_decode(&vault__ticket_salt__descriptor, row, 4096, &salt));
	ENSURE(number > 0 && number <= UINT32_MAX && walk->count < 64,
		cc_fail(CC_CORRUPT, "ticket salts: number %llu", (unsigned long long)number));
	TRY(ticket_ring_add(walk->ring, (uint32_t)number, codec_view(salt->salt)));
	walk->numbers[walk->count++] = (uint32_t)number;
out:
	codec_free(salt);
	return err;
}

static cc_err load_salts(struct vault *v)
{
	struct salt_walk walk = {.ring = v->tickets};
	cc_err err = state_list_salts(v->state, take_salt, &walk);

	if (err == CC_OK)
		ticket_ring_keep(v->tickets, walk.numbers, walk.count);
	return err;
}

static void on_state_tended(void *arg, cc_err err)
{
	struct keyvault *k = arg;

	k->tending = false;
	if (err == CC_CLOSED)
		return;
	if (err == CC_OK)
		err = load_salts(&k->vault);
	if (err != CC_OK)
		log_event(EV_VAULT_FAILED, LV_TEXT("operation", "tend"), LV_ERR(err));
}

static void tend_state(struct keyvault *k)
{
	if (k->tending)
		return;
	k->tending = true;
	k->state_tended_ms = clock_boottime_ms();
	k->tend_change = (struct state_change){.now_s = clock_realtime_s(), .tends = true};
	state_submit(k->vault.state, &k->tend_change, on_state_tended, k);
}

static void on_tend(void *arg)
{
	struct keyvault *k = arg;

	loop_timer_set(k->tend, TEND_MS);
	pool_tend(k->vault.pool);
	workers_wake(k->vault.workers);
	if (clock_boottime_ms() - k->state_tended_ms >= TEND_STATE_MS)
		tend_state(k);
}

static bool fill_pool(void *arg)
{
	return pool_fill_one(arg);
}

/* ---- the end ---- */

static void finish(struct keyvault *k, cc_err why)
{
	k->ended_by = why;
	loop_stop(k->vault.loop);
}

static void on_quiet(struct vault *v)
{
	if (v->stopping)
		finish(v->role, CC_OK);
}

static void on_grace_over(void *arg)
{
	finish(arg, CC_OK);
}

static void on_stop(void *arg, uint32_t grace_ms)
{
	struct keyvault *k = arg;

	k->vault.stopping = true;
	if (k->vault.calls == 0)
		finish(k, CC_OK);
	else
		loop_timer_set(k->grace, grace_ms);
}

static void on_commit_broken(void *arg, cc_err err)
{
	struct keyvault *k = arg;

	log_event(EV_FATAL, LV_TEXT("reason", "the state cannot be written"), LV_ERR(err));
	finish(k, err);
}

/* ---- the supervisor's messages ---- */

static void reload(struct keyvault *k, const Role__Files *files, const int *fds, size_t count)
{
	int policy_fd = -1, pins_fd = -1;

	for (size_t i = 0; i < files->n_descriptors && i < count; i++) {
		if (strcmp(files->descriptors[i], "policy") == 0)
			policy_fd = fds[i];
		else if (strcmp(files->descriptors[i], "pins") == 0)
			pins_fd = fds[i];
	}
	rules_release(k->vault.rules);
	k->vault.rules = rules_load(policy_fd, pins_fd);
	rules_log(k->vault.rules);
}

static bool on_conversation(void *arg, const Role__Conversation *conversation, int fd)
{
	struct keyvault *k = arg;

	if (conversation->peer != ROLE__ROLE_KIND__ROLE_CONNECTOR)
		return false;
	door_connector_open(k->vault.connector, fd, conversation->peer_name);
	return true;
}

static void on_message(void *arg, const Role__LinkMessage *message, const int *fds, size_t count)
{
	struct keyvault *k = arg;

	if (message->body_case == ROLE__LINK_MESSAGE__BODY_FILES)
		reload(k, message->files, fds, count);
	else if (message->body_case == ROLE__LINK_MESSAGE__BODY_ROLE_PIDS)
		door_admin_refuse(
			k->vault.admin, message->role_pids->pids, message->role_pids->n_pids);
}

static void on_link_ended(void *arg, cc_err why)
{
	finish(arg, why);
}

static const struct role_link_events link_events = {.conversation = on_conversation,
	.stop = on_stop,
	.message = on_message,
	.ended = on_link_ended};

/* ---- the beginning ---- */

static uint64_t ticket_life_s(const Role__VaultSetup *setup)
{
	uint64_t pending = setup != NULL ? setup->pending_limit_s : 0;
	uint64_t watch = setup != NULL ? setup->watch_s : 0;

	return (pending > 0 ? pending : 7 * 86400) + (watch > 0 ? watch : 30 * 86400) +
	       VAULT_FINISH_MARGIN_S;
}

static size_t thread_count(const Role__VaultSetup *setup)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t threads = setup != NULL ? setup->threads : 0;

	if (threads == 0)
		threads = cores > 0 ? (size_t)cores : 1;
	return threads < THREADS_MAX ? threads : THREADS_MAX;
}

/* Keys are made before the state is, and only then: a new key in the place of a lost one would be pinned
 * nowhere, and would open nothing that was encrypted to the old one. */
static cc_err open_keys(struct keyvault *k, const cc_secret *master)
{
	static const enum keystore_use uses[] = {
		KEYSTORE_RESULT, KEYSTORE_APPROVAL, KEYSTORE_DECRYPT};
	char *dir = file_join(k->setup->state_dir, "keys");
	char *state = file_join(k->setup->state_dir, "state");
	bool is_first = access(state, F_OK) != 0 && errno == ENOENT;
	cc_err err = CC_OK;

	TRY(keystore_open_files(dir, master, &k->vault.keys));
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		ENSURE(is_first || keystore_has(k->vault.keys, uses[i]),
			cc_fail(CC_CONFIG,
				"key store: %s: its %s key is missing, and %s has worked with one: "
				"put "
				"the file back",
				dir, keystore_use_name(uses[i]), state));
		TRY(keystore_ensure(k->vault.keys, uses[i]));
	}
out:
	free(state);
	free(dir);
	return err;
}

static cc_err open_state(struct keyvault *k, const cc_secret *master)
{
	char *dir = file_join(k->setup->state_dir, "state");
	cc_secret audit = CC_SECRET_NONE;
	cc_err err = CC_OK;

	TRY(crypt_derive(master, CC_VIEW_NONE, "audit", &audit));
	TRY(state_open(dir, &audit, clock_realtime_s(), &k->vault.state));
	k->vault.tickets = ticket_ring_new(master);
	TRY(load_salts(&k->vault));
	k->state_tended_ms = clock_boottime_ms();
out:
	cc_secret_free(&audit);
	free(dir);
	return err;
}

/* All that needs the master key, which then is kept by the ticket ring alone. */
static cc_err open_stores(struct keyvault *k)
{
	int fd = role_link_descriptor(k->setup, k->fds, "master-key");
	cc_secret master = CC_SECRET_NONE;
	cc_err err = CC_OK;

	ENSURE(fd >= 0, cc_fail(CC_CONFIG, "no master key was passed"));
	TRY(file_read_secret_fd(fd, "master-key", MASTER_MAX, &master));
	ENSURE(master.size >= KEYSTORE_MASTER_MIN,
		cc_fail(CC_CONFIG,
			"the master key (keyvault.master_key of connector.yaml) has %zu bytes, at "
			"least %d are needed: put the right file back",
			master.size, KEYSTORE_MASTER_MIN));
	TRY(open_keys(k, &master));
	TRY(open_state(k, &master));
out:
	cc_secret_free(&master);
	return err;
}

/* The walls.  A kernel that lacks some is accepted only where the walls are reduced anyway. */
static cc_err enter_sandbox(const Role__Setup *setup, int *ret_abi)
{
	const char *writable[] = {setup->state_dir, NULL};
	const char *readable[] = {NULL};
	cc_err err = sandbox_enter(SANDBOX_KEYVAULT, writable, readable, ret_abi);

	if (err == CC_NOT_SUPPORTED && !setup->walls_full)
		return CC_OK;
	return err;
}

static cc_err open_doors(struct keyvault *k)
{
	struct vault *v = &k->vault;
	int listener = role_link_descriptor(k->setup, k->fds, "admin-socket");
	cc_err err = CC_OK;

	if (listener >= 0)
		ENSURE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0, cc_fail_errno("admin-socket"));
	v->connector = door_connector_new(v);
	TRY(door_admin_new(v, listener, &v->admin));
	TRY(role_link_start(v->loop, &link_events, k, &v->link));
out:
	return err;
}

static cc_err start(struct keyvault *k)
{
	struct vault *v = &k->vault;
	const Role__VaultSetup *setup = k->setup->vault;
	cc_err err = CC_OK;

	TRY(state_start(v->state, v->loop, on_commit_broken, k));
	v->pool = pool_new(setup != NULL ? setup->pool_rsa_2048 : 0);
	TRY(workers_start(v->loop, thread_count(setup), fill_pool, v->pool, &v->workers));
	k->tend = loop_timer_new(v->loop, on_tend, k);
	k->grace = loop_timer_new(v->loop, on_grace_over, k);
	loop_timer_set(k->tend, TEND_MS);
	TRY(open_doors(k));
out:
	return err;
}

static cc_err say_ready(struct keyvault *k, int abi)
{
	EVP_PKEY *key = NULL;
	cc_blob spki = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(keystore_signing_key(k->vault.keys, KEYSTORE_APPROVAL, &key));
	TRY(dsse_spki(key, &spki));
	TRY(role_link_ready(cc_blob_view(&spki), abi));
	log_event(EV_STARTED, LV_TEXT("version", CC_RELEASE),
		LV_U64("threads", thread_count(k->setup->vault)), LV_I64("landlock_abi", abi));
out:
	EVP_PKEY_free(key);
	cc_blob_free(&spki);
	return err;
}

static cc_err serve(struct keyvault *k)
{
	struct vault *v = &k->vault;
	int abi = 0;
	cc_err err = CC_OK;

	TRY(role_link_setup(ROLE__ROLE_KIND__ROLE_KEYVAULT, &k->setup, k->fds));
	v->setup = k->setup;
	v->ticket_life_s = ticket_life_s(k->setup->vault);
	TRY(role_link_user(k->setup));
	TRY(open_stores(k));
	v->rules = rules_load(role_link_descriptor(k->setup, k->fds, "policy"),
		role_link_descriptor(k->setup, k->fds, "pins"));
	TRY(loop_new(&v->loop));
	TRY(enter_sandbox(k->setup, &abi));
	rules_log(v->rules);
	TRY(start(k));
	TRY(say_ready(k, abi));
	loop_run(v->loop);
	err = k->ended_by;
out:
	return err;
}

/* Threads first: what they use goes after them.  The library contexts go last of all, behind the keys
 * that remember them. */
static void tear_down(struct keyvault *k)
{
	struct vault *v = &k->vault;

	v->on_quiet = NULL;
	role_link_stop(v->link);
	door_connector_free(v->connector);
	v->connector = NULL;
	door_admin_free(v->admin);
	v->admin = NULL;
	workers_stop(v->workers, dispatch_drop);
	state_close(v->state);
	loop_timer_free(k->tend);
	loop_timer_free(k->grace);
	pool_free(v->pool);
	ticket_ring_free(v->tickets);
	keystore_close(v->keys);
	rules_release(v->rules);
	workers_free(v->workers);
	if (v->loop != NULL)
		loop_free(v->loop);
	link_close(k->fds, LINK_FDS_MAX);
	codec_free(k->setup);
}

int keyvault_role_main(void)
{
	struct keyvault k = {0};

	for (size_t i = 0; i < LINK_FDS_MAX; i++)
		k.fds[i] = -1;
	k.vault.role = &k;
	k.vault.on_quiet = on_quiet;
	crashpoint_arm();
	sandbox_early(false);
	cc_err err = serve(&k);
	if (err == CC_CLOSED) /* the supervisor is gone */
		err = CC_OK;
	if (err != CC_OK)
		log_event(EV_FATAL, LV_ERR(err));
	else
		log_event(EV_STOPPED, LV_TEXT("version", CC_RELEASE));
	tear_down(&k);
	return err == CC_OK ? EXIT_OK : EXIT_FAILED;
}

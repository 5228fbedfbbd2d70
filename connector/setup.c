/*
 * Setup: fills role.v1.Setup from the configuration and opens what goes with it.
 *
 * Nothing that is opened here is read here: the supervisor holds no secret in its memory.
 */
#include "connector/setup.h"
#include "base/file.h"
#include "proto/codec.h"
#include "proto/role_link.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PENDING_LIMIT_S (7 * 86400)
#define WATCH_S         (30 * 86400)

/* protobuf-c wants char *, and writes to none of it. */
static char *borrow(const char *text)
{
	return (char *)(uintptr_t)text;
}

/* A Setup and all that it points to. */
struct draft {
	Role__Setup setup;
	Role__ConnectorSetup connector;
	Role__VaultSetup vault;
	Role__RunnerSetup runner;
	char *state_dir;
	Role__ProxySetup proxy;
	char *ca_names[CONFIG_CAS_MAX];
	char *hold_cas[CONFIG_CAS_MAX];
	uint32_t groups[CONFIG_GROUPS_MAX];
	Role__Option *options;
	Role__Option **option_list;
	char *descriptors[LINK_FDS_MAX];
};

static void clear_draft(struct draft *d)
{
	free(d->options);
	free(d->option_list);
	free(d->state_dir);
}

static void fill_user(const struct setup_source *s, const struct config_user *user, struct draft *d)
{
	Role__Setup *to = &d->setup;

	to->change_user = user->given && s->walls->can_change_user && user->uid != geteuid();
	if (!to->change_user)
		return;
	to->uid = user->uid;
	to->gid = user->gid;
	for (size_t i = 0; i < user->group_count; i++)
		d->groups[i] = user->groups[i];
	to->groups = d->groups;
	to->n_groups = user->group_count;
}

static void fill_way(const struct config *c, struct draft *d)
{
	Role__ProxySetup *to = &d->proxy;

	d->connector.queue_addresses = (char **)(uintptr_t)c->queue.addresses;
	d->connector.n_queue_addresses = c->queue.address_count;
	if (c->proxy.kind == PROXY_NONE)
		return;
	role__proxy_setup__init(to);
	to->kind = borrow(proxy_kind_name((enum proxy_kind)c->proxy.kind));
	to->host = c->proxy.host;
	to->port = c->proxy.port;
	to->auth = borrow(proxy_auth_name((enum proxy_auth)c->proxy.auth));
	to->user = borrow(c->proxy.user != NULL ? c->proxy.user : "");
	to->krb5_config = borrow(c->proxy.krb5_config);
	d->connector.proxy = to;
}

static void fill_connector(const struct setup_source *s, struct draft *d)
{
	const struct config *c = s->config;
	Role__ConnectorSetup *to = &d->connector;

	role__connector_setup__init(to);
	to->max_inflight = c->connector.max_inflight;
	to->journal_max_bytes = c->connector.journal_max;
	to->result_retention_s = c->connector.result_retention_s;
	to->pending_limit_s = c->connector.pending_max_s;
	to->watch_s = c->connector.watch_s;
	to->poll_min_s = c->connector.poll_min_s;
	to->orphan_grace_s = c->connector.orphan_grace_s;
	to->orphan_max_per_hour = c->connector.orphan_max_per_hour;
	to->approval_retry_s = c->connector.approval_retry_s;
	to->approval_retry_max_s = c->connector.approval_retry_max_s;
	to->backoff_min_ms = c->connector.backoff_min_ms;
	to->backoff_max_ms = c->connector.backoff_max_ms;
	for (size_t i = 0; i < c->ca_count; i++)
		d->ca_names[i] = c->cas[i].name;
	for (size_t i = 0; i < c->ca_count; i++)
		if (c->cas[i].hold_on_unknown)
			d->hold_cas[to->n_hold_cas++] = c->cas[i].name;
	to->hold_cas = d->hold_cas;
	to->ca_names = d->ca_names;
	to->n_ca_names = c->ca_count;
	fill_way(c, d);
	d->setup.connector = to;
	d->setup.name = borrow("connector");
	d->state_dir = cc_strdup(c->state_dir);
	fill_user(s, &c->connector_user, d);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void fill_vault(const struct setup_source *s, struct draft *d)
{
	const struct config *c = s->config;
	Role__VaultSetup *to = &d->vault;

	role__vault_setup__init(to);
	to->threads = c->keyvault.threads;
	to->pool_rsa_2048 = c->keyvault.pool_rsa_2048;
	/* a short limit of a request's wait is none of a ticket's life */
	to->pending_limit_s = larger(c->connector.pending_max_s, PENDING_LIMIT_S);
	to->watch_s = larger(c->connector.watch_s, WATCH_S);
	d->setup.vault = to;
	d->setup.name = borrow("keyvault");
	d->state_dir = file_join(c->state_dir, "vault");
	fill_user(s, &c->keyvault_user, d);
}

static void fill_runner(const struct setup_source *s, const struct config_ca *ca, struct draft *d)
{
	Role__RunnerSetup *to = &d->runner;
	size_t count = ca->option_count;

	role__runner_setup__init(to);
	to->ca_name = ca->name;
	to->backend = ca->backend;
	d->options = cc_alloc((count + 1) * sizeof(*d->options));
	d->option_list = cc_alloc((count + 1) * sizeof(*d->option_list));
	for (size_t i = 0; i < count; i++) {
		role__option__init(&d->options[i]);
		d->options[i].name = ca->options[i].name;
		d->options[i].value = ca->options[i].value;
		d->option_list[i] = &d->options[i];
	}
	to->options = d->option_list;
	to->n_options = count;
	d->setup.runner = to;
	d->setup.name = ca->name;
	d->state_dir = config_ca_state_dir(s->config, ca->name);
	fill_user(s, config_runner_user(s->config, ca), d);
}

static void fill(
	const struct setup_source *s, Role__RoleKind role, const char *name, struct draft *d)
{
	static const char *const formats[] = {"logfmt", "json"};

	*d = (struct draft){0};
	role__setup__init(&d->setup);
	d->setup.protocol = ROLE_LINK_PROTOCOL;
	d->setup.build_id = borrow(s->build_id);
	d->setup.role = role;
	d->setup.walls_full = s->walls->full;
	d->setup.log_format = borrow(formats[s->config->log_format]);
	d->setup.log_level = (uint32_t)s->config->log_level;
	d->setup.descriptors = d->descriptors;
	if (role == ROLE__ROLE_KIND__ROLE_CONNECTOR)
		fill_connector(s, d);
	else if (role == ROLE__ROLE_KIND__ROLE_KEYVAULT)
		fill_vault(s, d);
	else
		fill_runner(s, config_find_ca(s->config, name), d);
	d->setup.state_dir = d->state_dir;
}

static cc_blob pack(struct draft *d)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;

	message.body_case = ROLE__LINK_MESSAGE__BODY_SETUP;
	message.setup = &d->setup;
	return codec_pack(&message);
}

cc_blob setup_pack(const struct setup_source *s, Role__RoleKind role, const char *name)
{
	struct draft d;
	cc_blob packet;

	fill(s, role, name, &d);
	packet = pack(&d);
	clear_draft(&d);
	return packet;
}

/* ---- descriptors ---- */

static void add(struct draft *d, struct child_setup *to, const char *name, int fd)
{
	d->descriptors[d->setup.n_descriptors++] = borrow(name);
	to->fds[to->fd_count++] = fd;
}

static cc_err add_duplicate(struct draft *d, struct child_setup *to, const char *name, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return cc_fail_errno(name);
	add(d, to, name, copy);
	return CC_OK;
}

static cc_err add_file(struct draft *d, struct child_setup *to, const char *name, const char *path,
	enum file_trust trust)
{
	int fd = -1;
	cc_err err = file_open(path, trust, &fd);

	if (err == CC_OK)
		add(d, to, name, fd);
	return err;
}

cc_err setup_open_files(const struct config *c, const char *ret_names[SETUP_FILES_MAX],
	int ret_fds[SETUP_FILES_MAX], size_t *ret_count)
{
	const struct {
		const char *name, *path;
	} files[SETUP_FILES_MAX] = {{"policy", c->policy}, {"pins", c->pins}};
	int fds[SETUP_FILES_MAX] = {-1, -1};
	size_t count = 0;
	cc_err err = CC_OK;

	for (size_t i = 0; i < SETUP_FILES_MAX; i++) {
		if (access(files[i].path, F_OK) != 0 && errno == ENOENT)
			continue; /* without policy nothing is issued; without pins nobody is known */
		TRY(file_open(files[i].path, FILE_CONFIG, &fds[count]));
		ret_names[count++] = files[i].name;
	}
	for (size_t i = 0; i < count; i++)
		ret_fds[i] = fds[i];
	*ret_count = count;
	count = 0;
out:
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	return err;
}

static cc_err open_connector(const struct setup_source *s, struct draft *d, struct child_setup *to)
{
	const struct config_proxy *proxy = &s->config->proxy;
	cc_err err = CC_OK;

	TRY(add_duplicate(d, to, "control-socket", s->control_fd));
	if (proxy->secret != NULL)
		TRY(add_file(d, to, "proxy-secret", proxy->secret, FILE_SECRET));
	if (proxy->ca != NULL)
		TRY(add_file(d, to, "proxy-ca", proxy->ca, FILE_CONFIG));
out:
	return err;
}

static cc_err open_vault(const struct setup_source *s, struct draft *d, struct child_setup *to)
{
	const char *names[SETUP_FILES_MAX];
	int fds[SETUP_FILES_MAX];
	size_t count = 0;
	cc_err err = CC_OK;

	TRY(add_duplicate(d, to, "admin-socket", s->admin_fd));
	TRY(add_file(d, to, "master-key", s->config->keyvault.master_key, FILE_SECRET));
	TRY(setup_open_files(s->config, names, fds, &count));
	for (size_t i = 0; i < count; i++)
		add(d, to, names[i], fds[i]);
out:
	return err;
}

static cc_err open_runner(
	const struct setup_source *s, const char *name, struct draft *d, struct child_setup *to)
{
	const struct config_ca *ca = config_find_ca(s->config, name);
	int fd = -1;
	cc_err err = CC_OK;

	TRY(file_memfd("approval-key", s->approval_spki, &fd));
	add(d, to, "approval-key", fd);
	/* a missing file is told by the runner, which can name the remedy: the CA is not made yet */
	if (ca->secret != NULL && (access(ca->secret, F_OK) == 0 || errno != ENOENT))
		TRY(add_file(d, to, "ca-secret", ca->secret, FILE_SECRET));
out:
	return err;
}

cc_err setup_make(const struct setup_source *s, Role__RoleKind role, const char *name,
	struct child_setup *ret)
{
	struct child_setup made = {0};
	struct draft d;
	cc_err err = CC_OK;

	fill(s, role, name, &d);
	if (role == ROLE__ROLE_KIND__ROLE_CONNECTOR)
		TRY(open_connector(s, &d, &made));
	else if (role == ROLE__ROLE_KIND__ROLE_KEYVAULT)
		TRY(open_vault(s, &d, &made));
	else
		TRY(open_runner(s, name, &d, &made));
	made.packet = pack(&d);
	*ret = made;
	made = (struct child_setup){0};
out:
	for (size_t i = 0; i < made.fd_count; i++)
		close(made.fds[i]);
	clear_draft(&d);
	return err;
}

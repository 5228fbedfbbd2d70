/*
 * Configuration: the tables of connector.yaml, and the files of ca.d (connector/config_ca.c).
 *
 * Only what the supervisor itself decides by is looked at.  Users are resolved here, once, so that a
 * name that does not exist is told before anything is started.
 */
#include "connector/config_int.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct conf_key main_keys[] = {
	{.name = "state_dir",
		.type = CONF_PATH,
		.offset = offsetof(struct config, state_dir),
		.fallback = "/var/lib/certconnector",
		.help = "what the roles keep"},
	{.name = "run_dir",
		.type = CONF_PATH,
		.offset = offsetof(struct config, run_dir),
		.fallback = "/run/certconnector",
		.help = "the local sockets"},
	{.name = "policy",
		.type = CONF_PATH,
		.offset = offsetof(struct config, policy),
		.fallback = "policy.yaml",
		.help = "what may be issued; no file: nothing"},
	{.name = "pins",
		.type = CONF_PATH,
		.offset = offsetof(struct config, pins),
		.fallback = "pins.yaml",
		.help = "tenant, job root and CA roots; written at enrolment"},
	{.name = "ca_dir",
		.type = CONF_PATH,
		.offset = offsetof(struct config, ca_dir),
		.fallback = "ca.d",
		.help = "one file NAME.yaml for each CA"},
	{.name = "walls",
		.type = CONF_CHOICE,
		.offset = offsetof(struct config, walls),
		.fallback = "require",
		.allowed = "require|allow_reduced",
		.help = "start only when each role has its own user, or also when not"},
	{.name = "users",
		.type = CONF_NODE,
		.offset = offsetof(struct config, users_node),
		.help = "connector, keyvault, ca: names or numbers; left out: the caller's own"},
	{.name = "admin_group",
		.type = CONF_TEXT,
		.offset = offsetof(struct config, admin_group_name),
		.help = "group that may use the local sockets; left out: their owner only"},
	{.name = "log",
		.type = CONF_NODE,
		.offset = offsetof(struct config, log_node),
		.help = "format, level"},
	{.name = "connector",
		.type = CONF_NODE,
		.offset = offsetof(struct config, connector_node),
		.help = "settings of the connector role"},
	{.name = "queue",
		.type = CONF_NODE,
		.offset = offsetof(struct config, queue_node),
		.help = "where else the queue is"},
	{.name = "proxy",
		.type = CONF_NODE,
		.offset = offsetof(struct config, proxy_node),
		.help = "what stands between here and the queue"},
	{.name = "keyvault",
		.type = CONF_NODE,
		.offset = offsetof(struct config, keyvault_node),
		.help = "settings of the keyvault role"},
};

static const struct conf_key log_keys[] = {
	{.name = "format",
		.type = CONF_CHOICE,
		.offset = offsetof(struct config, log_format),
		.fallback = "logfmt",
		.allowed = "logfmt|json",
		.help = "form of a line"},
	{.name = "level",
		.type = CONF_CHOICE,
		.offset = offsetof(struct config, log_level),
		.fallback = "info",
		.allowed = "debug|info|notice|warning|error",
		.help = "the least that is written"},
};

static const struct conf_key connector_keys[] = {
	{.name = "max_inflight",
		.type = CONF_U32,
		.offset = offsetof(struct config_connector, max_inflight),
		.fallback = "16",
		.min = 1,
		.max = 1024,
		.help = "jobs at a time"},
	{.name = "journal_max",
		.type = CONF_U64,
		.offset = offsetof(struct config_connector, journal_max),
		.fallback = "4GiB",
		.min = 16u << 20,
		.max = UINT64_C(1) << 40,
		.help = "limit of the journal"},
	{.name = "result_retention",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, result_retention_s),
		.fallback = "24h",
		.min = 60,
		.max = 30 * 86400,
		.help = "a result that the queue has stored is kept so long"},
	{.name = "backoff_min_ms",
		.type = CONF_U32,
		.offset = offsetof(struct config_connector, backoff_min_ms),
		.fallback = "500",
		.min = 10,
		.max = 60000,
		.help = "first wait before dialling again"},
	{.name = "backoff_max_ms",
		.type = CONF_U32,
		.offset = offsetof(struct config_connector, backoff_max_ms),
		.fallback = "60000",
		.min = 10,
		.max = 3600000,
		.help = "longest wait before dialling again"},
	{.name = "pending_max",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, pending_max_s),
		.fallback = "7d",
		.min = 1,
		.max = 30 * 86400,
		.help = "so long a request may wait at a CA; then it is withdrawn"},
	{.name = "watch",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, watch_s),
		.fallback = "30d",
		.min = 1,
		.max = 60 * 86400, /* with pending_max no longer than a runner's ledger remembers */
		.help = "so long one that could not be withdrawn is watched"},
	{.name = "poll_min",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, poll_min_s),
		.fallback = "10s",
		.min = 1,
		.max = 86400,
		.help = "a CA is not asked about a request more often; a watched one 60 times more "
			"seldom"},
	{.name = "orphan_grace",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, orphan_grace_s),
		.fallback = "24h",
		.min = 1,
		.max = 30 * 86400,
		.help = "between the two times that the queue has to name another certificate"},
	{.name = "orphan_max_per_hour",
		.type = CONF_U32,
		.offset = offsetof(struct config_connector, orphan_max_per_hour),
		.fallback = "10",
		.min = 1,
		.max = 10000,
		.help = "so many certificates without a use are revoked in an hour"},
	{.name = "approval_retry",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, approval_retry_s),
		.fallback = "5m",
		.min = 1,
		.max = 3600,
		.help = "a job that waits for an operator is given back to the queue for so long, "
			"then twice as long each time"},
	{.name = "approval_retry_max",
		.type = CONF_SECONDS,
		.offset = offsetof(struct config_connector, approval_retry_max_s),
		.fallback = "1h",
		.min = 1,
		.max = 3600,
		.help = "and no longer than this"},
};

static const struct conf_key keyvault_keys[] = {
	{.name = "master_key",
		.type = CONF_PATH,
		.offset = offsetof(struct config_keyvault, master_key),
		.fallback = "master.key",
		.help = "protects the key store; made at the first start"},
	{.name = "threads",
		.type = CONF_U32,
		.offset = offsetof(struct config_keyvault, threads),
		.fallback = "0",
		.min = 0,
		.max = 256,
		.help = "workers; 0: one for each core"},
	{.name = "pool_rsa_2048",
		.type = CONF_U32,
		.offset = offsetof(struct config_keyvault, pool_rsa_2048),
		.fallback = "8",
		.min = 0,
		.max = 4096,
		.help = "RSA keys made ahead"},
};

struct user_nodes {
	const char *supervisor, *connector, *keyvault, *ca;
};

static const struct conf_key user_keys[] = {
	{.name = "supervisor",
		.type = CONF_TEXT,
		.offset = offsetof(struct user_nodes, supervisor),
		.help = "user that the daemon is started as; --init gives it what it has to own"},
	{.name = "connector",
		.type = CONF_TEXT,
		.offset = offsetof(struct user_nodes, connector),
		.required = true,
		.help = "user of the connector role"},
	{.name = "keyvault",
		.type = CONF_TEXT,
		.offset = offsetof(struct user_nodes, keyvault),
		.required = true,
		.help = "user of the keyvault role"},
	{.name = "ca",
		.type = CONF_TEXT,
		.offset = offsetof(struct user_nodes, ca),
		.required = true,
		.help = "user of the CA runners without one of their own"},
};

/* ---- users and groups ---- */

/* A number that is nobody's name still works: it has the group of the same number and no other. */
static cc_err fill_user(
	const struct conf_node *at, const struct passwd *pw, uid_t uid, struct config_user *ret)
{
	struct config_user user = {.given = true, .uid = uid, .gid = (gid_t)uid};
	gid_t all[CONFIG_GROUPS_MAX + 1] = {0};
	int count = CONFIG_GROUPS_MAX + 1;

	if (uid == 0)
		return conf_fail(at, "a role does not run as root");
	if (pw != NULL) {
		user.gid = pw->pw_gid;
		if (getgrouplist(pw->pw_name, pw->pw_gid, all, &count) < 0)
			return conf_fail(at, "user %s is in more than %d groups", pw->pw_name,
				CONFIG_GROUPS_MAX);
		for (int i = 0; i < count; i++) {
			if (all[i] != pw->pw_gid && user.group_count < CONFIG_GROUPS_MAX)
				user.groups[user.group_count++] = all[i];
		}
	}
	*ret = user;
	return CC_OK;
}

cc_err config_resolve_user(const struct conf_node *at, const char *text, struct config_user *ret)
{
	char room[4096];
	struct passwd pw, *found = NULL;
	uint64_t number = 0;
	uid_t uid;
	int rc;

	if (text_to_u64(cc_view_text(text), 0, UINT32_MAX - 1, &number) == CC_OK) {
		uid = (uid_t)number;
		rc = getpwuid_r(uid, &pw, room, sizeof(room), &found);
	} else {
		rc = getpwnam_r(text, &pw, room, sizeof(room), &found);
		if (found == NULL)
			return conf_fail(at, "there is no user \"%s\"%s%s", text,
				rc != 0 ? ": " : "", rc != 0 ? strerror(rc) : "");
		uid = pw.pw_uid;
	}
	return fill_user(at, found, uid, ret);
}

static cc_err resolve_group(const struct conf_node *at, const char *text, gid_t *ret)
{
	char room[16384];
	struct group gr, *found = NULL;
	uint64_t number = 0;

	if (text_to_u64(cc_view_text(text), 0, UINT32_MAX - 1, &number) == CC_OK) {
		*ret = (gid_t)number;
		return CC_OK;
	}
	if (getgrnam_r(text, &gr, room, sizeof(room), &found) != 0 || found == NULL)
		return conf_fail(at, "there is no group \"%s\"", text);
	*ret = gr.gr_gid;
	return CC_OK;
}

static cc_err read_users(struct config *c)
{
	struct user_nodes names = {0};
	cc_err err = CC_OK;

	if (c->users_node == NULL)
		return CC_OK;
	TRY(conf_need_map(c->users_node, "users"));
	TRY(conf_fill(c->document, c->users_node, user_keys, COUNT(user_keys), &names));
	if (names.supervisor != NULL)
		TRY(config_resolve_user(conf_get(c->users_node, "supervisor"), names.supervisor,
			&c->supervisor_user));
	TRY(config_resolve_user(
		conf_get(c->users_node, "connector"), names.connector, &c->connector_user));
	TRY(config_resolve_user(
		conf_get(c->users_node, "keyvault"), names.keyvault, &c->keyvault_user));
	TRY(config_resolve_user(conf_get(c->users_node, "ca"), names.ca, &c->ca_user));
out:
	return err;
}

/* ---- the file ---- */

/* From an empty map then. */
cc_err config_fill_section(const struct config *c, const struct conf_node *n, const char *what,
	const struct conf_key *table, size_t count, void *to)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return conf_fill(c->defaults, conf_root(c->defaults), table, count, to);
	TRY(conf_need_map(n, what));
	TRY(conf_fill(c->document, n, table, count, to));
out:
	return err;
}

static cc_err read_main(struct config *c)
{
	const struct conf_node *root = conf_root(c->document);
	cc_err err = CC_OK;

	TRY(conf_need_map(root, "the configuration"));
	TRY(conf_fill(c->document, root, main_keys, COUNT(main_keys), c));
	TRY(config_fill_section(c, c->log_node, "log", log_keys, COUNT(log_keys), c));
	TRY(config_fill_section(c, c->connector_node, "connector", connector_keys,
		COUNT(connector_keys), &c->connector));
	TRY(config_fill_section(c, c->keyvault_node, "keyvault", keyvault_keys,
		COUNT(keyvault_keys), &c->keyvault));
	ENSURE(c->connector.backoff_min_ms <= c->connector.backoff_max_ms,
		conf_fail(c->connector_node, "backoff_min_ms is above backoff_max_ms"));
	TRY(config_read_way(c));
	TRY(read_users(c));
	if (c->admin_group_name != NULL) {
		TRY(resolve_group(
			conf_get(root, "admin_group"), c->admin_group_name, &c->admin_group));
		c->admin_group_given = true;
	}
out:
	return err;
}

cc_err config_read(const char *path, struct config **ret)
{
	struct config *c = cc_alloc(sizeof(*c));
	cc_err err = CC_OK;

	err = conf_read(path, &c->document);
	if (err == CC_NOT_FOUND) /* for a daemon this is a matter of configuration */
		err = cc_fail_in(CC_CONFIG, "the configuration");
	TRY(err);
	TRY(conf_parse(cc_view_text("{}"), path, &c->defaults));
	TRY(read_main(c));
	TRY(config_read_cas(c));
	*ret = c;
	c = NULL;
out:
	config_free(c);
	return err;
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->ca_count; i++)
		config_clear_ca(&c->cas[i]);
	free(c->cas);
	config_clear_way(c);
	conf_free(c->defaults);
	conf_free(c->document);
	free(c);
}

const struct config_ca *config_find_ca(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->ca_count; i++) {
		if (strcmp(c->cas[i].name, name) == 0)
			return &c->cas[i];
	}
	return NULL;
}

const struct config_user *config_runner_user(const struct config *c, const struct config_ca *ca)
{
	return ca->user.given ? &ca->user : &c->ca_user;
}

char *config_ca_state_dir(const struct config *c, const char *name)
{
	return cc_asprintf("%s/ca/%s", c->state_dir, name);
}

void config_print_reference(cc_blob *out)
{
	static const struct {
		const char *title;
		const struct conf_key *table;
		size_t count;
	} sections[] = {
		{"connector.yaml", main_keys, COUNT(main_keys)},
		{"users:", user_keys, COUNT(user_keys)},
		{"log:", log_keys, COUNT(log_keys)},
		{"connector:", connector_keys, COUNT(connector_keys)},
		{"queue:", config_queue_keys, CONFIG_QUEUE_KEYS},
		{"proxy:", config_proxy_keys, CONFIG_PROXY_KEYS},
		{"keyvault:", keyvault_keys, COUNT(keyvault_keys)},
	};

	for (size_t i = 0; i < COUNT(sections); i++) {
		cc_blob_printf(out, "%s%s\n", i == 0 ? "" : "\n", sections[i].title);
		conf_print_reference(sections[i].table, sections[i].count, out);
	}
}

/*
 * The daemon's configuration: defaults, the files of ca.d, users, and what is refused in which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/backend_schema.h"
#include "base/file.h"
#include "connector/config.h"
#include "connector/walls.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The backends of this program are its own: what a schema can say is more than today's backends do. */
static const struct ca_option_rule local_rules[] = {
	{"templates.*.eku", false, true, NULL, ""},
	{"templates.*.max_validity", false, false, "365d", ""},
	{"crl_validity", false, false, "7d", ""},
};
static const struct ca_option_rule strict_rules[] = {
	{"server.url", true, false, NULL, ""},
	{"server.names", false, true, NULL, ""},
	{"server.timeout", false, false, "30s", ""},
	{"map.*", false, false, NULL, ""},
	{"profiles.*.id", true, false, NULL, ""},
};

bool backend_schema_at(size_t index, struct backend_schema *ret)
{
	static const struct backend_schema all[] = {
		{"local", local_rules, 3}, {"strict", strict_rules, 5}};

	if (index >= 2)
		return false;
	*ret = all[index];
	return true;
}

struct rig {
	char dir[256];
	char *main_path;
	struct config *config;
};

static void put(const struct rig *r, const char *name, const char *text)
{
	char *path = file_join(r->dir, name);

	assert_int_equal(file_write_atomic(path, cc_view_text(text), 0644), CC_OK);
	free(path);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	const char *tmp = getenv("TMPDIR");
	char *ca_dir;

	snprintf(r->dir, sizeof(r->dir), "%s/config-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->dir));
	r->main_path = file_join(r->dir, "connector.yaml");
	ca_dir = file_join(r->dir, "ca.d");
	assert_int_equal(mkdir(ca_dir, 0755), 0);
	free(ca_dir);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	static const char *const names[] = {"ca.d/corp-ca.yaml", "ca.d/a-second.yaml",
		"ca.d/Bad.yaml", "ca.d/corp-ca.yaml.sample", "ca.d", "connector.yaml"};

	config_free(r->config);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *path = file_join(r->dir, names[i]);
		if (unlink(path) != 0)
			rmdir(path);
		free(path);
	}
	rmdir(r->dir);
	free(r->main_path);
	free(r);
	return 0;
}

static void read_ok(struct rig *r, const char *text)
{
	put(r, "connector.yaml", text);
	config_free(r->config);
	r->config = NULL;
	assert_int_equal(config_read(r->main_path, &r->config), CC_OK);
}

/* Refused, and the words contain `words`. */
static void read_refused(struct rig *r, const char *text, const char *words)
{
	struct config *c = NULL;
	cc_err err;

	put(r, "connector.yaml", text);
	err = config_read(r->main_path, &c);
	assert_int_not_equal(err, CC_OK);
	assert_null(c);
	if (strstr(cc_err_detail(err), words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", cc_err_detail(err), words);
}

static void an_empty_map_gives_the_defaults(void **state)
{
	struct rig *r = *state;
	char *policy = file_join(r->dir, "policy.yaml"), *key = file_join(r->dir, "master.key");

	read_ok(r, "{}\n");
	assert_string_equal(r->config->state_dir, "/var/lib/certconnector");
	assert_string_equal(r->config->run_dir, "/run/certconnector");
	assert_string_equal(r->config->policy, policy);
	assert_string_equal(r->config->keyvault.master_key, key);
	assert_int_equal(r->config->walls, WALLS_REQUIRE);
	assert_int_equal(r->config->connector.max_inflight, 16);
	assert_int_equal(r->config->connector.journal_max, UINT64_C(4) << 30);
	assert_int_equal(r->config->connector.result_retention_s, 86400);
	assert_int_equal(r->config->connector.backoff_min_ms, 500);
	assert_int_equal(r->config->connector.backoff_max_ms, 60000);
	assert_int_equal(r->config->connector.pending_max_s, 7 * 86400);
	assert_int_equal(r->config->connector.watch_s, 30 * 86400);
	assert_int_equal(r->config->connector.orphan_grace_s, 86400);
	assert_int_equal(r->config->connector.approval_retry_s, 300);
	assert_int_equal(r->config->connector.approval_retry_max_s, 3600);
	assert_int_equal(r->config->keyvault.pool_rsa_2048, 8);
	assert_int_equal(r->config->log_level, LOG_INFO_);
	assert_false(r->config->connector_user.given);
	assert_false(r->config->admin_group_given);
	assert_int_equal(r->config->ca_count, 0);
	free(policy);
	free(key);
}

static void the_whole_file_is_understood(void **state)
{
	struct rig *r = *state;

	read_ok(r, "state_dir: /srv/state\nrun_dir: run\npolicy: p.yaml\npins: /etc/pins.yaml\n"
		   "ca_dir: ca.d\nwalls: allow_reduced\n"
		   "users:\n  connector: 61001\n  keyvault: 61002\n  ca: 61003\n"
		   "admin_group: 61004\nlog: {format: json, level: warning}\n"
		   "connector: {max_inflight: 3, journal_max: 64MiB, result_retention: 1h, "
		   "backoff_min_ms: 20, backoff_max_ms: 40}\n"
		   "keyvault: {master_key: k, threads: 2, pool_rsa_2048: 0}\n");
	assert_string_equal(r->config->state_dir, "/srv/state");
	assert_int_equal(r->config->walls, WALLS_ALLOW_REDUCED);
	assert_int_equal(r->config->connector_user.uid, 61001);
	assert_int_equal(r->config->keyvault_user.gid, 61002);
	assert_int_equal(r->config->ca_user.uid, 61003);
	assert_true(r->config->admin_group_given);
	assert_int_equal(r->config->admin_group, 61004);
	assert_int_equal(r->config->log_format, LOG_JSON);
	assert_int_equal(r->config->log_level, LOG_WARNING_);
	assert_int_equal(r->config->connector.journal_max, UINT64_C(64) << 20);
	assert_int_equal(r->config->connector.backoff_max_ms, 40);
	assert_int_equal(r->config->keyvault.threads, 2);
}

static void a_user_is_found_by_its_name(void **state)
{
	struct rig *r = *state;

	read_ok(r, "users: {connector: daemon, keyvault: bin, ca: nobody}\n");
	assert_true(r->config->connector_user.given);
	assert_int_not_equal(r->config->connector_user.uid, 0);
	assert_int_not_equal(r->config->connector_user.uid, r->config->keyvault_user.uid);
}

static void a_user_that_does_not_exist_is_named(void **state)
{
	read_refused(*state, "users: {connector: nobody-at-all, keyvault: bin, ca: nobody}\n",
		"there is no user \"nobody-at-all\"");
}

static void a_role_never_runs_as_root(void **state)
{
	read_refused(*state, "users: {connector: root, keyvault: bin, ca: nobody}\n", "root");
	read_refused(*state, "users: {connector: 5, keyvault: 0, ca: nobody}\n", "root");
}

static void an_unknown_key_is_told_with_its_place(void **state)
{
	read_refused(*state, "state_dir: /s\nwals: require\n", "connector.yaml:2:1");
}

static void a_back_off_that_shrinks_is_refused(void **state)
{
	read_refused(
		*state, "connector: {backoff_min_ms: 100, backoff_max_ms: 50}\n", "backoff_min_ms");
}

static const char *option(const struct config_ca *ca, const char *name)
{
	for (size_t i = 0; i < ca->option_count; i++) {
		if (strcmp(ca->options[i].name, name) == 0)
			return ca->options[i].value;
	}
	return NULL;
}

static void a_ca_file_is_flattened_for_its_backend(void **state)
{
	struct rig *r = *state;
	const struct config_ca *ca;
	char *secret = file_join(r->dir, "ca.d/corp-ca.secret");

	put(r, "ca.d/corp-ca.yaml",
		"backend: local\nsecret: corp-ca.secret\nuser: 61009\ncrl_validity: 3d\n"
		"templates:\n  user: {eku: [1.3.6.1.5.5.7.3.2, 1.3.6.1.5.5.7.3.4], "
		"max_validity: 90d}\n");
	put(r, "ca.d/corp-ca.yaml.sample", "not: [read");
	read_ok(r, "{}\n");
	ca = config_find_ca(r->config, "corp-ca");
	assert_non_null(ca);
	assert_string_equal(ca->backend, "local");
	assert_string_equal(ca->secret, secret);
	assert_int_equal(ca->option_count, 3);
	assert_string_equal(option(ca, "crl_validity"), "3d");
	assert_string_equal(
		option(ca, "templates.user.eku"), "1.3.6.1.5.5.7.3.2,1.3.6.1.5.5.7.3.4");
	assert_string_equal(option(ca, "templates.user.max_validity"), "90d");
	assert_int_equal(config_runner_user(r->config, ca)->uid, 61009);
	free(secret);
}

static void cas_come_in_order_of_name(void **state)
{
	struct rig *r = *state;

	put(r, "ca.d/corp-ca.yaml", "backend: local\n");
	put(r, "ca.d/a-second.yaml", "backend: local\n");
	read_ok(r, "users: {connector: 61001, keyvault: 61002, ca: 61003}\n");
	assert_int_equal(r->config->ca_count, 2);
	assert_string_equal(r->config->cas[0].name, "a-second");
	assert_int_equal(config_runner_user(r->config, &r->config->cas[0])->uid, 61003);
}

static void a_ca_without_a_backend_is_refused(void **state)
{
	put(*state, "ca.d/corp-ca.yaml", "secret: x\n");
	read_refused(*state, "{}\n", "backend is missing");
}

static void what_is_done_in_doubt_is_the_cas_own_setting(void **state)
{
	struct rig *r = *state;
	put(r, "ca.d/a-second.yaml", "backend: local\non_unknown: hold\n");
	put(r, "ca.d/corp-ca.yaml", "backend: local\non_unknown: resubmit\n");
	read_ok(r, "{}");
	assert_true(r->config->cas[0].hold_on_unknown);
	assert_false(r->config->cas[1].hold_on_unknown);
	assert_int_equal(r->config->cas[0].option_count, 0);
	put(r, "ca.d/corp-ca.yaml", "backend: local\non_unknown: perhaps\n");
	read_refused(
		r, "{}", "corp-ca.yaml:2:13: on_unknown: 'perhaps' is not one of resubmit, hold");
}

static void a_ca_file_whose_name_is_no_name_is_refused(void **state)
{
	put(*state, "ca.d/Bad.yaml", "backend: local\n");
	read_refused(*state, "{}\n", "Bad.yaml");
}

static void a_list_of_maps_is_refused(void **state)
{
	put(*state, "ca.d/corp-ca.yaml", "backend: local\ntemplates: [{a: 1}]\n");
	read_refused(*state, "{}\n", "templates");
}

static void a_ca_file_is_judged_by_its_backends_schema(void **state)
{
	struct rig *r = *state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"secret: x\n", ":1:1: backend is missing; there is: local, strict"},
		{"backend: [local]\n", ":1:10: backend: not a name; there is: local, strict"},
		{"backend: lokal\n", ":1:10: there is no backend 'lokal'; there is: local, strict"},
		{"backend: local\nshoe_size: 42\n",
			":2:1: unknown key 'shoe_size'; allowed here: backend, user, secret, "
			"on_unknown, templates, crl_validity"},
		{"backend: local\nserver: {url: x}\n", ":2:1: unknown key 'server'"},
		{"backend: local\ncrl_validity: [3d]\n",
			":2:15: crl_validity must be a single value, here stands a list"},
		{"backend: local\ncrl_validity: {a: 3d}\n", ":2:15: crl_validity must be a single"},
		{"backend: local\ncrl_validity:\n",
			":2:14: crl_validity must be a single value, here stands nothing"},
		{"backend: local\nuser: [a]\n", ":2:7: user must be a single value"},
		{"backend: local\ntemplates: user\n",
			":2:12: templates must be a map (key: value), here stands a single value"},
		{"backend: local\ntemplates:\n  user: [eku]\n",
			":3:9: templates.user must be a map (key: value), here stands a list"},
		{"backend: local\ntemplates:\n  user:\n    max_validity: [365d]\n",
			":4:19: max_validity must be a single value, here stands a list"},
		{"backend: local\ntemplates:\n  user:\n    eku: 1.2.3\n",
			":4:10: templates.user.eku must be a list"},
		{"backend: local\ntemplates:\n  user:\n    eku: [[1.2.3]]\n",
			":4:11: templates.user.eku: an item is a text"},
		{"backend: local\ntemplates:\n  user: {}\n  mail: {max_life: 1d}\n",
			":4:10: unknown key 'max_life'; allowed here: eku, max_validity"},
		{"backend: local\ntemplates: {a b: {}}\n", ":2:18: templates: a key is 1 to 64"},
		{"backend: strict\n", ":1:1: key 'server' is missing"},
		{"backend: strict\nserver: {names: [a]}\n", ":2:9: key 'url' is missing"},
		{"backend: strict\nserver: {url: u}\nmap: {a: 1, b: {c: 2}}\n",
			":3:16: b must be a single value, here stands a map"},
		{"backend: strict\nserver: {url: u}\nprofiles: {one: {id: 1}, two: {}}\n",
			":3:31: key 'id' is missing"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *words = cc_asprintf("corp-ca.yaml%s", cases[i].words);
		put(r, "ca.d/corp-ca.yaml", cases[i].text);
		read_refused(r, "{}\n", words);
		free(words);
	}
}

static void a_ca_file_has_all_shapes_of_its_schema(void **state)
{
	struct rig *r = *state;
	const struct config_ca *ca;

	put(r, "ca.d/corp-ca.yaml",
		"backend: strict\nserver: {url: u, names: [a, b]}\nmap: {x: 1, y: 2}\n"
		"profiles: {one: {id: 1}}\n");
	read_ok(r, "{}\n");
	ca = config_find_ca(r->config, "corp-ca");
	assert_int_equal(ca->option_count, 5);
	assert_string_equal(option(ca, "server.names"), "a,b");
	assert_string_equal(option(ca, "map.y"), "2");
	assert_string_equal(option(ca, "profiles.one.id"), "1");
	assert_null(option(ca, "server.timeout"));
}

static void a_rule_fits_names_level_by_level(void **state)
{
	(void)state;
	assert_string_equal(backend_schema_below("templates.*.eku", ""), "templates.*.eku");
	assert_string_equal(backend_schema_below("templates.*.eku", "templates"), "*.eku");
	assert_string_equal(backend_schema_below("templates.*.eku", "templates.user"), "eku");
	assert_string_equal(backend_schema_below("templates.*.eku", "templates.user.eku"), "");
	assert_null(backend_schema_below("templates.*.eku", "templates.user.eku.more"));
	assert_null(backend_schema_below("templates.*.eku", "templates..eku"));
	assert_null(backend_schema_below("templates.*.eku", "template"));
	assert_null(backend_schema_below("templates.*.eku", "templates.user.ek"));
	assert_ptr_equal(backend_schema_rule(local_rules, 3, "templates.x.eku"), &local_rules[0]);
	assert_null(backend_schema_rule(local_rules, 3, "templates.x"));
	assert_null(backend_schema_rule(local_rules, 3, "crl_validity."));
}

static void a_file_that_others_may_write_is_refused(void **state)
{
	struct rig *r = *state;
	struct config *c = NULL;

	put(r, "connector.yaml", "{}\n");
	assert_int_equal(chmod(r->main_path, 0666), 0);
	assert_int_equal(config_read(r->main_path, &c), CC_PERMISSION);
}

static void the_reference_names_every_section(void **state)
{
	cc_blob page = CC_BLOB_NONE;

	(void)state;
	config_print_reference(&page);
	assert_non_null(strstr(cc_blob_text(&page), "state_dir"));
	assert_non_null(strstr(cc_blob_text(&page), "master_key"));
	assert_non_null(strstr(cc_blob_text(&page), "backoff_max_ms"));
	cc_blob_free(&page);
}

/* ---- walls ---- */

static void walls_are_reduced_without_users(void **state)
{
	struct rig *r = *state;
	struct walls w;

	read_ok(r, "{}\n");
	walls_judge(r->config, &w);
	assert_false(w.full);
	assert_non_null(strstr(w.why, "no users"));
}

static void walls_are_reduced_when_two_runners_share_a_user(void **state)
{
	struct rig *r = *state;
	struct walls w;

	put(r, "ca.d/corp-ca.yaml", "backend: local\n");
	put(r, "ca.d/a-second.yaml", "backend: local\n");
	read_ok(r, "users: {connector: 61001, keyvault: 61002, ca: 61003}\n");
	walls_judge(r->config, &w);
	assert_false(w.full);
	assert_non_null(strstr(w.why, "share one user"));
}

static void walls_are_full_with_a_user_for_each_when_users_may_be_changed(void **state)
{
	struct rig *r = *state;
	struct walls w;

	put(r, "ca.d/corp-ca.yaml", "backend: local\n");
	put(r, "ca.d/a-second.yaml", "backend: local\nuser: 61004\n");
	read_ok(r, "users: {connector: 61001, keyvault: 61002, ca: 61003}\n");
	walls_judge(r->config, &w);
	assert_int_equal(w.full, w.can_change_user);
	if (!w.full)
		assert_non_null(strstr(w.why, "CAP_SETUID"));
}

static void the_way_to_the_queue_is_understood(void **state)
{
	struct rig *r = *state;
	char *secret = file_join(r->dir, "proxy.secret");

	read_ok(r, "{}\n");
	assert_int_equal(r->config->proxy.kind, PROXY_NONE);
	assert_int_equal(r->config->queue.address_count, 0);
	read_ok(r, "queue: {addresses: [\"10.0.0.7:443\", \"wss://q2.example:8443\"]}\n"
		   "proxy: {kind: http, address: \"proxy.example:3128\", auth: ntlm,\n"
		   "  user: 'CORP\\me', secret: proxy.secret}\n");
	assert_int_equal(r->config->queue.address_count, 2);
	assert_string_equal(r->config->queue.addresses[1], "wss://q2.example:8443");
	assert_int_equal(r->config->proxy.kind, PROXY_HTTP);
	assert_int_equal(r->config->proxy.auth, PROXY_AUTH_NTLM);
	assert_string_equal(r->config->proxy.host, "proxy.example");
	assert_int_equal(r->config->proxy.port, 3128);
	assert_string_equal(r->config->proxy.user, "CORP\\me");
	assert_string_equal(r->config->proxy.secret, secret);
	read_ok(r, "proxy: {kind: https, address: \"[2001:db8::1]:443\", ca: proxy.pem,\n"
		   "  auth: negotiate, secret: client.keytab}\n");
	assert_string_equal(r->config->proxy.host, "2001:db8::1");
	assert_string_equal(r->config->proxy.krb5_config, "/etc/krb5.conf");
	free(secret);
}

static void half_a_proxy_is_refused(void **state)
{
	struct rig *r = *state;
	static const struct {
		const char *text, *words;
	} cases[] = {
		{"proxy: {kind: ftp}", "none, http, https, socks5, socks5h"},
		{"proxy: {kind: http}", "address is missing"},
		{"proxy: {kind: http, address: proxy}", "not host:port"},
		{"proxy: {address: \"p:1\"}", "kind is none"},
		{"proxy: {kind: https, address: \"p:1\"}", "needs ca"},
		{"proxy: {kind: http, address: \"p:1\", ca: x}", "for kind https"},
		{"proxy: {kind: http, address: \"p:1\", user: me}", "auth is none"},
		{"proxy: {kind: http, address: \"p:1\", auth: basic, user: me}", "without secret"},
		{"proxy: {kind: http, address: \"p:1\", auth: basic, secret: s}", "without user"},
		{"proxy: {kind: socks5, address: \"p:1\", auth: ntlm, user: me, secret: s}",
			"none or basic"},
		{"proxy: {kind: http, address: \"p:1\", auth: negotiate, user: me, secret: s}",
			"the keytab says"},
		{"queue: {addresses: queue.example}", "not a list"},
		{"queue: {addresses: [queue.example]}", "not wss://host:port"},
		{"queue: {addresses: [\"https://queue.example:443\"]}", "not wss://host:port"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		read_refused(r, cases[i].text, cases[i].words);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_empty_map_gives_the_defaults),
		TEST(the_whole_file_is_understood),
		TEST(the_way_to_the_queue_is_understood),
		TEST(half_a_proxy_is_refused),
		TEST(a_user_is_found_by_its_name),
		TEST(a_user_that_does_not_exist_is_named),
		TEST(a_role_never_runs_as_root),
		TEST(an_unknown_key_is_told_with_its_place),
		TEST(a_back_off_that_shrinks_is_refused),
		TEST(a_ca_file_is_flattened_for_its_backend),
		TEST(cas_come_in_order_of_name),
		TEST(a_ca_without_a_backend_is_refused),
		TEST(what_is_done_in_doubt_is_the_cas_own_setting),
		TEST(a_ca_file_whose_name_is_no_name_is_refused),
		TEST(a_list_of_maps_is_refused),
		TEST(a_ca_file_is_judged_by_its_backends_schema),
		TEST(a_ca_file_has_all_shapes_of_its_schema),
		TEST(a_rule_fits_names_level_by_level),
		TEST(a_file_that_others_may_write_is_refused),
		TEST(the_reference_names_every_section),
		TEST(walls_are_reduced_without_users),
		TEST(walls_are_reduced_when_two_runners_share_a_user),
		TEST(walls_are_full_with_a_user_for_each_when_users_may_be_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

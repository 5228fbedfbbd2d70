/*
 * queue.yaml: defaults, what is refused and where the complaint points.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "cloud-queue/queue_config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTEN "certificate: s.pem, key: s.key"
#define BASE                                                                                       \
	"state_dir: state\nrun_dir: run\n"                                                         \
	"ca: {certificate: ca.pem, key: ca.key}\n"
#define VHOSTS "connectors: {port: 9443, " LISTEN "}\nproducers: {port: 9444, " LISTEN "}\n"

static char dir[64];
static char path[96];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/qconf-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/queue.yaml", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static cc_err read_text(const char *text, struct queue_config *ret)
{
	assert_int_equal(file_write_atomic(path, cc_view_text(text), 0644), CC_OK);
	return queue_config_read(path, ret);
}

static void assert_refused(const char *text, const char *words)
{
	struct queue_config c = {0};
	cc_err err = read_text(text, &c);

	assert_int_equal(err, CC_CONFIG);
	if (!strstr(cc_err_detail(err), words))
		fail_msg("%s: no word of %s", cc_err_detail(err), words);
	assert_null(c.document);
}

static void a_short_file_gets_the_defaults(void **state)
{
	struct queue_config c = {0};
	char expected[128];

	(void)state;
	assert_int_equal(read_text(BASE VHOSTS, &c), CC_OK);
	snprintf(expected, sizeof(expected), "%s/ca.pem", dir);
	assert_string_equal(c.ca_certificate, expected);
	assert_string_equal(c.connectors.client_ca, expected);
	assert_string_equal(c.connectors.listen, "127.0.0.1");
	assert_int_equal(c.connectors.port, 9443);
	assert_int_equal(c.producers.port, 9444);
	assert_null(c.producers.url);
	assert_int_equal(c.lease_s, 120);
	assert_int_equal(c.takeover_after_s, 900);
	assert_int_equal(c.ping_s, 15);
	assert_int_equal(c.hangup_s, 25);
	assert_int_equal(c.retention_s, 7 * 86400);
	assert_int_equal(c.quota_open_jobs, 100000);
	assert_int_equal(c.log_format, LOG_LOGFMT);
	assert_int_equal(c.log_level, LOG_INFO_);
	queue_config_clear(&c);
}

static void what_stands_there_is_taken(void **state)
{
	struct queue_config c = {0};

	(void)state;
	assert_int_equal(
		read_text(BASE "connectors: {listen: \"::1\", port: 0, " LISTEN
			       ", client_ca: other.pem, url: \"wss://q.example:443\"}\n"
			       "producers: {port: 1, " LISTEN ", url: \"https://q.example\"}\n"
			       "lease: 10s\nping: 1s\nhangup: 3s\n"
			       "quotas: {open_jobs: 5, store_max: 2MiB}\n"
			       "log: {format: json, level: warning}\n",
			&c),
		CC_OK);
	assert_string_equal(c.connectors.listen, "::1");
	assert_string_equal(c.connectors.url, "wss://q.example:443");
	assert_non_null(strstr(c.connectors.client_ca, "/other.pem"));
	assert_int_equal(c.lease_s, 10);
	assert_int_equal(c.quota_open_jobs, 5);
	assert_int_equal(c.store_max, 2 << 20);
	assert_int_equal(c.log_format, LOG_JSON);
	assert_int_equal(c.log_level, LOG_WARNING_);
	queue_config_clear(&c);
}

static void an_unknown_key_is_refused_by_name(void **state)
{
	(void)state;
	assert_refused(BASE VHOSTS "leese: 10s\n", "leese");
	assert_refused(BASE "connectors: {port: 1, " LISTEN
			    ", tls: off}\nproducers: {port: 1, " LISTEN "}\n",
		"tls");
}

static void a_hangup_that_is_not_longer_than_the_ping_is_refused(void **state)
{
	(void)state;
	assert_refused(BASE VHOSTS "ping: 20s\nhangup: 20s\n", "hangup");
}

static void a_host_name_to_listen_on_is_refused(void **state)
{
	(void)state;
	assert_refused(BASE "connectors: {listen: localhost, port: 1, " LISTEN
			    "}\nproducers: {port: 1, " LISTEN "}\n",
		"localhost");
}

static void a_url_of_the_wrong_scheme_is_refused(void **state)
{
	(void)state;
	assert_refused(BASE "connectors: {port: 1, " LISTEN
			    ", url: \"ws://q\"}\nproducers: {port: 1, " LISTEN "}\n",
		"wss://");
}

static void a_missing_part_is_refused(void **state)
{
	(void)state;
	assert_refused(VHOSTS "state_dir: a\nrun_dir: b\n", "ca");
	assert_refused(BASE "connectors: {port: 1, " LISTEN "}\n", "producers");
}

static void a_client_ca_for_producers_is_refused(void **state)
{
	(void)state;
	assert_refused(BASE "connectors: {port: 1, " LISTEN "}\nproducers: {port: 1, " LISTEN
			    ", client_ca: x.pem}\n",
		"client_ca");
}

static void the_reference_names_every_part(void **state)
{
	cc_blob page = CC_BLOB_NONE;

	(void)state;
	queue_config_reference(&page);
	assert_non_null(strstr(cc_blob_text(&page), "takeover_after"));
	assert_non_null(strstr(cc_blob_text(&page), "client_ca"));
	assert_non_null(strstr(cc_blob_text(&page), "store_max"));
	cc_blob_free(&page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_short_file_gets_the_defaults),
		cmocka_unit_test(what_stands_there_is_taken),
		cmocka_unit_test(an_unknown_key_is_refused_by_name),
		cmocka_unit_test(a_hangup_that_is_not_longer_than_the_ping_is_refused),
		cmocka_unit_test(a_host_name_to_listen_on_is_refused),
		cmocka_unit_test(a_url_of_the_wrong_scheme_is_refused),
		cmocka_unit_test(a_missing_part_is_refused),
		cmocka_unit_test(a_client_ca_for_producers_is_refused),
		cmocka_unit_test(the_reference_names_every_part),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

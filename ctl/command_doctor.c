/*
 * doctor: a line for each thing that has to be right, and the fix where it is not.
 *
 * Every check is made, even when an earlier one fails; the exit status is 1 when one did.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/https.h"
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SKEW_LIMIT_MS 60000
#define BUILT_AFTER_S 1767225600 /* 2026-01-01: a clock before this program was written is wrong */

struct doctor {
	const struct ctl *c;
	json_t *lines;
	size_t failed;
	Control__ControlAnswer *status; /* NULL: the connector does not answer */
};

static void tell(
	struct doctor *d, const char *what, bool fine, const char *finding, const char *fix)
{
	if (!fine)
		d->failed++;
	if (d->c->json)
		json_array_append_new(
			d->lines, json_pack("{s:s, s:b, s:s, s:s}", "check", what, "ok", (int)fine,
					  "finding", finding, "fix", fine ? "" : fix));
	else
		printf("%-4s  %s: %s%s%s\n", fine ? "ok" : "FAIL", what, finding,
			fine ? "" : "; fix: ", fine ? "" : fix);
}

static void check_configuration(struct doctor *d)
{
	char *daemon = ctl_daemon_path();
	char *config = cc_strdup(d->c->settings.config);
	char *argv[] = {daemon, (char[]){"--check"}, (char[]){"--config"}, config, NULL};
	cc_blob output = CC_BLOB_NONE;
	int status = EXIT_FAILED;

	cc_err err = ctl_run(argv, &status, &output);
	while (output.size > 0 && output.data[output.size - 1] == '\n')
		output.size--;
	if (err != CC_OK)
		tell(d, "configuration", false, cc_err_detail(err), "install certconnectord");
	else
		tell(d, "configuration", status == EXIT_OK,
			output.size > 0 ? cc_blob_text(&output) : d->c->settings.config,
			"mend the named place");
	cc_blob_free(&output);
	free(config);
	free(daemon);
}

/* Secret files and directories that only their owner may enter. */
static void check_mode(struct doctor *d, const char *path, bool may_be_absent)
{
	struct stat st;
	char *fix = cc_asprintf("chmod go-rwx %s", path);

	if (stat(path, &st) != 0) {
		if (!may_be_absent)
			tell(d, "permissions", false, path,
				"certconnectorctl init makes what is missing");
	} else {
		char *finding =
			cc_asprintf("%s has mode %04o", path, (unsigned)(st.st_mode & 07777));
		tell(d, "permissions", (st.st_mode & 077) == 0, finding, fix);
		free(finding);
	}
	free(fix);
}

static void check_permissions(struct doctor *d)
{
	static const char *const dirs[] = {"identity", "journal", "vault"};
	check_mode(d, d->c->settings.master_key, false);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		char *path = file_join(d->c->settings.state_dir, dirs[i]);
		check_mode(d, path, false);
		free(path);
	}
	char *key = cc_asprintf("%s/identity/transport.key", d->c->settings.state_dir);
	check_mode(d, key, true);
	free(key);
}

static void check_clock(struct doctor *d)
{
	const Control__StatusReport *r = d->status ? d->status->status : NULL;
	int64_t skew = r ? r->clock_skew_ms : 0;
	char now[RFC3339_SIZE];
	bool fine =
		clock_realtime_s() > BUILT_AFTER_S && skew < SKEW_LIMIT_MS && skew > -SKEW_LIMIT_MS;

	text_rfc3339(clock_realtime_s(), now);
	char *finding = r && r->connected_ms
				? cc_asprintf("%s, %lld ms from the queue's", now, (long long)skew)
				: cc_asprintf("%s, not compared with the queue's", now);
	tell(d, "clock", fine, finding,
		"set the clock, and keep it by chrony or systemd-timesyncd");
	free(finding);
}

static void check_queue_tls(struct doctor *d)
{
	const Control__StatusReport *r = d->status ? d->status->status : NULL;
	const char *fix = "check name, port and proxy of the queue; the CA is pinned in "
			  "identity/queue-ca.pem";
	cc_blob body = CC_BLOB_NONE;
	struct ctl_way *way = NULL;
	long status = 0;

	if (r == NULL || r->queue_url.len < 6) {
		tell(d, "TLS to the queue", false,
			r ? "not enrolled" : "the connector does not answer",
			r ? "certconnectorctl enroll --token-file FILE" : "start certconnectord");
		return;
	}
	char *address = text_printable(codec_view(r->queue_url));
	char *url = cc_asprintf("https://%s", address + strlen("wss://"));
	char *ca = cc_asprintf("%s/identity/queue-ca.pem", d->c->settings.state_dir);
	char *certificate = cc_asprintf("%s/identity/transport.pem", d->c->settings.state_dir);
	char *key = cc_asprintf("%s/identity/transport.key", d->c->settings.state_dir);
	cc_err err = ctl_way_read(&d->c->settings, &way);
	if (err == CC_OK)
		err = https_ask(&(struct https_request){.url = url,
					.ca_file = ca,
					.client_certificate = certificate,
					.client_key = key,
					.proxy = ctl_way_proxy(way)},
			&status, &body);
	ctl_way_free(way);
	char *finding = err == CC_OK ? cc_asprintf("%s answers under the pinned CA", url)
				     : cc_strdup(cc_err_detail(err));
	tell(d, "TLS to the queue", err == CC_OK, finding, fix);
	free(finding);
	free(key);
	free(certificate);
	free(ca);
	free(url);
	free(address);
	cc_blob_free(&body);
}

static void check_connection(struct doctor *d)
{
	const Control__StatusReport *r = d->status ? d->status->status : NULL;
	if (r == NULL) {
		tell(d, "connector", false, "does not answer", "start certconnectord");
		return;
	}
	char *connection = text_printable(codec_view(r->connection));
	char *reason = text_printable(codec_view(r->last_error));
	bool ready = strcmp(connection, "ready") == 0;
	char *finding = cc_asprintf(
		"%s%s%s", connection, reason[0] && !ready ? ": " : "", ready ? "" : reason);
	tell(d, "connection", ready, finding, "see the line on TLS, and the log");
	free(finding);
	free(reason);
	free(connection);
}

static void check_cas(struct doctor *d)
{
	const Control__StatusReport *r = d->status ? d->status->status : NULL;
	if (r != NULL && r->n_cas == 0)
		tell(d, "CA", false, "none is configured", "add ca.d/NAME.yaml");
	for (size_t i = 0; r != NULL && i < r->n_cas; i++) {
		char *name = text_printable(codec_view(r->cas[i]->name));
		char *state = text_printable(codec_view(r->cas[i]->state));
		char *reason = text_printable(codec_view(r->cas[i]->reason));
		char *what = cc_asprintf("CA %s", name);
		char *finding = cc_asprintf("%s%s%s", state, reason[0] ? ": " : "", reason);
		tell(d, what, strcmp(state, "ok") == 0, finding,
			"certconnectorctl ca init, or the CA's settings");
		free(finding);
		free(what);
		free(reason);
		free(state);
		free(name);
	}
}

static void check_policy(struct doctor *d)
{
	Vault__AdminCheckPolicy check = VAULT__ADMIN_CHECK_POLICY__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;

	request.op_case = VAULT__ADMIN_REQUEST__OP_CHECK_POLICY;
	request.check_policy = &check;
	cc_err err = ctl_ask_vault(d->c, &request, &answer);
	if (err != CC_OK || answer->list == NULL) {
		tell(d, "policy", false, cc_err_detail(err),
			"start certconnectord; run doctor as its administrator");
	} else {
		const Vault__PublicList *list = answer->list;
		char *problem = text_printable(codec_view(list->policy_problem));
		char *mode = text_printable(codec_view(list->device_keys));
		char *finding =
			problem[0] ? cc_strdup(problem)
				   : cc_asprintf("revision %llu, %zu profiles, device_keys: %s%s",
					     (unsigned long long)list->policy_revision,
					     list->n_profiles, mode,
					     strcmp(mode, "any_signed") == 0
						     ? " (the cloud's word: not cloud-blind)"
						     : "");
		tell(d, "policy", problem[0] == '\0', finding,
			"mend policy.yaml or pins.yaml, then SIGHUP");
		free(finding);
		free(mode);
		free(problem);
	}
	codec_free(answer);
}

static void ask_status(struct doctor *d)
{
	Control__StatusRequest status = CONTROL__STATUS_REQUEST__INIT;
	Control__ControlRequest request = CONTROL__CONTROL_REQUEST__INIT;

	request.op_case = CONTROL__CONTROL_REQUEST__OP_STATUS;
	request.status = &status;
	if (ctl_ask_connector(d->c, &request, &d->status) != CC_OK || d->status->status == NULL) {
		codec_free(d->status);
		d->status = NULL;
	}
}

int command_doctor(struct ctl *c, int argc, char **argv)
{
	struct doctor d = {.c = c, .lines = json_array()};

	if (argc > 1) {
		bool help = strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr, "usage: certconnectorctl [--json] doctor\n"
						"A line for each thing that has to be right; exit "
						"status 1 when one is not.\n");
		json_decref(d.lines);
		return help ? EXIT_OK : EXIT_USAGE;
	}
	ask_status(&d);
	check_configuration(&d);
	check_permissions(&d);
	check_clock(&d);
	check_queue_tls(&d);
	check_connection(&d);
	check_cas(&d);
	check_policy(&d);
	if (c->json) {
		char *text = json_dumps(d.lines, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	}
	json_decref(d.lines);
	codec_free(d.status);
	return d.failed == 0 ? EXIT_OK : EXIT_FAILED;
}

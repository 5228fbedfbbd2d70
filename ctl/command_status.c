/*
 * status: what the connector knows of itself, for people, or as JSON for machines.
 *
 * One table of printers serves both: the report is turned into JSON once, and people get the same
 * values in lines.  Exit status 4 when the daemon does not answer, 1 when something needs attention.
 */
#include "base/clock.h"
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/codec.h"
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *text_value(ProtobufCBinaryData b)
{
	char *words = text_printable(codec_view(b)); /* some come from the queue */
	json_t *value = json_string(words);
	free(words);
	return value;
}

static json_t *time_value(int64_t ms)
{
	char text[RFC3339_SIZE];
	if (ms == 0)
		return json_null();
	text_rfc3339(ms / 1000, text);
	return json_string(text);
}

static json_t *counts(size_t n, Control__NamedCount *const *items)
{
	json_t *to = json_object();
	for (size_t i = 0; i < n; i++) {
		char *name = text_printable(codec_view(items[i]->name));
		json_object_set_new(to, name, json_integer((json_int_t)items[i]->value));
		free(name);
	}
	return to;
}

static json_t *cas(const Control__StatusReport *r)
{
	json_t *to = json_array();
	for (size_t i = 0; i < r->n_cas; i++) {
		const Control__CaStatus *ca = r->cas[i];
		json_array_append_new(
			to, json_pack("{s:o, s:o, s:o, s:o, s:o}", "name", text_value(ca->name),
				    "backend", text_value(ca->backend), "state",
				    text_value(ca->state), "reason", text_value(ca->reason),
				    "checked", time_value(ca->checked_ms)));
	}
	return to;
}

static json_t *children(const Control__StatusReport *r)
{
	json_t *to = json_array();
	for (size_t i = 0; i < r->n_children; i++) {
		const Control__ChildStatus *child = r->children[i];
		json_array_append_new(
			to, json_pack("{s:o, s:o, s:o, s:I, s:I, s:o}", "role",
				    text_value(child->role), "name", text_value(child->name),
				    "state", text_value(child->state), "pid",
				    (json_int_t)child->pid, "restarts", (json_int_t)child->restarts,
				    "last_exit", text_value(child->last_exit)));
	}
	return to;
}

static json_t *expiries(const Control__StatusReport *r)
{
	json_t *to = json_array();
	int64_t now_s = clock_realtime_s();
	for (size_t i = 0; i < r->n_expiries; i++) {
		int64_t end_s = r->expiries[i]->not_after_s;
		/* rounded down: -1 from the first second after the end */
		int64_t days = (end_s - now_s - (end_s < now_s ? 86399 : 0)) / 86400;
		json_array_append_new(
			to, json_pack("{s:o, s:o, s:I}", "what", text_value(r->expiries[i]->what),
				    "not_after", time_value(end_s * 1000), "days_left",
				    (json_int_t)days));
	}
	return to;
}

static json_t *attention(const Control__StatusReport *r)
{
	json_t *to = json_array();
	for (size_t i = 0; i < r->n_attention; i++)
		json_array_append_new(to, text_value(r->attention[i]));
	return to;
}

static json_t *as_json(const Control__StatusReport *r)
{
	json_t *to = json_object();
	json_object_set_new(to, "version", text_value(r->version));
	json_object_set_new(to, "started", time_value(r->started_ms));
	json_object_set_new(to, "connection", text_value(r->connection));
	json_object_set_new(to, "tenant", text_value(r->tenant));
	json_object_set_new(to, "connector", text_value(r->connector_id));
	json_object_set_new(to, "queue", text_value(r->queue_url));
	json_object_set_new(to, "connected", time_value(r->connected_ms));
	json_object_set_new(to, "last_error", text_value(r->last_error));
	json_object_set_new(to, "clock_skew_ms", json_integer(r->clock_skew_ms));
	json_object_set_new(to, "walls", text_value(r->walls));
	json_object_set_new(to, "cloud_blind", json_boolean(r->cloud_blind));
	json_object_set_new(to, "device_keys", text_value(r->device_keys));
	json_object_set_new(to, "policy_problem", text_value(r->policy_problem));
	json_object_set_new(to, "waiting_jobs", json_integer(r->waiting_jobs));
	json_object_set_new(to, "jobs", counts(r->n_states, r->states));
	json_object_set_new(to, "outcomes", counts(r->n_outcomes, r->outcomes));
	json_object_set_new(to, "journal_bytes", json_integer((json_int_t)r->journal_bytes));
	json_object_set_new(to, "journal_limit", json_integer((json_int_t)r->journal_limit));
	json_object_set_new(to, "cas", cas(r));
	json_object_set_new(to, "processes", children(r));
	json_object_set_new(to, "expiries", expiries(r));
	json_object_set_new(to, "attention", attention(r));
	return to;
}

static void print_value(const json_t *value)
{
	if (json_is_string(value))
		printf("%s", json_string_value(value));
	else if (json_is_integer(value))
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_boolean(value))
		printf("%s", json_is_true(value) ? "yes" : "no");
}

static bool is_empty(const json_t *value)
{
	return json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

/* "key=value key=value", empty ones left out. */
static void print_members(const json_t *object)
{
	const char *key;
	json_t *value;
	const char *between = "";
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (is_empty(value))
			continue;
		printf("%s%s=", between, key);
		print_value(value);
		between = "  ";
	}
	printf("\n");
}

static void print_for_people(const json_t *report)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)report, key, value)
	{
		if (is_empty(value) || (json_is_array(value) && json_array_size(value) == 0))
			continue;
		printf("%s: ", strcmp(key, "cloud_blind") == 0 ? "cloud-blind" : key);
		if (json_is_object(value)) {
			print_members(value);
		} else if (json_is_array(value)) {
			printf("\n");
			for (size_t i = 0; i < json_array_size(value); i++) {
				const json_t *item = json_array_get(value, i);
				printf("  ");
				if (json_is_object(item)) {
					print_members(item);
				} else {
					print_value(item);
					printf("\n");
				}
			}
		} else {
			print_value(value);
			printf("\n");
		}
	}
}

static cc_err show(const struct ctl *c, bool *ret_attention)
{
	Control__StatusRequest status = CONTROL__STATUS_REQUEST__INIT;
	Control__ControlRequest request = CONTROL__CONTROL_REQUEST__INIT;
	Control__ControlAnswer *answer = NULL;
	json_t *report = NULL;
	cc_err err = CC_OK;

	request.op_case = CONTROL__CONTROL_REQUEST__OP_STATUS;
	request.status = &status;
	TRY(ctl_ask_connector(c, &request, &answer));
	ENSURE(answer->status != NULL, cc_fail(CC_PROTOCOL, "the answer has no status"));
	report = as_json(answer->status);
	if (c->json) {
		char *text = json_dumps(report, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	} else {
		print_for_people(report);
	}
	*ret_attention = answer->status->n_attention > 0;
out:
	json_decref(report);
	codec_free(answer);
	return err;
}

int command_status(struct ctl *c, int argc, char **argv)
{
	static const struct option options[] = {{"watch", no_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool watch = false, attention_needed = false;
	int option;

	while ((option = getopt_long(argc, argv, "wh", options, NULL)) == 'w')
		watch = true;
	if (option != -1 || optind < argc) {
		fprintf(option == 'h' ? stdout : stderr,
			"usage: certconnectorctl [--json] status [--watch]\n"
			"  --watch  again every two seconds, until interrupted\n"
			"exit status 1: something needs attention\n");
		return option == 'h' ? EXIT_OK : EXIT_USAGE;
	}
	for (;;) {
		cc_err err = show(c, &attention_needed);
		if (err != CC_OK)
			return ctl_fail("status", err);
		if (!watch)
			return attention_needed ? EXIT_FAILED : EXIT_OK;
		printf("\n");
		fflush(stdout);
		sleep(2);
	}
}

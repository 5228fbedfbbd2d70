/*
 * Runner: the process of one CA.
 *
 * The ritual of every role, then a loop with the link to the supervisor and one conversation, with
 * the connector.  The connector is not believed: what it asks for is done only on an order that the
 * keyvault signed (runner_order.c).  The backend works in a thread (worker.c).
 */
#include "ca-backends/runner_int.h"
#include "base/crashpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "ca-backends/cookie.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UPKEEP_MS       (10 * 60 * 1000)
#define UPKEEP_FIRST_MS 1000
#define APPROVAL_MAX    4096u
#define SECRET_MAX      65536u
#define CONNECTOR_NAME  "connector"

static void finish(struct runner *r, cc_err why)
{
	r->ended = true;
	r->why = why;
	loop_stop(r->loop);
}

/* ---- the conversation ---- */

static void drop_chan(struct runner *r)
{
	chan_free(r->chan);
	r->chan = NULL;
}

static cc_err check_greeting_of_connector(void *arg, cc_view frame)
{
	const struct runner *r = arg;

	return greeting_check(
		frame, ROLE__ROLE_KIND__ROLE_CONNECTOR, CONNECTOR_NAME, r->setup->build_id);
}

static cc_err on_frame(void *arg, cc_view frame)
{
	return runner_take_request(arg, frame);
}

static void on_closed(void *arg, cc_err why)
{
	struct runner *r = arg;

	drop_chan(r);
	if (why != CC_CLOSED) /* an orderly end: the connector was restarted */
		log_event(EV_CONVERSATION_LOST, LV_TEXT("peer", CONNECTOR_NAME), LV_ERR(why));
	cc_ignore(role_link_lost(r->link, ROLE__ROLE_KIND__ROLE_CONNECTOR, CONNECTOR_NAME),
		"a broken link ends the process by itself");
}

static void take_conversation(struct runner *r, int fd)
{
	static const struct chan_events events = {.frame = on_frame, .closed = on_closed};
	cc_blob greeting =
		greeting_pack(ROLE__ROLE_KIND__ROLE_CA_RUNNER, r->setup->name, r->setup->build_id);
	cc_err err;

	drop_chan(r);
	r->conversation++;
	err = chan_new(r->loop, fd, &events, r, cc_blob_view(&greeting),
		check_greeting_of_connector, &r->chan);
	cc_blob_free(&greeting);
	if (err != CC_OK)
		finish(r, err);
}

/* ---- the link ---- */

static bool on_conversation(void *arg, const Role__Conversation *conversation, int fd)
{
	if (conversation->peer != ROLE__ROLE_KIND__ROLE_CONNECTOR)
		return false;
	take_conversation(arg, fd);
	return true;
}

static void on_stop(void *arg, uint32_t grace_ms)
{
	(void)grace_ms;
	finish(arg, CC_OK);
}

static void on_link_ended(void *arg, cc_err why)
{
	finish(arg, why == CC_CLOSED ? CC_OK : why);
}

static void on_signal(void *arg, int signal)
{
	(void)signal;
	finish(arg, CC_OK);
}

static void on_ledger_fatal(void *arg, cc_err err)
{
	finish(arg, err);
}

static void on_upkeep(void *arg)
{
	struct runner *r = arg;

	ledger_prune(r->ledger);
	runner_upkeep(r);
	loop_timer_set(r->upkeep, UPKEEP_MS);
}

/* ---- configuration ---- */

static char *judge_options(const struct runner *r)
{
	const struct ca_backend *b = r->backend;

	for (size_t i = 0; i < r->context.option_count; i++) {
		const char *name = r->options[i].name;
		if (backend_schema_rule(b->schema, b->schema_count, name) == NULL)
			return cc_asprintf("ca.d/%s.yaml: backend %s has no setting \"%s\"",
				r->setup->name, b->name, name);
	}
	for (size_t i = 0; i < b->schema_count; i++) {
		if (b->schema[i].required && strchr(b->schema[i].name, '*') == NULL &&
			ca_option_get(&r->context, b->schema[i].name) == NULL)
			return cc_asprintf("ca.d/%s.yaml: backend %s needs \"%s\"", r->setup->name,
				b->name, b->schema[i].name);
	}
	return NULL;
}

/* What is wrong with the configuration does not end the runner: it is the CA's health. */
static void fill_context(struct runner *r)
{
	const Role__RunnerSetup *s = r->setup->runner;

	r->backend = registry_find(s->backend);
	r->options = cc_alloc((s->n_options + 1) * sizeof(*r->options));
	for (size_t i = 0; i < s->n_options; i++)
		r->options[i] = (struct ca_option){s->options[i]->name, s->options[i]->value};
	r->context = (struct ca_context){
		.name = s->ca_name,
		.state_dir = r->setup->state_dir,
		.options = r->options,
		.option_count = s->n_options,
		.secret = cc_secret_view(&r->secret),
	};
	if (r->backend == NULL) {
		r->problem = cc_asprintf("there is no backend \"%s\"", s->backend);
		return;
	}
	r->context.schema = r->backend->schema;
	r->context.schema_count = r->backend->schema_count;
	r->problem = judge_options(r);
}

static cc_err read_descriptors(struct runner *r, const int fds[LINK_FDS_MAX])
{
	int approval = role_link_descriptor(r->setup, fds, "approval-key");
	int secret = role_link_descriptor(r->setup, fds, "ca-secret");
	cc_err err = CC_OK;

	ENSURE(approval >= 0, cc_fail(CC_PROTOCOL, "setup without the approval key"));
	TRY(file_read_fd(approval, "approval-key", APPROVAL_MAX, &r->approval_spki));
	if (secret >= 0)
		TRY(file_read_secret_fd(secret, "ca-secret", SECRET_MAX, &r->secret));
out:
	return err;
}

static cc_err enter_sandbox(const struct runner *r, int *ret_abi)
{
	const char *const writable[] = {r->setup->state_dir, NULL};
	cc_err err = sandbox_enter(SANDBOX_RUNNER, writable, NULL, ret_abi);

	if (err == CC_NOT_SUPPORTED && !r->setup->walls_full) {
		*ret_abi = 0;
		return CC_OK;
	}
	return err;
}

/* ---- the process ---- */

static cc_err start(struct runner *r, const int fds[LINK_FDS_MAX])
{
	static const int signals[] = {SIGTERM, SIGINT};
	static const struct role_link_events events = {
		.conversation = on_conversation, .stop = on_stop, .ended = on_link_ended};
	char *ledger_dir = NULL;
	int abi = 0;
	cc_err err = CC_OK;

	ENSURE(r->setup->runner != NULL, cc_fail(CC_PROTOCOL, "setup without a runner's part"));
	TRY(read_descriptors(r, fds));
	fill_context(r);
	TRY(file_make_dir(r->setup->state_dir, 0700));
	TRY(cookie_read_key(r->setup->state_dir, &r->cookie_key));
	ledger_dir = file_join(r->setup->state_dir, "ledger");
	TRY(ledger_open(ledger_dir, &r->ledger));
	TRY(loop_new(&r->loop));
	TRY(loop_signals(r->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, r));
	TRY(enter_sandbox(r, &abi));
	TRY(ledger_start(r->ledger, r->loop, on_ledger_fatal, r));
	TRY(ca_worker_start(r->loop, &r->worker));
	r->upkeep = loop_timer_new(r->loop, on_upkeep, r);
	loop_timer_set(r->upkeep, UPKEEP_FIRST_MS);
	TRY(role_link_start(r->loop, &events, r, &r->link));
	TRY(role_link_ready(CC_VIEW_NONE, abi));
	log_event(EV_STARTED, LV_TEXT("version", CC_RELEASE), LV_TEXT("ca", r->setup->name),
		LV_TEXT("backend", r->setup->runner->backend), LV_I64("landlock_abi", abi));
out:
	free(ledger_dir);
	return err;
}

static void clear(struct runner *r)
{
	role_link_stop(r->link);
	drop_chan(r);
	ca_worker_stop(r->worker, NULL);
	if (r->instance != NULL)
		r->backend->close(r->instance);
	ledger_close(r->ledger);
	runner_drop_calls(r);
	loop_timer_free(r->upkeep);
	loop_free(r->loop);
	free(r->options);
	free(r->problem);
	cc_secret_free(&r->secret);
	cc_secret_free(&r->cookie_key);
	cc_blob_free(&r->approval_spki);
	codec_free(r->setup);
}

int runner_role_main(void)
{
	struct runner r = {0};
	int fds[LINK_FDS_MAX];
	cc_err err = CC_OK;

	for (size_t i = 0; i < LINK_FDS_MAX; i++)
		fds[i] = -1;
	memory_share();
	crashpoint_arm();
	sandbox_early(false);
	TRY(role_link_setup(ROLE__ROLE_KIND__ROLE_CA_RUNNER, &r.setup, fds));
	TRY(role_link_user(r.setup));
	err = start(&r, fds);
	link_close(fds, LINK_FDS_MAX);
	TRY(err);
	loop_run(r.loop);
	TRY(r.why);
	log_event(EV_STOPPED, LV_TEXT("ca", r.setup->name));
out:
	if (err != CC_OK)
		log_event(EV_FATAL, LV_ERR(err));
	clear(&r);
	return err == CC_OK ? EXIT_OK : EXIT_FAILED;
}

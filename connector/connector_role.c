/*
 * The connector's process: the ritual of a role, what it owns, and the supervisor's messages.
 *
 * acquire (Setup, identity, TLS files) -> walls -> journal with its thread -> Ready -> loop.  A thread
 * takes its walls from the one that made it, so the journal's starts behind them.  It holds no key but
 * that of its TLS identity, which only the TLS library reads.  A reload of the configuration starts it
 * anew, so nothing is read twice.
 */
#include "base/crashpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/lws_loop.h"
#include "base/memory.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "connector/control.h"
#include "connector/dialer.h"
#include "connector/flow.h"
#include "connector/identity.h"
#include "connector/status.h"
#include "connector/wss.h"
#include "proto/codec.h"
#include "proto/role_link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FDS_MAX = 1024,
	JOURNAL_MIN = 16 * 1024 * 1024,
	EXPIRIES_FIRST_MS = 30 * 1000, /* by then keyvault and queue have answered */
	EXPIRIES_EVERY_MS = 3600 * 1000,
};

static const int64_t day_ms = INT64_C(86400000);

struct connector {
	Role__Setup *setup;
	int fds[LINK_FDS_MAX];
	struct loop *loop;
	struct role_link *link;
	struct identity *identity;
	struct proxy *proxy; /* the wire's, once that is made */
	char *identity_problem;
	struct journal *journal;
	struct wire *wire;
	struct flow *flow;
	struct status *status;
	struct control *control;
	struct loop_timer *grace;
	struct loop_timer *expiries;
	cc_err ended_by; /* CC_OK: an orderly stop */
	char *ended_detail;
};

static void finish(struct connector *c, cc_err why)
{
	if (c->ended_by == CC_OK && why != CC_OK) {
		c->ended_by = why;
		c->ended_detail = cc_strdup(cc_err_detail(why));
	}
	loop_stop(c->loop);
}

/* ---- the flow's and the operator's events ---- */

static void on_conversation_lost(void *arg, const char *ca)
{
	struct connector *c = arg;
	cc_err err = ca == NULL
			     ? role_link_lost(c->link, ROLE__ROLE_KIND__ROLE_KEYVAULT, "keyvault")
			     : role_link_lost(c->link, ROLE__ROLE_KIND__ROLE_CA_RUNNER, ca);
	if (err != CC_OK)
		log_event(EV_LINK_BROKEN, LV_ERR(err));
}

static void on_fatal(void *arg, cc_err err)
{
	finish(arg, err);
}

static void on_stopped(void *arg)
{
	finish(arg, CC_OK);
}

static const struct flow_events flow_events = {
	.conversation_lost = on_conversation_lost, .fatal = on_fatal, .stopped = on_stopped};

static cc_err on_reload(void *arg)
{
	Role__LinkMessage message = ROLE__LINK_MESSAGE__INIT;
	Role__ReloadRequest reload = ROLE__RELOAD_REQUEST__INIT;
	(void)arg;
	message.body_case = ROLE__LINK_MESSAGE__BODY_RELOAD;
	message.reload = &reload;
	return role_link_send(&message);
}

static void on_drain(void *arg)
{
	struct connector *c = arg;
	flow_drain(c->flow);
}

static cc_err on_resume_ca(void *arg, cc_view name)
{
	struct connector *c = arg;
	return flow_resume_ca(c->flow, name);
}

static cc_err on_adopt(void *arg)
{
	struct connector *c = arg;
	return flow_adopt(c->flow);
}

static const struct control_events control_events = {
	.reload = on_reload, .drain = on_drain, .resume_ca = on_resume_ca, .adopt = on_adopt};

/* ---- the supervisor's messages ---- */

static bool on_conversation(void *arg, const Role__Conversation *conversation, int fd)
{
	struct connector *c = arg;
	if (conversation->peer == ROLE__ROLE_KIND__ROLE_KEYVAULT)
		flow_attach_vault(c->flow, fd);
	else if (conversation->peer == ROLE__ROLE_KIND__ROLE_CA_RUNNER)
		flow_attach_ca(c->flow, cc_view_text(conversation->peer_name), fd);
	else
		return false;
	return true;
}

static void on_stop(void *arg, uint32_t grace_ms)
{
	struct connector *c = arg;
	/* some of the grace is for the end of the process itself */
	loop_timer_set(c->grace, grace_ms - grace_ms / 4);
	flow_stop(c->flow, grace_ms);
}

static void on_message(void *arg, const Role__LinkMessage *message, const int *fds, size_t count)
{
	struct connector *c = arg;
	(void)fds;
	(void)count;
	if (message->body_case == ROLE__LINK_MESSAGE__BODY_CHILD_STATE)
		status_take_child(c->status, message->child_state);
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

/* An identity that is there and not usable does not end the process: status has to say why. */
static void load_identity(struct connector *c)
{
	cc_err err = identity_load(c->setup->state_dir, &c->identity);
	if (err == CC_OK || err == CC_NOT_FOUND)
		return;
	c->identity_problem = cc_strdup(cc_err_detail(err));
	log_event(EV_CONFIG_REFUSED, LV_ERR(err));
}

static cc_err make_journal_dir(const struct connector *c)
{
	char *dir = file_join(c->setup->state_dir, "journal");
	cc_err err = file_make_dir(dir, 0700);
	free(dir);
	return err;
}

static cc_err open_journal(struct connector *c)
{
	const Role__ConnectorSetup *setup = c->setup->connector;
	struct journal_settings s = {0};
	char *dir = file_join(c->setup->state_dir, "journal");
	cc_err err = CC_OK;
	s.dir = dir;
	s.max_bytes =
		setup->journal_max_bytes > JOURNAL_MIN ? setup->journal_max_bytes : JOURNAL_MIN;
	s.result_retention_ms =
		setup->result_retention_s > 0 ? (int64_t)setup->result_retention_s * 1000 : day_ms;
	TRY(journal_open(&s, c->loop, &c->journal));
out:
	free(dir);
	return err;
}

/* Its environment and libcurl's, before the first thread. */
static cc_err make_proxy(struct connector *c)
{
	cc_err err = CC_OK;
	TRY(dialer_start_library());
	TRY(proxy_new(c->setup->connector->proxy,
		role_link_descriptor(c->setup, c->fds, "proxy-secret"),
		role_link_descriptor(c->setup, c->fds, "proxy-ca"), &c->proxy));
out:
	return err;
}

static cc_err make_wire(struct connector *c)
{
	cc_err err = CC_OK;
	if (c->identity == NULL)
		return CC_OK;
	err = make_proxy(c);
	if (err == CC_OK)
		err = wss_new(c->loop, c->identity, &c->proxy, c->setup->connector->queue_addresses,
			c->setup->connector->n_queue_addresses, &c->wire);
	if (err == CC_OK)
		return CC_OK;
	c->identity_problem = cc_strdup(cc_err_detail(err));
	log_event(EV_CONFIG_REFUSED, LV_ERR(err));
	return CC_OK;
}

static int64_t milliseconds(uint64_t seconds)
{
	const uint64_t year = 366 * 86400;
	return (int64_t)(seconds < year ? seconds : year) * 1000;
}

static cc_err make_flow(struct connector *c)
{
	const Role__ConnectorSetup *setup = c->setup->connector;
	struct flow_settings s = {
		.build_id = c->setup->build_id,
		.tenant = c->identity != NULL ? c->identity->tenant : "",
		.connector_id = c->identity != NULL ? c->identity->connector_id : "",
		.ca_names = setup->ca_names,
		.ca_count = setup->n_ca_names,
		.max_inflight = setup->max_inflight,
		.backoff_min_ms = setup->backoff_min_ms,
		.backoff_max_ms = setup->backoff_max_ms,
		.hold_cas = setup->hold_cas,
		.hold_count = setup->n_hold_cas,
		.pending_max_ms = milliseconds(setup->pending_limit_s),
		.watch_ms = milliseconds(setup->watch_s),
		.poll_min_ms = milliseconds(setup->poll_min_s),
		.orphan_grace_ms = milliseconds(setup->orphan_grace_s),
		.orphan_max_per_hour = setup->orphan_max_per_hour,
		.approval_retry_ms = milliseconds(setup->approval_retry_s),
		.approval_retry_max_ms = milliseconds(setup->approval_retry_max_s),
	};
	struct journal *journal = c->journal;
	c->journal = NULL; /* the flow's from here on */
	return flow_new(c->loop, &s, journal, c->wire, &flow_events, c, &c->flow);
}

/* NULL: Kerberos is not used, and its files are not for this process. */
static const char *kerberos_file(const struct connector *c)
{
	const Role__ProxySetup *proxy = c->setup->connector->proxy;
	bool used =
		proxy != NULL && strcmp(proxy->auth, proxy_auth_name(PROXY_AUTH_NEGOTIATE)) == 0;
	return used ? proxy->krb5_config : NULL;
}

/* The TLS library has read its files when the wire was made; the resolver reads its own later. */
static cc_err enter_sandbox(struct connector *c, int *ret_abi)
{
	char *journal = file_join(c->setup->state_dir, "journal");
	const char *writable[] = {journal, NULL};
	const char *kerberos = kerberos_file(c);
	const char *readable[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
		"/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/ssl/openssl.cnf",
		"/run/systemd/resolve", "/lib", "/usr/lib", "/etc/ld.so.cache", kerberos,
		kerberos != NULL ? "/etc/krb5.conf.d" : NULL, NULL};
	cc_err err = sandbox_enter(SANDBOX_CONNECTOR, writable, readable, ret_abi);
	free(journal);
	if (err == CC_NOT_SUPPORTED && !c->setup->walls_full)
		return CC_OK;
	return err;
}

static void on_expiries(void *arg)
{
	struct connector *c = arg;
	status_tell_expiries(c->status, c->flow);
	loop_timer_set(c->expiries, EXPIRIES_EVERY_MS);
}

static void on_grace_over(void *arg)
{
	finish(arg, CC_OK);
}

static cc_err acquire(struct connector *c)
{
	cc_err err = CC_OK;
	TRY(lws_loop_new(FDS_MAX, &c->loop));
	load_identity(c);
	TRY(make_wire(c));
	TRY(make_journal_dir(c));
out:
	return err;
}

static cc_err open_all(struct connector *c)
{
	int listener = role_link_descriptor(c->setup, c->fds, "control-socket");
	cc_err err = CC_OK;
	TRY(open_journal(c));
	TRY(make_flow(c));
	c->status = status_new(c->identity, c->identity_problem, c->setup->walls_full);
	c->grace = loop_timer_new(c->loop, on_grace_over, c);
	c->expiries = loop_timer_new(c->loop, on_expiries, c);
	loop_timer_set(c->expiries, EXPIRIES_FIRST_MS);
	if (listener >= 0)
		TRY(control_new(
			c->loop, listener, c->status, c->flow, &control_events, c, &c->control));
out:
	return err;
}

static cc_err serve(struct connector *c)
{
	int abi = 0;
	cc_err err = CC_OK;
	TRY(role_link_setup(ROLE__ROLE_KIND__ROLE_CONNECTOR, &c->setup, c->fds));
	ENSURE(c->setup->connector != NULL,
		cc_fail(CC_PROTOCOL, "Setup has no part for the connector"));
	TRY(role_link_user(c->setup));
	TRY(acquire(c));
	TRY(enter_sandbox(c, &abi));
	TRY(open_all(c));
	TRY(role_link_start(c->loop, &link_events, c, &c->link));
	TRY(role_link_ready(CC_VIEW_NONE, abi));
	log_event(EV_STARTED, LV_TEXT("version", CC_RELEASE), LV_I64("landlock_abi", abi));
	flow_start(c->flow);
	loop_run(c->loop);
	err = c->ended_by;
	if (err != CC_OK)
		cc_ignore(cc_fail(err, "%s", c->ended_detail), "the detail is of an earlier turn");
out:
	return err;
}

static void tear_down(struct connector *c)
{
	control_free(c->control);
	flow_free(c->flow);
	journal_close(c->journal);
	status_free(c->status);
	role_link_stop(c->link);
	wss_free(c->wire);
	proxy_free(c->proxy);
	loop_timer_free(c->grace);
	loop_timer_free(c->expiries);
	if (c->loop != NULL)
		loop_free(c->loop);
	identity_free(c->identity);
	free(c->identity_problem);
	free(c->ended_detail);
	link_close(c->fds, LINK_FDS_MAX);
	codec_free(c->setup);
}

int connector_role_main(void)
{
	struct connector c = {0};
	for (size_t i = 0; i < LINK_FDS_MAX; i++)
		c.fds[i] = -1;
	memory_share();
	crashpoint_arm();
	sandbox_early(true);
	cc_err err = serve(&c);
	if (err == CC_CLOSED) /* the supervisor is gone */
		err = CC_OK;
	if (err != CC_OK)
		log_event(EV_FATAL, LV_ERR(err));
	else
		log_event(EV_STOPPED, LV_TEXT("version", CC_RELEASE));
	tear_down(&c);
	return err == CC_OK ? EXIT_OK : EXIT_FAILED;
}

/*
 * The report is filled from borrowed texts and packed at once; what has to be made for it lives in one
 * struct and is freed together.
 */
#include "connector/status.h"

#include "base/clock.h"
#include "base/text.h"
#include "connector/job_table.h"
#include "proto/codec.h"
#include "proto/greeting.h"
#include <stdlib.h>
#include <string.h>

enum {
	CHILDREN_MAX = 70, /* 64 runners and the others */
	STATES = JOURNAL__JOB_STATE__STATE_READY_TO_SEND,
	ATTENTION_MAX = 64,
	SKEW_MS = 60 * 1000,
};

struct child {
	Role__RoleKind role;
	char *name, *state, *last_exit;
	uint32_t pid, restarts;
};

struct status {
	const struct identity *id;
	const char *id_problem;
	bool walls_full;
	int64_t started_ms;
	struct child children[CHILDREN_MAX];
	size_t child_count;
};

struct report {
	Control__StatusReport r;
	Control__NamedCount states[STATES], *state_list[STATES];
	Control__NamedCount outcomes[FLOW_OUTCOMES], *outcome_list[FLOW_OUTCOMES];
	Control__CaStatus *cas, **ca_list;
	Control__ChildStatus children[CHILDREN_MAX], *child_list[CHILDREN_MAX];
	Control__Expiry expiries[EXPIRY_MAX], *expiry_list[EXPIRY_MAX];
	ProtobufCBinaryData attention[ATTENTION_MAX];
	char *attention_text[ATTENTION_MAX];
};

struct status *status_new(const struct identity *id, const char *id_problem, bool walls_full)
{
	struct status *s = cc_alloc(sizeof *s);
	s->id = id;
	s->id_problem = id_problem;
	s->walls_full = walls_full;
	s->started_ms = clock_realtime_ms();
	return s;
}

static void clear_child(struct child *c)
{
	free(c->name);
	free(c->state);
	free(c->last_exit);
}

void status_free(struct status *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->child_count; i++)
		clear_child(&s->children[i]);
	free(s);
}

void status_take_child(struct status *s, const Role__ChildState *child)
{
	size_t i = 0;
	while (i < s->child_count && (s->children[i].role != child->role ||
					     strcmp(s->children[i].name, child->name) != 0))
		i++;
	if (i == CHILDREN_MAX)
		return;
	struct child *c = &s->children[i];
	if (i == s->child_count)
		s->child_count++;
	clear_child(c);
	c->role = child->role;
	c->name = cc_strdup(child->name);
	c->state = cc_strdup(child->state);
	c->last_exit = cc_strdup(child->last_exit);
	c->pid = child->pid;
	c->restarts = child->restarts;
}

/* ---- the parts ---- */

static void attend(struct report *t, char *text)
{
	size_t n = t->r.n_attention;
	if (n == ATTENTION_MAX) {
		free(text);
		return;
	}
	t->attention_text[n] = text;
	t->attention[n] = codec_text(text);
	t->r.n_attention++;
}

static const char *connection_text(const struct session_status *s)
{
	switch (s->state) {
	case SESSION_READY:
	case SESSION_DRAINING:
		return s->draining ? "draining" : "ready";
	case SESSION_DISCONNECTED:
		return "backing off";
	default:
		return "connecting";
	}
}

static void put_connection(struct report *t, const struct status *s, const struct flow *f)
{
	struct session_status session;
	if (flow_session(f) == NULL) {
		t->r.connection = codec_text("not enrolled");
		attend(t, s->id_problem != NULL
				  ? cc_asprintf("the identity is not usable: %s", s->id_problem)
				  : cc_strdup("not enrolled: certconnectorctl enroll"));
		return;
	}
	session_status(flow_session(f), &session);
	t->r.connection = codec_text(connection_text(&session));
	t->r.last_error = codec_text(session.last_error);
	t->r.connected_ms = session.connected_ms;
	t->r.clock_skew_ms = session.clock_skew_ms;
	if (session.identity_conflict)
		attend(t,
			cc_strdup("the queue knows another journal under this identity: if this "
				  "host was cloned or restored, enrol it again, or stop the other "
				  "one and certconnectorctl journal adopt"));
	else if (session.backing_off)
		attend(t, cc_asprintf("no connection to the queue: %s", session.last_error));
	if (session.clock_skew_ms > SKEW_MS || session.clock_skew_ms < -SKEW_MS)
		attend(t, cc_asprintf("the clock differs from the queue's by %lld s",
				  (long long)(session.clock_skew_ms / 1000)));
}

static void put_identity(struct report *t, const struct status *s)
{
	if (s->id == NULL)
		return;
	t->r.tenant = codec_text(s->id->tenant);
	t->r.connector_id = codec_text(s->id->connector_id);
	t->r.queue_url = codec_text(s->id->queue_url);
}

/* What the keyvault, the session and the identity know; signers the flow has put itself. */
static struct expiries *gather_expiries(const struct status *s, const struct flow *f)
{
	struct expiries *e = flow_expiries(f);
	const Vault__PublicList *list = flow_public_list(f);
	struct session_status session;
	int64_t now_s = clock_realtime_s();

	if (s->id != NULL) {
		expiries_put(e, "transport certificate", s->id->not_after_s, 0, now_s);
		expiries_put(e, "queue's CA", s->id->queue_ca_not_after_s, 0, now_s);
	}
	if (flow_session(f) != NULL) {
		session_status(flow_session(f), &session);
		expiries_put(e, "queue's server certificate", session.server_not_after_s, 0, now_s);
	}
	for (size_t i = 0; list != NULL && i < list->n_expiries; i++) {
		char *what = text_printable(codec_view(list->expiries[i]->what));
		expiries_put(e, what, list->expiries[i]->not_after_s, 0, now_s);
		free(what);
	}
	return e;
}

void status_tell_expiries(const struct status *s, const struct flow *f)
{
	(void)expiries_tell(gather_expiries(s, f), clock_realtime_s());
}

static void put_expiries(struct report *t, const struct status *s, const struct flow *f)
{
	const struct expiries *e = gather_expiries(s, f);
	int64_t now_s = clock_realtime_s();

	for (size_t i = 0; i < expiries_count(e); i++) {
		const struct expiry *from = expiries_at(e, i);
		int64_t left_s = from->not_after_s - now_s;
		control__expiry__init(&t->expiries[i]);
		t->expiries[i].what = codec_text(from->what);
		t->expiries[i].not_after_s = from->not_after_s;
		t->expiry_list[i] = &t->expiries[i];
		if (expiry_is_near(from, now_s))
			attend(t, cc_asprintf("%s %s %lld days", from->what,
					  left_s < 0 ? "has been expired for" : "expires in",
					  (long long)((left_s < 0 ? -left_s : left_s) / 86400)));
	}
	t->r.expiries = t->expiry_list;
	t->r.n_expiries = expiries_count(e);
}

static void put_jobs(struct report *t, const struct flow *f)
{
	for (int state = JOURNAL__JOB_STATE__STATE_RECEIVED; state <= STATES; state++) {
		size_t count = flow_state_count(f, (Journal__JobState)state);
		Control__NamedCount *to = &t->states[t->r.n_states];
		if (count == 0)
			continue;
		const struct job_rule *rule = job_rule((Journal__JobState)state);
		control__named_count__init(to);
		to->name = codec_text(rule->name);
		to->value = count;
		t->state_list[t->r.n_states++] = to;
		if (state == JOURNAL__JOB_STATE__STATE_WATCH ||
			state == JOURNAL__JOB_STATE__STATE_ORPHAN)
			attend(t, cc_asprintf("%zu jobs are kept in state %s", count, rule->name));
	}
	t->r.states = t->state_list;
	for (int o = 0; o < FLOW_OUTCOMES; o++) {
		control__named_count__init(&t->outcomes[o]);
		t->outcomes[o].name = codec_text(flow_outcome_name((enum flow_outcome)o));
		t->outcomes[o].value = flow_outcome_count(f, (enum flow_outcome)o);
		t->outcome_list[o] = &t->outcomes[o];
	}
	t->r.outcomes = t->outcome_list;
	t->r.n_outcomes = FLOW_OUTCOMES;
	if (flow_unsettled_count(f) > 0)
		attend(t, cc_asprintf("%zu jobs are kept because nobody knows what became of their "
				      "claim",
				  flow_unsettled_count(f)));
}

static void put_cas(struct report *t, const struct flow *f)
{
	size_t count = ca_clients_count(flow_cas(f));
	t->cas = cc_alloc((count + 1) * sizeof *t->cas);
	t->ca_list = cc_alloc((count + 1) * sizeof *t->ca_list);
	for (size_t i = 0; i < count; i++) {
		const struct ca_client *ca = ca_clients_at(flow_cas(f), i);
		struct ca_client_health health;
		ca_client_health(ca, &health);
		control__ca_status__init(&t->cas[i]);
		t->cas[i].name = codec_text(ca_client_name(ca));
		t->cas[i].backend = codec_bytes(health.backend);
		t->cas[i].state = codec_text(health.state);
		t->cas[i].reason = codec_text(health.reason);
		t->cas[i].checked_ms = health.checked_ms;
		t->ca_list[i] = &t->cas[i];
		if (journal_is_suspended(flow_journal(f), cc_view_text(ca_client_name(ca)))) {
			t->cas[i].state = codec_text("suspended");
			attend(t,
				cc_asprintf("CA %s is suspended, it gave a certificate for another "
					    "key: certconnectorctl ca resume %s",
					ca_client_name(ca), ca_client_name(ca)));
		}
		if (strcmp(health.state, "ok") != 0)
			attend(t, cc_asprintf("CA %s: %s %s", ca_client_name(ca), health.state,
					  health.reason));
	}
	t->r.cas = t->ca_list;
	t->r.n_cas = count;
}

static void put_children(struct report *t, const struct status *s)
{
	for (size_t i = 0; i < s->child_count; i++) {
		const struct child *c = &s->children[i];
		Control__ChildStatus *to = &t->children[i];
		control__child_status__init(to);
		to->role = codec_text(greeting_role_name(c->role));
		to->name = codec_text(c->name);
		to->state = codec_text(c->state);
		to->pid = c->pid;
		to->restarts = c->restarts;
		to->last_exit = codec_text(c->last_exit);
		t->child_list[i] = to;
		if (strcmp(c->state, "ready") != 0)
			attend(t, cc_asprintf("%s %s is %s", greeting_role_name(c->role), c->name,
					  c->state));
	}
	t->r.children = t->child_list;
	t->r.n_children = s->child_count;
}

static void put_vault(struct report *t, const struct flow *f)
{
	const Vault__PublicList *list = flow_public_list(f);
	if (!flow_vault_is_connected(f))
		attend(t, cc_strdup("the keyvault does not answer"));
	if (list == NULL)
		return;
	cc_view mode = codec_view(list->device_keys);
	t->r.device_keys = list->device_keys;
	t->r.cloud_blind = text_equal(mode, "certified") || text_equal(mode, "pinned") ||
			   text_equal(mode, "operator");
	t->r.policy_problem = list->policy_problem;
	t->r.waiting_jobs = flow_waiting_count(f);
	if (t->r.waiting_jobs > 0)
		attend(t, cc_asprintf("%u jobs wait for an operator: certconnectorctl jobs waiting",
				  t->r.waiting_jobs));
	if (list->policy_problem.len > 0 && text_is_clean(codec_view(list->policy_problem), 1024)) {
		char *problem = cc_strndup(codec_view(list->policy_problem));
		attend(t, cc_asprintf("nothing is issued: %s", problem));
		free(problem);
	}
}

static void put_journal(struct report *t, const struct flow *f)
{
	size_t doubts = 0;
	t->r.journal_bytes = journal_used_bytes(flow_journal(f));
	t->r.journal_limit = journal_max_bytes(flow_journal(f));
	if (journal_room(flow_journal(f)) != JOURNAL_ROOM_FREE)
		attend(t,
			cc_strdup(
				"the journal, or its disk, is nearly full: no new jobs are taken"));
	if (journal_count_doubts(flow_journal(f), &doubts) == CC_OK && doubts > 0)
		attend(t,
			cc_asprintf("%zu certificates may exist that nobody can tell of", doubts));
}

cc_blob status_answer(struct status *s, const struct flow *f, uint64_t request_id)
{
	struct report *t = cc_alloc(sizeof *t);
	Control__ControlAnswer answer = CONTROL__CONTROL_ANSWER__INIT;
	control__status_report__init(&t->r);
	t->r.version = codec_text(CC_RELEASE);
	t->r.started_ms = s->started_ms;
	t->r.walls = codec_text(s->walls_full ? "full" : "reduced");
	t->r.attention = t->attention;
	put_connection(t, s, f);
	put_identity(t, s);
	put_expiries(t, s, f);
	put_vault(t, f);
	put_jobs(t, f);
	put_cas(t, f);
	put_children(t, s);
	put_journal(t, f);
	answer.request_id = request_id;
	answer.ok = true;
	answer.status = &t->r;
	cc_blob packed = codec_pack(&answer);
	for (size_t i = 0; i < t->r.n_attention; i++)
		free(t->attention_text[i]);
	free(t->cas);
	free(t->ca_list);
	free(t);
	return packed;
}

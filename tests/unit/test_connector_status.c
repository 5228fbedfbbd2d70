/*
 * Status and the control socket: what an operator is told, and what he may ask for.  And the identity
 * that it all begins with.
 */
#include "base/text.h"
#include "connector/control.h"
#include "connector/identity.h"
#include "tests/support/connector_rig.h"
#include <sys/stat.h>
#include <sys/un.h>

struct desk {
	struct rig *rig;
	struct identity id;
	struct status *status;
	struct control *control;
	int listener;
	unsigned drains, reloads;
	char path[80];
	Control__ControlAnswer *answer;
};

static cc_err on_reload(void *arg)
{
	((struct desk *)arg)->reloads++;
	return CC_OK;
}

static void on_drain(void *arg)
{
	((struct desk *)arg)->drains++;
}

static const struct control_events control_events = {.reload = on_reload, .drain = on_drain};

static int desk_setup(void **state)
{
	struct desk *d = cc_alloc(sizeof *d);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	void *rig = NULL;
	rig_setup(&rig);
	d->rig = rig;
	d->id.tenant = cc_strdup("contoso");
	d->id.connector_id = cc_strdup("hq-1");
	d->id.queue_url = cc_strdup("wss://queue:443");
	d->id.not_after_s = clock_realtime_s() + 90 * 86400;
	d->status = status_new(&d->id, NULL, true);
	snprintf(d->path, sizeof d->path, "%s.sock", d->rig->dir);
	snprintf(a.sun_path, sizeof a.sun_path, "%s", d->path);
	d->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(d->listener, (const struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(d->listener, 8), 0);
	assert_int_equal(control_new(d->rig->loop, d->listener, d->status, d->rig->flow,
				 &control_events, d, &d->control),
		CC_OK);
	*state = d;
	return 0;
}

static int desk_teardown(void **state)
{
	struct desk *d = *state;
	void *rig = d->rig;
	control_free(d->control);
	close(d->listener);
	unlink(d->path);
	status_free(d->status);
	codec_free(d->answer);
	free(d->id.tenant);
	free(d->id.connector_id);
	free(d->id.queue_url);
	free(d);
	return rig_teardown(&rig);
}

static void ask(struct desk *d, Control__ControlRequest__OpCase op)
{
	Control__ControlRequest q = CONTROL__CONTROL_REQUEST__INIT;
	Control__StatusRequest status = CONTROL__STATUS_REQUEST__INIT;
	Control__DrainRequest drain = CONTROL__DRAIN_REQUEST__INIT;
	Control__ReloadRequest reload = CONTROL__RELOAD_REQUEST__INIT;
	cc_blob frame, answer = CC_BLOB_NONE;
	int fd = -1;
	q.request_id = 42;
	q.op_case = op;
	if (op == CONTROL__CONTROL_REQUEST__OP_DRAIN)
		q.drain = &drain;
	else if (op == CONTROL__CONTROL_REQUEST__OP_RELOAD)
		q.reload = &reload;
	else
		q.status = &status;
	frame = codec_pack(&q);
	assert_int_equal(chan_connect_path(d->path, 1000, &fd), CC_OK);
	assert_int_equal(chan_write_frame(fd, cc_blob_view(&frame), 1000), CC_OK);
	rig_turn(d->rig);
	assert_int_equal(chan_read_frame(fd, CHAN_FRAME_MAX, 1000, &answer), CC_OK);
	codec_free(d->answer);
	d->answer = NULL;
	assert_int_equal(codec_decode(&control__control_answer__descriptor, cc_blob_view(&answer),
				 CHAN_FRAME_MAX, &d->answer),
		CC_OK);
	assert_int_equal(d->answer->request_id, 42);
	cc_blob_free(&frame);
	cc_blob_free(&answer);
	close(fd);
	rig_turn(d->rig);
}

static const Control__StatusReport *report(struct desk *d)
{
	ask(d, CONTROL__CONTROL_REQUEST__OP_STATUS);
	assert_true(d->answer->ok);
	return d->answer->status;
}

static uint64_t value_of(Control__NamedCount *const *items, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (text_equal(codec_view(items[i]->name), name))
			return items[i]->value;
	}
	return 0;
}

static bool attends_to(const Control__StatusReport *r, const char *words)
{
	for (size_t i = 0; i < r->n_attention; i++) {
		char *text = cc_strndup(codec_view(r->attention[i]));
		bool found = strstr(text, words) != NULL;
		free(text);
		if (found)
			return true;
	}
	return false;
}

static void status_tells_of_a_healthy_connector(void **state)
{
	struct desk *d = *state;
	rig_issue(d->rig, "job-1");
	rig_turn(d->rig);
	const Control__StatusReport *r = report(d);
	assert_text(r->connection, "ready");
	assert_text(r->tenant, "contoso");
	assert_text(r->connector_id, "hq-1");
	assert_text(r->walls, "full");
	assert_text(r->device_keys, "certified");
	assert_true(r->cloud_blind);
	assert_true(r->connected_ms > 0 && r->started_ms > 0);
	assert_int_equal(value_of(r->outcomes, r->n_outcomes, "issued"), 1);
	assert_int_equal(value_of(r->outcomes, r->n_outcomes, "received"), 1);
	assert_int_equal(r->n_states, 0);
	assert_int_equal(r->n_cas, 2);
	assert_text(r->cas[0]->name, "ca-one");
	assert_text(r->cas[0]->backend, "rig");
	assert_text(r->cas[0]->state, "ok");
	assert_int_equal(r->n_expiries, 1);
	assert_true(r->journal_limit > 0);
	assert_int_equal(r->n_attention, 0);
}

static void status_counts_jobs_by_state(void **state)
{
	struct desk *d = *state;
	d->rig->no_claim_answer = true;
	rig_issue(d->rig, "job-1");
	rig_turn(d->rig);
	const Control__StatusReport *r = report(d);
	assert_int_equal(value_of(r->states, r->n_states, "intent"), 1);
}

static void status_counts_what_waits_at_a_ca_without_alarm(void **state)
{
	struct desk *d = *state;
	d->rig->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	rig_issue(d->rig, "job-1");
	rig_turn(d->rig);
	const Control__StatusReport *r = report(d);
	assert_int_equal(value_of(r->states, r->n_states, "pending"), 1);
	assert_int_equal(r->n_attention, 0);
}

static void status_draws_attention_to_what_has_to_be_cleared_up(void **state)
{
	struct desk *d = *state;
	d->rig->runners[0].submit = CA__CA_RESULT__CA_PENDING;
	d->rig->runners[0].withdraw = CA__CA_RESULT__CA_NOT_SUPPORTED;
	rig_issue(d->rig, "job-1");
	rig_turn(d->rig);
	rig_gone(d->rig, "job-1", CERTQ__JOB_VERDICT__VERDICT_LOST);
	rig_turn(d->rig);
	assert_true(attends_to(report(d), "1 jobs are kept in state watch"));
}

static void status_draws_attention_to_what_is_away(void **state)
{
	struct desk *d = *state;
	d->rig->runners[1].away = true;
	rig_kill_ca(d->rig, 1);
	d->rig->vault_away = true;
	rig_kill_vault(d->rig);
	d->rig->refuses = true;
	rig_cut(d->rig);
	const Control__StatusReport *r = report(d);
	assert_text(r->connection, "backing off");
	assert_text(r->cas[1]->state, "starting");
	assert_true(attends_to(r, "CA ca-two"));
	assert_true(attends_to(r, "keyvault"));
	assert_true(attends_to(r, "no connection to the queue"));
}

static void status_warns_of_the_certificates_end(void **state)
{
	struct desk *d = *state;
	d->id.not_after_s = clock_realtime_s() + 10 * 86400 + 60;
	assert_true(attends_to(report(d), "expires in 10 days"));
	d->id.not_after_s = clock_realtime_s() - 3 * 86400;
	assert_true(attends_to(report(d), "expired"));
}

static void status_tells_of_all_that_expires(void **state)
{
	struct desk *d = *state;
	d->id.queue_ca_not_after_s = clock_realtime_s() + 20 * 86400 + 60;
	const Control__StatusReport *r = report(d);
	assert_int_equal(r->n_expiries, 2);
	assert_text(r->expiries[0]->what, "transport certificate");
	assert_text(r->expiries[1]->what, "queue's CA");
	assert_int_equal(r->expiries[1]->not_after_s, d->id.queue_ca_not_after_s);
	assert_true(attends_to(r, "queue's CA expires in 20 days"));
	assert_false(attends_to(r, "transport certificate"));
	/* the event counts as told: a second look has nothing to say */
	status_tell_expiries(d->status, d->rig->flow);
	assert_int_equal(expiries_tell(flow_expiries(d->rig->flow), clock_realtime_s()), 0);
}

static void status_tells_until_when_a_signer_may_sign(void **state)
{
	struct desk *d = *state;
	Certq__SignerStatement signer = CERTQ__SIGNER_STATEMENT__INIT;
	char what[64] = "";
	signer.version = 1;
	signer.spki = codec_text("spki");
	signer.not_after_s = clock_realtime_s() + 5 * 86400 + 60;
	d->rig->signer = codec_pack(&signer);
	rig_issue(d->rig, "job-1");
	rig_turn(d->rig);
	const Control__StatusReport *r = report(d);
	assert_int_equal(r->n_expiries, 2);
	snprintf(what, sizeof what, "%.*s", (int)r->expiries[0]->what.len,
		(const char *)r->expiries[0]->what.data);
	assert_non_null(strstr(what, "statement of signer "));
	assert_int_equal(r->expiries[0]->not_after_s, signer.not_after_s);
	assert_true(attends_to(r, "expires in 5 days"));
}

static void status_tells_of_the_other_processes(void **state)
{
	struct desk *d = *state;
	static char name[] = "ca-one", ready[] = "ready", back[] = "backing-off", none[] = "",
		    out[] = "signal 9";
	Role__ChildState c = ROLE__CHILD_STATE__INIT;
	c.role = ROLE__ROLE_KIND__ROLE_CA_RUNNER;
	c.name = name;
	c.state = ready;
	c.last_exit = none;
	c.pid = 7;
	status_take_child(d->status, &c);
	assert_int_equal(report(d)->n_children, 1);
	assert_int_equal(d->answer->status->n_attention, 0);
	c.state = back;
	c.last_exit = out;
	c.restarts = 2;
	status_take_child(d->status, &c);
	const Control__StatusReport *r = report(d);
	assert_int_equal(r->n_children, 1);
	assert_text(r->children[0]->role, "ca-runner");
	assert_text(r->children[0]->last_exit, "signal 9");
	assert_int_equal(r->children[0]->restarts, 2);
	assert_true(attends_to(r, "ca-runner ca-one is backing-off"));
}

static void drain_and_reload_reach_their_handlers(void **state)
{
	struct desk *d = *state;
	ask(d, CONTROL__CONTROL_REQUEST__OP_DRAIN);
	assert_true(d->answer->ok);
	assert_int_equal(d->drains, 1);
	ask(d, CONTROL__CONTROL_REQUEST__OP_RELOAD);
	assert_true(d->answer->ok);
	assert_int_equal(d->reloads, 1);
}

static void a_client_that_talks_nonsense_is_ended_and_others_are_served(void **state)
{
	struct desk *d = *state;
	int fd = -1;
	cc_blob answer = CC_BLOB_NONE;
	assert_int_equal(chan_connect_path(d->path, 1000, &fd), CC_OK);
	assert_int_equal(chan_write_frame(fd, cc_view_text("\xff\xff\xff"), 1000), CC_OK);
	rig_turn(d->rig);
	assert_int_not_equal(chan_read_frame(fd, CHAN_FRAME_MAX, 1000, &answer), CC_OK);
	close(fd);
	assert_text(report(d)->connection, "ready");
}

/* ---- identity ---- */

static void an_absent_identity_is_not_enrolled(void **state)
{
	struct identity *id = NULL;
	(void)state;
	assert_int_equal(identity_load("/nonexistent", &id), CC_NOT_FOUND);
	assert_null(id);
}

static void an_identity_without_its_files_is_refused_with_a_reason(void **state)
{
	char dir[] = "/tmp/identity-XXXXXX";
	struct identity *id = NULL;
	char *sub, *path;
	(void)state;
	assert_non_null(mkdtemp(dir));
	sub = file_join(dir, "identity");
	path = file_join(sub, "identity.yaml");
	assert_int_equal(file_make_dir(sub, 0700), CC_OK);
	assert_int_equal(file_write_atomic(path,
				 cc_view_text("tenant: contoso\nconnector_id: hq-1\n"
					      "queue_url: \"wss://queue:443\"\n"),
				 0600),
		CC_OK);
	cc_err err = identity_load(dir, &id);
	assert_int_not_equal(err, CC_OK);
	assert_non_null(strstr(cc_err_detail(err), "transport.key"));
	assert_null(id);
	unlink(path);
	rmdir(sub);
	rmdir(dir);
	free(path);
	free(sub);
}

static void urls_are_taken_apart_strictly(void **state)
{
	static const char *const bad[] = {"https://queue:443", "wss://queue", "wss://:443",
		"wss://queue:0", "wss://queue:65536", "wss://queue:443/path", "wss://a b:443",
		"wss://", ""};
	char *host = NULL;
	uint16_t port = 0;
	(void)state;
	assert_int_equal(
		identity_parse_url(cc_view_text("wss://queue.example:8443"), &host, &port), CC_OK);
	assert_string_equal(host, "queue.example");
	assert_int_equal(port, 8443);
	free(host);
	host = NULL;
	assert_int_equal(identity_parse_url(cc_view_text("wss://[::1]:443"), &host, &port), CC_OK);
	assert_string_equal(host, "::1");
	free(host);
	host = NULL;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(identity_parse_url(cc_view_text(bad[i]), &host, &port), CC_CONFIG);
		assert_null(host);
	}
}

#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, desk_setup, desk_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DESK_TEST(status_tells_of_a_healthy_connector),
		DESK_TEST(status_counts_jobs_by_state),
		DESK_TEST(status_counts_what_waits_at_a_ca_without_alarm),
		DESK_TEST(status_draws_attention_to_what_has_to_be_cleared_up),
		DESK_TEST(status_draws_attention_to_what_is_away),
		DESK_TEST(status_warns_of_the_certificates_end),
		DESK_TEST(status_tells_of_all_that_expires),
		DESK_TEST(status_tells_until_when_a_signer_may_sign),
		DESK_TEST(status_tells_of_the_other_processes),
		DESK_TEST(drain_and_reload_reach_their_handlers),
		DESK_TEST(a_client_that_talks_nonsense_is_ended_and_others_are_served),
		cmocka_unit_test(an_absent_identity_is_not_enrolled),
		cmocka_unit_test(an_identity_without_its_files_is_refused_with_a_reason),
		cmocka_unit_test(urls_are_taken_apart_strictly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

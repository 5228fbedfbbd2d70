/*
 * Puts the parts of a queue together, sweeps the store, and takes them apart in the right order:
 * the store first (it calls nobody afterwards), then sockets with the loop, then what lws pointed to.
 */
#include "cloud-queue/queue.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/lws_loop.h"
#include "cloud-queue/control.h"
#include "cloud-queue/gateway.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/http_waiters.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTORS_MAX 16384u
#define DESCRIPTORS_FEW 64u
#define SWEEP_MS        1000
#define DRAIN_LOOK_MS   100
#define HANG_UP_MS      3000            /* for close frames, after the grace */
#define AHEAD_MS        (5 * 60 * 1000) /* of the store's clock: worth a word */

/* ---- the store's housekeeping ---- */

static void sweep(void *arg);

/* The sweep writes every second: whether it can is told when it changes. */
static void tell_store(struct queue *q, cc_err err)
{
	if (err != CC_OK && !q->store_failed)
		log_event(EV_STORE_FAILED, LV_ERR(err));
	else if (err == CC_OK && q->store_failed)
		log_event(EV_STORE_WRITES_AGAIN);
	q->store_failed = err != CC_OK;
}

static void on_swept(void *arg, const struct store_sweep_out *out)
{
	struct queue *q = arg;

	q->sweeping = false;
	tell_store(q, out->err);
	loop_timer_set(q->sweep_timer, out->err == CC_OK && out->more ? 0 : SWEEP_MS);
}

static void sweep(void *arg)
{
	struct queue *q = arg;

	if (q->sweeping)
		return;
	q->sweeping = true;
	store_sweep(q->store, &(struct store_sweep_in){0}, on_swept, q);
}

/* The outcome of a commit is unknown: the process ends, a new one reads what is on disk. */
static void on_fatal(void *arg, cc_err err)
{
	struct queue *q = arg;

	log_event(EV_FATAL, LV_TEXT("part", "store"), LV_ERR(err));
	q->failure = err;
	loop_stop(q->loop);
}

static void log_final(const struct store_hint *hint)
{
	const char *state = queue_json_state(hint->state, hint->dead);

	if (hint->state == STORE_DEAD)
		log_event(EV_JOB_DEAD, LV_JOB(hint->job_id), LV_VIEW("tenant", hint->tenant),
			LV_TEXT("state", state), LV_VIEW("reason", hint->text));
	else
		log_event(EV_JOB_DONE, LV_JOB(hint->job_id), LV_VIEW("tenant", hint->tenant),
			LV_TEXT("state", state));
}

static void on_hint(void *arg, const struct store_hint *hint)
{
	(void)arg;
	switch (hint->kind) {
	case STORE_HINT_FINAL:
		log_final(hint);
		return;
	case STORE_HINT_IN_DOUBT:
		log_event(EV_IN_DOUBT, LV_JOB(hint->job_id), LV_VIEW("tenant", hint->tenant),
			LV_VIEW("connector", hint->connector), LV_VIEW("ca", hint->text));
		return;
	case STORE_HINT_UNROUTABLE:
		log_event(EV_UNROUTABLE, LV_VIEW("tenant", hint->tenant),
			LV_VIEW("route", hint->text));
		return;
	case STORE_HINT_SUSPENDED:
		log_event(EV_CONNECTOR_SUSPENDED, LV_VIEW("tenant", hint->tenant),
			LV_VIEW("connector", hint->connector));
		return;
	case STORE_HINT_TAKEN_OVER:
		log_event(EV_JOB_TAKEN_OVER, LV_JOB(hint->job_id), LV_VIEW("tenant", hint->tenant),
			LV_VIEW("connector", hint->connector));
		return;
	case STORE_HINT_IDENTITY:
		log_event(EV_QUEUE_IDENTITY_CONFLICT, LV_VIEW("tenant", hint->tenant),
			LV_VIEW("connector", hint->connector));
		return;
	case STORE_HINT_OFFER_CUT:
		log_event(EV_OFFER_CUT, LV_JOB(hint->job_id), LV_VIEW("tenant", hint->tenant),
			LV_VIEW("connector", hint->connector), LV_VIEW("reason", hint->text));
		return;
	default:
		return;
	}
}

/* ---- open ---- */

static void tell_history(struct store *s)
{
	int64_t ahead_ms = store_clock_ahead_ms(s);

	if (store_went_back(s))
		log_event(EV_STORE_WENT_BACK, LV_U64("generation", store_generation(s)));
	if (ahead_ms > AHEAD_MS)
		log_event(EV_STORE_CLOCK_AHEAD, LV_U64("seconds", (uint64_t)ahead_ms / 1000));
}

static struct store_config store_settings(const struct queue_config *c)
{
	return (struct store_config){
		.lease_ms = (int64_t)c->lease_s * 1000,
		.reconnect_grace_ms = (int64_t)c->reconnect_grace_s * 1000,
		.takeover_after_ms = (int64_t)c->takeover_after_s * 1000,
		.restored_wait_ms = (int64_t)c->restored_wait_s * 1000,
		.deadline_grace_ms = (int64_t)c->deadline_grace_s * 1000,
		.crash_delay_ms = (int64_t)c->crash_delay_s * 1000,
		.exclude_ms = (int64_t)c->exclude_s * 1000,
		.retention_s = (int64_t)c->retention_s,
		.max_open_jobs = c->quota_open_jobs,
		.max_bytes = c->store_max,
	};
}

static cc_err open_store(struct queue *q)
{
	const struct queue_config *c = q->config;
	const struct store_config config = store_settings(c);
	cc_err err = CC_OK;

	TRY(store_lmdb_open(q->loop, c->state_dir, &config, on_fatal, q, &q->store));
	store_listen(q->store,
		STORE_HINT_FINAL | STORE_HINT_IN_DOUBT | STORE_HINT_UNROUTABLE |
			STORE_HINT_SUSPENDED | STORE_HINT_TAKEN_OVER | STORE_HINT_IDENTITY |
			STORE_HINT_OFFER_CUT,
		on_hint, q);
	tell_history(q->store);
	q->sweep_timer = loop_timer_new(q->loop, sweep, q);
	loop_timer_set(q->sweep_timer, 0);
out:
	return err;
}

static char *url_of(const struct queue_listen *l, const char *scheme, uint32_t port)
{
	if (l->url)
		return cc_strdup(l->url);
	return cc_asprintf(
		strchr(l->listen, ':') ? "%s[%s]:%u" : "%s%s:%u", scheme, l->listen, port);
}

cc_err queue_mend(const struct queue_config *config, enum queue_mend what)
{
	struct store_config settings = store_settings(config);
	struct loop *loop = NULL;
	struct store *store = NULL;
	cc_err err = CC_OK;

	settings.new_generation = what == QUEUE_RESTORED;
	settings.reset_clock = what == QUEUE_RESET_CLOCK;
	TRY(lws_loop_new(DESCRIPTORS_FEW, &loop));
	TRY(store_lmdb_open(loop, config->state_dir, &settings, NULL, NULL, &store));
	tell_history(store);
out:
	store_close(store);
	if (loop)
		loop_free(loop);
	return err;
}

cc_err queue_open(const struct queue_config *config, struct queue **ret)
{
	struct queue *q = cc_alloc(sizeof(*q));
	cc_err err = CC_OK;

	q->config = config;
	TRY(queue_ca_open(config->ca_certificate, config->ca_key, &q->ca));
	TRY(file_make_dir(config->state_dir, 0700));
	TRY(file_make_dir(config->run_dir, 0755));
	TRY(lws_loop_new(DESCRIPTORS_MAX, &q->loop));
	TRY(open_store(q));
	TRY(http_waiters_open(q, &q->waiters));
	TRY(gateway_open(q, &q->gateway));
	TRY(http_server_open(q, &q->http));
	q->connector_url = url_of(&config->connectors, "wss://", queue_connector_port(q));
	q->producer_url = url_of(&config->producers, "https://", queue_producer_port(q));
	TRY(control_open(q, config->run_dir, &q->control));
	log_event(EV_STARTED, LV_TEXT("version", CC_RELEASE),
		LV_TEXT("connectors", q->connector_url),
		LV_U64("connector_port", queue_connector_port(q)),
		LV_TEXT("producers", q->producer_url),
		LV_U64("producer_port", queue_producer_port(q)));
	*ret = q;
	q = NULL;
out:
	queue_free(q);
	return err;
}

uint32_t queue_connector_port(const struct queue *q)
{
	return gateway_port(q->gateway);
}

uint32_t queue_producer_port(const struct queue *q)
{
	return http_server_port(q->http);
}

/* ---- run and stop ---- */

cc_err queue_run(struct queue *q)
{
	loop_run(q->loop);
	if (q->failure == CC_OK)
		log_event(EV_STOPPED, LV_TEXT("version", CC_RELEASE));
	return q->failure;
}

static bool is_idle(const struct queue *q)
{
	return gateway_is_idle(q->gateway) && http_server_is_idle(q->http) &&
	       store_waiting(q->store) == 0;
}

static void on_drain_look(void *arg)
{
	struct queue *q = arg;
	int64_t over_ms = clock_boottime_ms() - q->drain_until_ms;

	if (over_ms > 0)
		gateway_hang_up(q->gateway);
	if (is_idle(q) || over_ms > HANG_UP_MS)
		loop_stop(q->loop);
	else
		loop_timer_set(q->drain_timer, DRAIN_LOOK_MS);
}

void queue_stop(struct queue *q)
{
	if (q->draining) {
		loop_stop(q->loop);
		return;
	}
	q->draining = true;
	q->drain_until_ms = clock_boottime_ms() + (int64_t)q->config->drain_grace_s * 1000;
	q->drain_timer = loop_timer_new(q->loop, on_drain_look, q);
	gateway_drain(q->gateway);
	http_waiters_wake_all(q->waiters);
	loop_timer_set(q->drain_timer, 0);
}

static void on_signal(void *arg, int number)
{
	(void)number;
	queue_stop(arg);
}

cc_err queue_take_signals(struct queue *q)
{
	static const int signals[] = {SIGTERM, SIGINT};

	signal(SIGPIPE, SIG_IGN);
	return loop_signals(q->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, q);
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	store_close(q->store);
	q->store = NULL;
	control_close(q->control);
	loop_timer_free(q->sweep_timer);
	loop_timer_free(q->drain_timer);
	if (q->loop)
		loop_free(q->loop);
	gateway_free(q->gateway);
	http_server_free(q->http);
	http_waiters_free(q->waiters);
	queue_ca_free(q->ca);
	free(q->connector_url);
	free(q->producer_url);
	free(q);
}

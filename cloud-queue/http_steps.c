/*
 * What a producer does with a job that is there: cancel it, or have it tried again.
 *
 * Both are safe to repeat: a cancelled job is answered as cancelled, and a job that was made ready is
 * no longer dead.  With an Idempotency-Key the repeat of a retry is answered like the retry.
 */
#include "base/text.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include <string.h>

struct step {
	uint8_t id[JOB_ID_SIZE];
	uint8_t request_sha256[SHA256_SIZE];
	struct store_repeat repeat;
};

/* The job's id; the body is an empty object, or nothing.  False: it was answered. */
static bool take_step(struct http_request *r, struct step *s)
{
	static const char *const none[] = {NULL};
	json_t *body = NULL;

	if (text_from_job_id(cc_view_text(http_request_param(r, 0)), s->id) != CC_OK) {
		http_answer_not_found(r);
		return false;
	}
	if (http_request_body(r).size > 0 && !http_request_json(r, none, &body))
		return false;
	json_decref(body);
	return http_request_repeat(r, s->request_sha256, &s->repeat);
}

static void answer_key_taken(struct http_request *r)
{
	http_answer_problem(
		r, 409, "idempotency_conflict", "another request has this Idempotency-Key");
}

static void answer_step(struct http_request *r, enum store_state state, enum store_dead dead)
{
	http_answer_json(r, 202,
		json_pack("{s:s, s:s}", "id", http_request_param(r, 0), "state",
			queue_json_state(state, dead)));
}

/* ---- cancel ---- */

static void on_cancel(void *arg, const struct store_cancel_out *out)
{
	struct http_request *r = arg;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_OK || out->result == STORE_SAME ||
		 (out->result == STORE_ALREADY && out->state == STORE_CANCELLED_STATE))
		answer_step(r, STORE_CANCELLED_STATE, STORE_DEAD_NOT);
	else if (out->result == STORE_KEY_TAKEN)
		answer_key_taken(r);
	else if (out->result == STORE_ALREADY)
		http_answer_problem(r, 409, "too_late", "the job is over already");
	else if (out->result == STORE_TOO_LATE)
		http_answer_problem(r, 409, "too_late", "the job is claimed for a CA");
	else
		http_answer_not_found(r);
}

void http_steps_cancel(struct http_request *r)
{
	struct step s = {0};

	if (take_step(r, &s))
		store_cancel(http_request_queue(r)->store,
			&(struct store_cancel_in){.tenant = http_request_tenant(r),
				.job_id = cc_view_of(s.id, sizeof(s.id)),
				.repeat = s.repeat},
			on_cancel, r);
}

/* ---- retry ---- */

/* Why the store does not replay a job, as producers are told. */
static void answer_refused(struct http_request *r, const char *why)
{
	static const struct {
		const char *why;
		int status;
		const char *code, *detail;
	} reasons[] = {
		{"expired", 422, "expired", "the job's time is over: sign a new one"},
		{"quota", 507, "store_full", "the tenant's room is used up"},
		{"document_gone", 404, "result_gone", "the job's document is past its retention"},
		{"unsettled_claim", 409, "too_late",
			"a CA may have a certificate of this job that is not settled"},
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (why && strcmp(why, reasons[i].why) == 0) {
			http_answer_problem(
				r, reasons[i].status, reasons[i].code, reasons[i].detail);
			return;
		}
	}
	http_answer_problem(r, 409, "too_late", "only a dead or failed job is tried again");
}

static void on_retry(void *arg, const struct store_replay_out *out)
{
	struct http_request *r = arg;

	if (out->err != CC_OK)
		http_answer_store_failed(r, out->err);
	else if (out->result == STORE_OK || out->result == STORE_SAME)
		answer_step(r, out->state, out->dead);
	else if (out->result == STORE_KEY_TAKEN)
		answer_key_taken(r);
	else if (out->result == STORE_REFUSED)
		answer_refused(r, out->why);
	else
		http_answer_not_found(r);
}

void http_steps_retry(struct http_request *r)
{
	struct step s = {0};

	if (take_step(r, &s))
		store_replay(http_request_queue(r)->store,
			&(struct store_replay_in){.tenant = http_request_tenant(r),
				.job_id = cc_view_of(s.id, sizeof(s.id)),
				.by = cc_view_text("producer"),
				.repeat = s.repeat},
			on_retry, r);
}

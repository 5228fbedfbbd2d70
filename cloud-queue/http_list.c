/*
 * Jobs as a list: GET jobs with its filters, a page at a time, without results.
 */
#include "base/text.h"
#include "cloud-queue/http_routes.h"
#include "cloud-queue/http_server.h"
#include "cloud-queue/queue_int.h"
#include "cloud-queue/queue_json.h"
#include "cloud-queue/route.h"
#include <stdio.h>

#define PAGE_DEFAULT 100u
#define FILTER_MAX   128u

#define BIT(n) (1u << (n))

/* A state as producers know it is one or more of the store's. */
static const struct {
	const char *name;
	uint32_t states, dead;
} states[] = {
	{"ready", BIT(STORE_READY), 0},
	{"leased", BIT(STORE_LEASED) | BIT(STORE_CLAIMED) | BIT(STORE_HELD), 0},
	{"pending_ca", BIT(STORE_PARKED), 0},
	{"done", BIT(STORE_DONE), 0},
	{"failed", BIT(STORE_DEAD), BIT(STORE_DEAD_FAILURE)},
	{"dead", BIT(STORE_DEAD), ~BIT(STORE_DEAD_FAILURE)},
	{"cancelled", BIT(STORE_CANCELLED_STATE), 0},
};

static bool take_state(cc_view name, struct store_list_in *in)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		if (text_equal(name, states[i].name)) {
			in->states = states[i].states;
			in->dead = states[i].dead;
			return true;
		}
	}
	return false;
}

static bool take_kind(cc_view name, struct store_list_in *in)
{
	enum store_kind kind = route_kind_named(name);

	if (kind)
		in->kinds = STORE_KIND_BIT(kind);
	return kind != 0;
}

/* What is wrong with the filters, as the parameter's name; NULL: nothing. */
static const char *take_filters(const struct http_request *r, struct store_list_in *in)
{
	cc_view text;

	if (http_request_query(r, "state", &text) && !take_state(text, in))
		return "state";
	if (http_request_query(r, "kind", &text) && !take_kind(text, in))
		return "kind";
	if (http_request_query(r, "batch_id", &in->batch_id) &&
		!text_is_token(in->batch_id, FILTER_MAX))
		return "batch_id";
	if (http_request_query(r, "correlation_id", &in->correlation_id) &&
		(in->correlation_id.size == 0 || !text_is_clean(in->correlation_id, FILTER_MAX)))
		return "correlation_id";
	return NULL;
}

static void on_list(void *arg, const struct store_list_out *out)
{
	struct http_request *r = arg;
	char cursor[24];
	json_t *jobs, *answer;

	if (out->err != CC_OK) {
		http_answer_store_failed(r, out->err);
		return;
	}
	jobs = json_array();
	for (size_t i = 0; i < out->count; i++)
		json_array_append_new(jobs, queue_json_job(&out->jobs[i]));
	answer = json_pack("{s:o}", "jobs", jobs);
	if (out->next) {
		snprintf(cursor, sizeof(cursor), "%llu", (unsigned long long)out->next);
		json_object_set_new(answer, "next_cursor", json_string(cursor));
	}
	http_answer_json(r, 200, answer);
}

void http_list_jobs(struct http_request *r)
{
	struct store_list_in in = {.tenant = http_request_tenant(r)};
	uint64_t limit = PAGE_DEFAULT;
	const char *wrong = take_filters(r, &in);
	char pointer[32];

	if (wrong) {
		snprintf(pointer, sizeof(pointer), "/%s", wrong);
		http_answer_fault(r, 400, "malformed_json", "not a value of this filter", pointer);
		return;
	}
	if (!http_request_number(r, "limit", 1, STORE_LIST_MAX, &limit) ||
		!http_request_number(r, "cursor", 1, INT64_MAX, &in.after))
		return;
	in.limit = (size_t)limit;
	store_list(http_request_queue(r)->store, &in, on_list, r);
}

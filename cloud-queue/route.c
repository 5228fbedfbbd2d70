/*
 * Fills the store's route from a job document, and names kinds.
 */
#include "cloud-queue/route.h"

static const char *const names[STORE_KIND_COUNT] = {
	[STORE_ISSUE] = "issue",
	[STORE_REWRAP] = "rewrap",
	[STORE_REVOKE] = "revoke",
	[STORE_CHAIN] = "chain",
};

const char *route_kind_name(enum store_kind kind)
{
	return kind > 0 && kind < STORE_KIND_COUNT ? names[kind] : "unknown";
}

enum store_kind route_kind_named(cc_view name)
{
	for (int i = 1; i < STORE_KIND_COUNT; i++) {
		if (text_equal(name, names[i]))
			return (enum store_kind)i;
	}
	return (enum store_kind)0;
}

enum store_kind route_kind_of_job(const Certq__JobDocument *job)
{
	switch (job->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		return STORE_ISSUE;
	case CERTQ__JOB_DOCUMENT__KIND_REWRAP:
		return STORE_REWRAP;
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		return STORE_REVOKE;
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		return STORE_CHAIN;
	default:
		return (enum store_kind)0;
	}
}

static cc_view ca_profile(const Certq__JobDocument *job)
{
	switch (job->kind_case) {
	case CERTQ__JOB_DOCUMENT__KIND_ISSUE:
		return codec_view(job->issue->ca_profile);
	case CERTQ__JOB_DOCUMENT__KIND_REVOKE:
		return codec_view(job->revoke->ca_profile);
	case CERTQ__JOB_DOCUMENT__KIND_CHAIN:
		return codec_view(job->chain->ca_profile);
	default:
		return CC_VIEW_NONE;
	}
}

void route_of_job(const Certq__JobDocument *job, struct route *ret)
{
	size_t n = 0;

	*ret = (struct route){0};
	ret->in.kind = route_kind_of_job(job);
	ret->in.ca_profile = ca_profile(job);
	ret->in.audience = codec_view(job->audience);
	if (ret->in.kind == STORE_REWRAP) {
		for (size_t i = 0; i < job->rewrap->n_passwords && n < ROUTE_KEYS_MAX; i++)
			ret->key_ids[n++] = codec_view(job->rewrap->passwords[i]->key_id);
	}
	ret->in.key_ids = ret->key_ids;
	ret->in.key_id_count = n;
}

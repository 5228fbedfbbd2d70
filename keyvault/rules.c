/*
 * Rules: both files read at once, so that a request never sees one old and one new.  A file that is
 * not usable counts as absent: nothing is issued rather than something by half a policy.
 */
#include "keyvault/rules.h"
#include "base/file.h"
#include "base/log.h"
#include <stdlib.h>

static cc_err load_policy(struct rules *r, int fd)
{
	cc_blob text = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(file_read_fd(fd, "policy.yaml", POLICY_FILE_MAX, &text));
	TRY(policy_parse(cc_blob_view(&text), "policy.yaml", &r->policy));
out:
	cc_blob_free(&text);
	return err;
}

static cc_err load_pins(struct rules *r, int fd)
{
	cc_blob text = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(file_read_fd(fd, "pins.yaml", PINS_FILE_MAX, &text));
	TRY(pins_parse(cc_blob_view(&text), "pins.yaml", &r->pins));
out:
	cc_blob_free(&text);
	return err;
}

static void note_problem(struct rules *r, const char *words)
{
	if (r->problem == NULL)
		r->problem = cc_strdup(words);
}

struct rules *rules_load(int policy_fd, int pins_fd)
{
	struct rules *r = cc_alloc(sizeof(*r));

	r->references = 1;
	r->policy_is_missing = policy_fd < 0;
	cc_err policy_err = policy_fd >= 0 ? load_policy(r, policy_fd) : CC_OK;
	if (policy_err != CC_OK)
		note_problem(r, cc_err_detail(policy_err));
	cc_err pins_err = pins_fd >= 0 ? load_pins(r, pins_fd) : CC_OK;
	if (pins_err != CC_OK)
		note_problem(r, cc_err_detail(pins_err));
	if (r->policy_is_missing)
		note_problem(r, "there is no policy file");
	if (pins_fd < 0)
		note_problem(r,
			"there is no pins file, so no tenant is known: put pins.yaml back, or "
			"certconnectorctl enroll writes it");
	return r;
}

struct rules *rules_hold(struct rules *r)
{
	r->references++;
	return r;
}

void rules_release(struct rules *r)
{
	if (r == NULL || --r->references > 0)
		return;
	policy_free(r->policy);
	pins_free(r->pins);
	free(r->problem);
	free(r);
}

void rules_log(const struct rules *r)
{
	if (r->problem != NULL)
		log_event(EV_POLICY_PROBLEM, LV_TEXT("reason", r->problem));
	if (r->policy == NULL)
		return;
	log_event(EV_POLICY_LOADED, LV_U64("revision", policy_revision(r->policy)),
		LV_TEXT("device_keys", policy_device_keys_name(policy_device_keys(r->policy))),
		LV_VIEW("tenant", pins_tenant(r->pins)),
		LV_VIEW("connector", pins_connector_id(r->pins)));
	if (policy_device_keys(r->policy) == POLICY_ANY_SIGNED)
		log_event(EV_CLOUD_NOT_BLIND, LV_TEXT("device_keys", "any_signed"));
}

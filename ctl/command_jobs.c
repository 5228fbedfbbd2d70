/*
 * jobs waiting, jobs approve, jobs deny: jobs that wait for an operator at the keyvault, because their
 * device key is one that only a person can allow.
 *
 * Asked and answered over the keyvault's own socket; who asks is told to it by the kernel.
 */
#include "base/hash.h"
#include "base/role.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "proto/codec.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_MAX 200
#define PAGES_MAX  1000 /* so many a keyvault cannot have */

static const char *reason_text(const Vault__WaitingJob *job)
{
	switch (job->reason) {
	case VAULT__WAIT_REASON__WAIT_OTHER_KEY:
		return "another key than the one that is known for the device";
	case VAULT__WAIT_REASON__WAIT_FIRST_DEVICE:
		return "the first device of a user who has imported keys";
	case VAULT__WAIT_REASON__WAIT_NEW_DEVICE:
		return job->known_spki_sha256.len > 0 ? "a device that is known as another user's"
						      : "a device that is not known";
	default:
		return "unknown";
	}
}

static const char *decision_text(Vault__WaitDecision decision)
{
	switch (decision) {
	case VAULT__WAIT_DECISION__WAIT_APPROVED:
		return "approved";
	case VAULT__WAIT_DECISION__WAIT_DENIED:
		return "denied";
	default:
		return "waits";
	}
}

/* What `jobs approve` wants: the job, and the question that is shown here. */
static json_t *approve_word(const Vault__WaitingJob *job, const char *id)
{
	char *question = text_hex_new(codec_view(job->question_sha256));
	json_t *word = json_sprintf("%s:%s", id, question);

	free(question);
	return word;
}

static json_t *as_json(const Vault__WaitingJob *job)
{
	json_t *to = json_object();
	char id[JOB_TEXT_SIZE];

	text_job_id(codec_view(job->job_id), id);
	json_object_set_new(to, "job", json_string(id));
	json_object_set_new(to, "state", json_string(decision_text(job->decision)));
	json_object_set_new(to, "reason", json_string(reason_text(job)));
	json_object_set_new(to, "tenant", ctl_json_text(job->tenant));
	json_object_set_new(to, "kind", ctl_json_text(job->kind));
	json_object_set_new(to, "for", ctl_json_text(job->what));
	json_object_set_new(to, "user", ctl_json_text(job->user_id));
	json_object_set_new(to, "device", ctl_json_text(job->device_id));
	json_object_set_new(to, "key_sha256", ctl_json_hex(job->spki_sha256));
	json_object_set_new(to, "known_key_sha256", ctl_json_hex(job->known_spki_sha256));
	json_object_set_new(to, "known_user", ctl_json_text(job->known_user_id));
	json_object_set_new(to, "asked", ctl_json_time(job->asked_s));
	json_object_set_new(to, "not_after", ctl_json_time(job->not_after_s));
	if (job->decision == VAULT__WAIT_DECISION__WAIT_UNDECIDED) {
		json_object_set_new(to, "approve", approve_word(job, id));
		return to;
	}
	json_object_set_new(to, "decided", ctl_json_time(job->decided_s));
	json_object_set_new(to, "decided_uid", json_integer(job->decided_uid));
	json_object_set_new(to, "decided_reason", ctl_json_text(job->decided_reason));
	return to;
}

/* ---- jobs waiting ---- */

static cc_err take_page(const struct ctl *c, cc_blob *after, json_t *list)
{
	Vault__AdminListWaiting op = VAULT__ADMIN_LIST_WAITING__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	cc_err err = CC_OK;

	op.after = codec_bytes(cc_blob_view(after));
	request.op_case = VAULT__ADMIN_REQUEST__OP_LIST_WAITING;
	request.list_waiting = &op;
	TRY(ctl_ask_vault(c, &request, &answer));
	ENSURE(answer->answer_case == VAULT__ADMIN_ANSWER__ANSWER_WAITING,
		cc_fail(CC_PROTOCOL, "the keyvault answered with something else"));
	for (size_t i = 0; i < answer->waiting->n_jobs; i++)
		json_array_append_new(list, as_json(answer->waiting->jobs[i]));
	cc_blob_free(after);
	*after = cc_blob_copy(codec_view(answer->waiting->next));
out:
	codec_free(answer);
	return err;
}

static int list_waiting(const struct ctl *c, bool json)
{
	json_t *list = json_array();
	cc_blob after = CC_BLOB_NONE;
	size_t pages = 0;
	cc_err err = CC_OK;

	do {
		TRY(take_page(c, &after, list));
	} while (after.size > 0 && ++pages < PAGES_MAX);
	ctl_json_print(list, "job", json, "no job waits");
out:
	cc_blob_free(&after);
	json_decref(list);
	return err == CC_OK ? EXIT_OK : ctl_fail("jobs waiting", err);
}

/* ---- jobs approve, jobs deny ---- */

static cc_err take_id(const char *job, size_t size, uint8_t ret[JOB_ID_SIZE])
{
	if (text_from_job_id(cc_view_of(job, size), ret) == CC_OK)
		return CC_OK;
	return cc_fail(
		CC_USAGE, "%.*s is not the id of a job: job_ and 26 characters", (int)size, job);
}

/* JOB:QUESTION, so that nothing else is approved than what was looked at. */
static cc_err approve(const struct ctl *c, const char *job)
{
	Vault__AdminApproveJob op = VAULT__ADMIN_APPROVE_JOB__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	uint8_t id[JOB_ID_SIZE];
	cc_blob question = CC_BLOB_NONE;
	size_t id_size = strcspn(job, ":");
	cc_err err = CC_OK;

	TRY(take_id(job, id_size, id));
	ENSURE(job[id_size] == ':' &&
			text_from_hex(cc_view_text(job + id_size + 1), &question) == CC_OK &&
			question.size == SHA256_SIZE,
		cc_fail(CC_USAGE, "%s: not what the line \"approve\" of jobs waiting says", job));
	op.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	op.question_sha256 = codec_bytes(cc_blob_view(&question));
	request.op_case = VAULT__ADMIN_REQUEST__OP_APPROVE_JOB;
	request.approve_job = &op;
	TRY(ctl_ask_vault(c, &request, &answer));
	printf("%.*s: approved; it goes on when the queue hands it out again\n", (int)id_size, job);
out:
	cc_blob_free(&question);
	codec_free(answer);
	return err;
}

static cc_err deny(const struct ctl *c, const char *job, const char *because)
{
	Vault__AdminDenyJob op = VAULT__ADMIN_DENY_JOB__INIT;
	Vault__AdminRequest request = VAULT__ADMIN_REQUEST__INIT;
	Vault__AdminAnswer *answer = NULL;
	uint8_t id[JOB_ID_SIZE];
	cc_err err = CC_OK;

	TRY(take_id(job, strlen(job), id));
	op.job_id = codec_bytes(cc_view_of(id, sizeof(id)));
	op.reason = codec_text(because);
	request.op_case = VAULT__ADMIN_REQUEST__OP_DENY_JOB;
	request.deny_job = &op;
	TRY(ctl_ask_vault(c, &request, &answer));
	printf("%s: denied; it fails when the queue hands it out again\n", job);
out:
	codec_free(answer);
	return err;
}

/* Each job for itself; the status is that of the first that could not be decided. */
static int decide_all(const struct ctl *c, const char *command, int count, char **jobs,
	const char *denied_because)
{
	int status = EXIT_OK;

	for (int i = 0; i < count; i++) {
		char *doing;
		int one;
		cc_err err = denied_because == NULL ? approve(c, jobs[i])
						    : deny(c, jobs[i], denied_because);
		if (err == CC_OK)
			continue;
		doing = cc_asprintf("jobs %s %s", command, jobs[i]);
		one = ctl_fail(doing, err);
		free(doing);
		if (err == CC_USAGE)
			one = EXIT_USAGE;
		if (status == EXIT_OK)
			status = one;
	}
	return status;
}

/* ---- arguments ---- */

static int usage(FILE *to, int status)
{
	fprintf(to,
		"usage: certconnectorctl jobs waiting [--json]\n"
		"       certconnectorctl jobs approve JOB:QUESTION...\n"
		"       certconnectorctl jobs deny JOB... --reason TEXT\n"
		"Jobs that wait for an operator because of their device key, and what is decided.\n"
		"Compare key_sha256 with the device's own key before you approve.\n"
		"JOB:QUESTION is the line \"approve\" of the list: what is shown there, nothing "
		"else.\n"
		"  --reason TEXT  of a denial, at most 200 bytes; it is recorded\n"
		"  --json         machine-readable list\n");
	return status;
}

struct arguments {
	const char *reason;
	bool json;
};

static bool read_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {{"reason", required_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	int option;

	optind = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			a->reason = optarg;
		else if (option == 'j')
			a->json = true;
		else
			return false;
	}
	return a->reason == NULL ||
	       (a->reason[0] != '\0' && text_is_clean(cc_view_text(a->reason), REASON_MAX));
}

int command_jobs(struct ctl *c, int argc, char **argv)
{
	struct arguments a = {.json = c->json};
	const char *command = argc > 1 ? argv[1] : "";
	bool waiting = strcmp(command, "waiting") == 0, denies = strcmp(command, "deny") == 0;

	if (strcmp(command, "--help") == 0)
		return usage(stdout, EXIT_OK);
	if (!waiting && !denies && strcmp(command, "approve") != 0)
		return usage(stderr, EXIT_USAGE);
	if (!read_arguments(&a, argc - 1, argv + 1) || denies != (a.reason != NULL))
		return usage(stderr, EXIT_USAGE);
	int jobs = argc - 1 - optind; /* optind counts from the command's own name */
	if (waiting != (jobs == 0))
		return usage(stderr, EXIT_USAGE);
	return waiting ? list_waiting(c, a.json)
		       : decide_all(c, command, jobs, argv + 1 + optind, a.reason);
}

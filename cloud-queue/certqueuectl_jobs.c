/*
 * certqueuectl submit, record, wait, show: the producer's side of the API.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/text.h"
#include "base/tool.h"
#include "cloud-queue/certqueuectl.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_PART_S 50 /* one long poll; below the minute at which proxies cut */

struct jobs {
	struct queuectl_api api;
	const char *out; /* directory for results */
	uint64_t timeout_s;
};

static int jobs_usage(FILE *to, int status, const char *line)
{
	fprintf(to, "usage: certqueuectl %s\n" QUEUECTL_API_HELP, line);
	return status;
}

/* Options up to the first file; the exit status of bad usage, or -1. */
static int jobs_options(struct jobs *j, int argc, char **argv, const char *line)
{
	static const struct option options[] = {QUEUECTL_API_OPTIONS,
		{"out", required_argument, NULL, 'o'}, {"timeout", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;

	j->timeout_s = 300;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (queuectl_api_option(&j->api, option, optarg))
			continue;
		if (option == 'o') {
			j->out = optarg;
		} else if (option == 't') {
			if (text_to_seconds(cc_view_text(optarg), 86400, &j->timeout_s) != CC_OK)
				return jobs_usage(stderr, EXIT_USAGE, line);
		} else {
			return jobs_usage(option == 'h' ? stdout : stderr,
				option == 'h' ? EXIT_OK : EXIT_USAGE, line);
		}
	}
	return optind < argc ? -1 : jobs_usage(stderr, EXIT_USAGE, line);
}

static cc_err submit_file(const struct queuectl *q, const struct jobs *j, const char *file)
{
	json_t *body = NULL;
	json_t *answer = NULL;
	char *text = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(file, &body));
	text = json_dumps(body, JSON_COMPACT);
	TRY(queuectl_api_ask(&j->api, "POST", "/jobs", text, &answer));
	const char *id = json_string_value(json_object_get(answer, "id"));
	uint8_t job_id[JOB_ID_SIZE];
	ENSURE(id != NULL && text_from_job_id(cc_view_text(id), job_id) == CC_OK,
		cc_fail(CC_PROTOCOL, "the answer has no job id"));
	if (q->json)
		queuectl_json_print(answer);
	else
		printf("%s\n", id);
out:
	free(text);
	json_decref(answer);
	json_decref(body);
	return err;
}

int queuectl_submit(struct queuectl *q, int argc, char **argv)
{
	struct jobs j = {0};
	int status = jobs_options(&j, argc, argv, "submit JOB... (signed jobs)");

	if (status >= 0)
		return status;
	status = EXIT_OK;
	for (int i = optind; i < argc; i++) {
		cc_err err = submit_file(q, &j, argv[i]);
		if (err != CC_OK)
			status = queuectl_fail(argv[i], err);
	}
	return status;
}

static cc_err put_record(const struct jobs *j, const char *file)
{
	json_t *body = NULL;
	json_t *answer = NULL;
	char *text = NULL;
	cc_err err = CC_OK;

	TRY(tool_json_read(file, &body));
	text = json_dumps(body, JSON_COMPACT);
	TRY(queuectl_api_ask(&j->api, "POST", "/user-pfx", text, &answer));
	printf("%s\n", json_string_value(json_object_get(body, "id")));
out:
	free(text);
	json_decref(answer);
	json_decref(body);
	return err;
}

/* Signed Rewrap documents of one user, as one batch. */
static cc_err deliver(const struct jobs *j, int count, char **files)
{
	json_t *documents = json_array();
	json_t *body = NULL;
	json_t *answer = NULL;
	char *text = NULL;
	cc_err err = CC_OK;

	for (int i = 0; i < count; i++) {
		json_t *document = NULL;
		TRY(tool_json_read(files[i], &document));
		json_array_append_new(documents, document);
	}
	body = json_pack("{s:O}", "jobs", documents);
	text = json_dumps(body, JSON_COMPACT);
	TRY(queuectl_api_ask(&j->api, "POST", "/user-pfx:deliver", text, &answer));
	const json_t *jobs = json_object_get(answer, "jobs");
	ENSURE(json_array_size(jobs) == (size_t)count,
		cc_fail(CC_PROTOCOL, "the answer does not name every job"));
	for (size_t i = 0; i < json_array_size(jobs); i++) {
		const char *id = json_string_value(json_object_get(json_array_get(jobs, i), "id"));
		uint8_t job_id[JOB_ID_SIZE];
		ENSURE(id != NULL && text_from_job_id(cc_view_text(id), job_id) == CC_OK,
			cc_fail(CC_PROTOCOL, "the answer has no job id"));
		printf("%s\n", id);
	}
out:
	free(text);
	json_decref(answer);
	json_decref(body);
	json_decref(documents);
	return err;
}

static int list_records(int argc, char **argv, const char *line)
{
	static const struct option options[] = {QUEUECTL_API_OPTIONS,
		{"user", required_argument, NULL, 'u'}, {"purpose", required_argument, NULL, 'p'},
		{"out", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	struct queuectl_api api = {0};
	const char *user = NULL, *purpose = NULL, *out = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (queuectl_api_option(&api, option, optarg))
			continue;
		if (option == 'u')
			user = optarg;
		else if (option == 'p')
			purpose = optarg;
		else if (option == 'o')
			out = optarg;
		else
			return jobs_usage(option == 'h' ? stdout : stderr,
				option == 'h' ? EXIT_OK : EXIT_USAGE, line);
	}
	if (optind < argc)
		return jobs_usage(stderr, EXIT_USAGE, line);
	cc_err err = queuectl_record_list(&api, user, purpose, out);
	return err == CC_OK ? EXIT_OK : queuectl_fail("record list", err);
}

int queuectl_record(struct queuectl *q, int argc, char **argv)
{
	static const char line[] =
		"record put RECORD... | record deliver SIGNED-REWRAP... | record "
		"list [--user ID] [--purpose WORD] [--out DIR]";
	struct jobs j = {0};

	(void)q;
	if (argc > 1 && strcmp(argv[1], "list") == 0)
		return list_records(argc - 1, argv + 1, line);
	if (argc < 2 || (strcmp(argv[1], "put") != 0 && strcmp(argv[1], "deliver") != 0)) {
		bool help = argc > 1 && strcmp(argv[1], "--help") == 0;
		return jobs_usage(help ? stdout : stderr, help ? EXIT_OK : EXIT_USAGE, line);
	}
	bool put = strcmp(argv[1], "put") == 0;
	argc--;
	argv++;
	int status = jobs_options(&j, argc, argv, line);
	if (status >= 0)
		return status;
	if (!put) {
		cc_err err = deliver(&j, argc - optind, argv + optind);
		return err == CC_OK ? EXIT_OK : queuectl_fail("record deliver", err);
	}
	status = EXIT_OK;
	for (int i = optind; i < argc; i++) {
		cc_err err = put_record(&j, argv[i]);
		if (err != CC_OK)
			status = queuectl_fail(argv[i], err);
	}
	return status;
}

static bool is_final(const char *state)
{
	static const char *const final[] = {"done", "failed", "dead", "cancelled"};
	for (size_t i = 0; state != NULL && i < sizeof(final) / sizeof(final[0]); i++) {
		if (strcmp(final[i], state) == 0)
			return true;
	}
	return false;
}

/* Long polls until the job is final; the last answer is returned either way. */
static cc_err wait_job(const struct jobs *j, const char *id, int64_t until_ms, json_t **ret)
{
	json_t *answer = NULL;
	cc_err err = CC_OK;

	for (;;) {
		int64_t left_s = (until_ms - clock_boottime_ms()) / 1000;
		int64_t part = left_s < WAIT_PART_S ? left_s : WAIT_PART_S;
		char *path =
			cc_asprintf("/jobs/%s?wait=%lld", id, (long long)(part > 0 ? part : 0));
		json_decref(answer);
		answer = NULL;
		err = queuectl_api_ask(&j->api, NULL, path, NULL, &answer);
		free(path);
		if (err != CC_OK)
			goto out;
		const char *state = json_string_value(json_object_get(answer, "state"));
		ENSURE(state != NULL, cc_fail(CC_PROTOCOL, "%s: the answer has no state", id));
		if (is_final(state))
			break;
		ENSURE(part > 0, cc_fail(CC_TIMEOUT, "%s is still %s", id, state));
	}
	*ret = answer;
	answer = NULL;
out:
	json_decref(answer);
	return err;
}

static cc_err keep(const struct jobs *j, const char *id, const json_t *answer)
{
	if (j->out == NULL) {
		queuectl_json_print(answer);
		return CC_OK;
	}
	char *path = cc_asprintf("%s/%s.json", j->out, id);
	char *text = json_dumps(answer, JSON_COMPACT);
	cc_err err = file_write_atomic(path, cc_view_text(text), 0600);
	free(text);
	free(path);
	return err;
}

int queuectl_wait(struct queuectl *q, int argc, char **argv)
{
	struct jobs j = {0};
	int status = jobs_options(
		&j, argc, argv, "wait JOB-ID... [--timeout 300s] [--out DIR] (exit 3: one failed)");

	(void)q;
	if (status >= 0)
		return status;
	status = EXIT_OK;
	int64_t until = clock_boottime_ms() + (int64_t)j.timeout_s * 1000;
	for (int i = optind; i < argc; i++) {
		json_t *answer = NULL;
		uint8_t job_id[JOB_ID_SIZE];
		/* the id becomes a part of a URL and of a file's name */
		if (text_from_job_id(cc_view_text(argv[i]), job_id) != CC_OK) {
			status = queuectl_fail(
				"wait", cc_fail(CC_USAGE, "\"%s\" is not a job id", argv[i]));
			continue;
		}
		cc_err err = wait_job(&j, argv[i], until, &answer);
		const char *state = json_string_value(json_object_get(answer, "state"));
		if (err == CC_OK)
			err = keep(&j, argv[i], answer);
		if (err != CC_OK) {
			status = queuectl_fail(argv[i], err);
		} else if (strcmp(state, "done") != 0) {
			const json_t *error = json_object_get(answer, "error");
			char *code = text_printable(
				cc_view_text(json_string_value(json_object_get(error, "code"))));
			fprintf(stderr, "%s: %s %s\n", argv[i], state, code);
			free(code);
			status = EXIT_REFUSED;
		}
		json_decref(answer);
	}
	return status;
}

int queuectl_show(struct queuectl *q, int argc, char **argv)
{
	json_t *request = NULL;
	json_t *answer = NULL;

	if (argc == 2 && strcmp(argv[1], "stats") == 0)
		request = json_pack("{s:s}", "op", "stats");
	else if (argc == 4 && strcmp(argv[1], "job") == 0)
		request = json_pack(
			"{s:s, s:s, s:s}", "op", "job_show", "tenant", argv[2], "job", argv[3]);
	else if (argc == 3 && strcmp(argv[1], "connectors") == 0)
		request = json_pack("{s:s, s:s}", "op", "connector_list", "tenant", argv[2]);
	if (request == NULL) {
		bool help = argc > 1 && strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr, "usage: certqueuectl show stats | show connectors "
						"TENANT | show job TENANT JOB-ID\n"
						"Asks certqueued's control socket.\n");
		return help ? EXIT_OK : EXIT_USAGE;
	}
	cc_err err = queuectl_control(q, request, &answer);
	if (err != CC_OK)
		return queuectl_fail("show", err);
	queuectl_json_print(answer);
	json_decref(answer);
	return EXIT_OK;
}

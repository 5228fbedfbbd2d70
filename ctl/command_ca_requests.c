/*
 * ca requests, ca approve, ca deny: requests that wait for a person at an embedded CA.
 *
 * The CA's own directory is the place (proto/ca_request.h): nothing of it passes through the daemon's
 * other processes, and to decide one has to be, or to be able to become, the user whose directory it is.
 */
#include "base/clock.h"
#include "base/file.h"
#include "base/role.h"
#include "base/sandbox.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include "proto/ca_request.h"
#include "proto/codec.h"
#include <getopt.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ask {
	const struct ctl *ctl;
	const char *ca; /* --ca; NULL: all */
	const char *reason;
	const char *reference;
	bool json;
	json_t *list;       /* of `requests` */
	bool lists;         /* `requests`: a CA that cannot be looked at does not hide the others */
	size_t unread;      /* of `requests`: files and directories that could not be read */
	char *found_ca;     /* of a decision */
	size_t found_count; /* CAs at which it waits */
};

static char *local_dir(const struct ctl *c, const char *ca)
{
	return cc_asprintf("%s/ca/%s/local", c->settings.state_dir, ca);
}

/* ---- what waits ---- */

/* The text of a memory BIO, cleaned for a terminal; frees the BIO. */
static char *take_text(BIO *bio)
{
	char *data = NULL;
	long size = BIO_get_mem_data(bio, &data);
	char *text = text_printable(cc_view_of(data, size > 0 ? (size_t)size : 0));

	BIO_free(bio);
	return text;
}

static char *subject_of(X509_REQ *req)
{
	BIO *bio = BIO_new(BIO_s_mem());

	X509_NAME_print_ex(bio, X509_REQ_get_subject_name(req), 0, XN_FLAG_RFC2253);
	return take_text(bio);
}

static char *names_of(X509_REQ *req)
{
	STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(req);
	int at = X509v3_get_ext_by_NID(list, NID_subject_alt_name, -1);
	BIO *bio = BIO_new(BIO_s_mem());

	if (at >= 0)
		X509V3_EXT_print(bio, X509v3_get_ext(list, at), 0, 0);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	ERR_clear_error();
	return take_text(bio);
}

static json_t *as_json(const char *ca, const Ca__PendingRequest *r)
{
	const uint8_t *at = r->csr.data;
	X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)r->csr.len);
	char *reference = cc_strndup(codec_view(r->reference));
	char *template_name = text_printable(codec_view(r->template_));
	char *tenant = text_printable(codec_view(r->tenant));
	char *subject = req != NULL ? subject_of(req) : cc_strdup("");
	char *names = req != NULL ? names_of(req) : cc_strdup("");
	char *digest = text_hex_new(codec_view(r->csr_sha256));
	char job[JOB_TEXT_SIZE], asked[RFC3339_SIZE];
	json_t *item;

	text_job_id(codec_view(r->job_id), job);
	text_rfc3339(r->asked_s, asked);
	item = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "reference",
		reference, "ca", ca, "asked", asked, "tenant", tenant, "job", job, "template",
		template_name, "subject", subject, "alternative_names", names, "csr_sha256", digest,
		"validity_s", (json_int_t)r->validity_s);
	free(digest);
	free(names);
	free(subject);
	free(tenant);
	free(template_name);
	free(reference);
	X509_REQ_free(req);
	ERR_clear_error();
	return item;
}

struct at_ca {
	struct ask *ask;
	const char *ca;
	const char *dir;
};

/* One that was decided a moment ago may be gone by now.  One that cannot be read is named and passed
 * over, so that the others are seen. */
static cc_err list_one(void *arg, const char *reference)
{
	const struct at_ca *at = arg;
	Ca__PendingRequest *r = NULL;
	cc_err err = ca_request_read(at->dir, reference, &r);

	if (err == CC_OK)
		json_array_append_new(at->ask->list, as_json(at->ca, r));
	codec_free(r);
	if (err != CC_OK && err != CC_NOT_FOUND) {
		char *what = cc_asprintf("%s: request %s", at->ca, reference);
		(void)ctl_fail(what, err);
		free(what);
		at->ask->unread++;
	}
	return CC_OK;
}

static cc_err note_one(void *arg, const char *reference)
{
	const struct at_ca *at = arg;

	if (strcmp(reference, at->ask->reference) == 0) {
		free(at->ask->found_ca);
		at->ask->found_ca = cc_strdup(at->ca);
		at->ask->found_count++;
	}
	return CC_OK;
}

/* The others are still to be seen. */
static cc_err pass_over(struct ask *a, const char *ca, cc_err err)
{
	if (err == CC_OK || !a->lists)
		return err;
	(void)ctl_fail(ca, err);
	a->unread++;
	return CC_OK;
}

/* `fn` for every request that waits at the CAs that were asked about. */
static cc_err each_request(struct ask *a, ca_request_each_fn fn)
{
	char **names = NULL;
	size_t count = 0;
	cc_err err = ctl_ca_names(&a->ctl->settings, &names, &count);

	for (size_t i = 0; i < count && err == CC_OK; i++) {
		char *dir;
		struct at_ca at = {.ask = a, .ca = names[i]};
		if (a->ca != NULL && strcmp(a->ca, names[i]) != 0)
			continue;
		dir = local_dir(a->ctl, names[i]);
		at.dir = dir;
		err = pass_over(
			a, names[i], ca_request_each(dir, CA_REQUEST_REQUESTS_DIR, fn, &at));
		free(dir);
	}
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
	return err;
}

static void print_item(const json_t *item)
{
	static const char *const keys[] = {
		"ca", "asked", "template", "subject", "alternative_names", "job", "tenant"};

	printf("%s\n", json_string_value(json_object_get(item, "reference")));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		printf("  %-17s  %s\n", keys[i], json_string_value(json_object_get(item, keys[i])));
}

static cc_err list_requests(struct ask *a)
{
	cc_err err;

	a->list = json_array();
	a->lists = true;
	err = each_request(a, list_one);
	if (err == CC_OK && a->json) {
		char *text = json_dumps(a->list, JSON_INDENT(2));
		printf("%s\n", text);
		free(text);
	} else if (err == CC_OK) {
		for (size_t i = 0; i < json_array_size(a->list); i++)
			print_item(json_array_get(a->list, i));
		if (json_array_size(a->list) == 0 && a->unread == 0)
			printf("no request waits\n");
	}
	if (err == CC_OK && a->unread > 0)
		err = cc_fail(CC_MALFORMED,
			"%zu files or directories of requests could not be read", a->unread);
	json_decref(a->list);
	return err;
}

/* ---- decide ---- */

/* STATE/ca is not the CA's user's, so whose STATE/ca/NAME is cannot be changed by that user. */
static cc_err become_owner(const struct ctl *c, const char *ca)
{
	char *dir = cc_asprintf("%s/ca/%s", c->settings.state_dir, ca);
	struct stat st;
	cc_err err = CC_OK;

	ENSURE(lstat(dir, &st) == 0, cc_fail_errno(dir));
	if (st.st_uid == geteuid())
		goto out;
	ENSURE(geteuid() == 0,
		cc_fail(CC_DENIED, "%s is another user's: run this as root, or as uid %u", dir,
			(unsigned)st.st_uid));
	TRY(sandbox_user(st.st_uid, st.st_gid, NULL, 0));
out:
	free(dir);
	return err;
}

static cc_err decide(struct ask *a, bool approve)
{
	Ca__RequestDecision d = CA__REQUEST_DECISION__INIT;
	Ca__PendingRequest *r = NULL;
	char *dir = NULL;
	uid_t caller = getuid();
	cc_err err = CC_OK;

	ENSURE(ca_request_is_reference(a->reference),
		cc_fail(CC_USAGE, "a reference has 16 hex digits"));
	TRY(each_request(a, note_one));
	ENSURE(a->found_count > 0, cc_fail(CC_NOT_FOUND, "no request %s waits", a->reference));
	ENSURE(a->found_count == 1, cc_fail(CC_USAGE, "%s waits at %zu CAs: say which with --ca",
					    a->reference, a->found_count));
	TRY(become_owner(a->ctl, a->found_ca));
	dir = local_dir(a->ctl, a->found_ca);
	TRY(ca_request_read(dir, a->reference, &r));
	d.version = CA_REQUEST_VERSION;
	d.reference = codec_text(a->reference);
	d.csr_sha256 = r->csr_sha256;
	d.approve = approve;
	d.reason = codec_text(approve ? "" : a->reason);
	d.time_s = clock_realtime_s();
	d.uid = (uint32_t)caller;
	err = ca_request_write_decision(dir, &d);
	ENSURE(err != CC_CONFLICT, cc_fail(CC_CONFLICT, "%s is decided already", a->reference));
	TRY(err);
	printf("%s: %s; the CA acts on it when it is asked next, at the latest in ten minutes\n",
		a->reference, approve ? "approved" : "denied");
out:
	codec_free(r);
	free(dir);
	free(a->found_ca);
	return err;
}

/* ---- arguments ---- */

int command_ca_requests_usage(FILE *to, int status)
{
	fprintf(to,
		"usage: certconnectorctl ca requests [--ca NAME] [--json]\n"
		"       certconnectorctl ca approve REFERENCE [--ca NAME]\n"
		"       certconnectorctl ca deny REFERENCE --reason TEXT [--ca NAME]\n"
		"Requests of templates with `approval: manual`, and what is decided about each.\n"
		"Run it as root, or as the CA's user.\n"
		"  --ca NAME      only this CA's\n"
		"  --reason TEXT  of a denial, at most 200 bytes; the job's maker is told\n"
		"  --json         machine-readable list\n");
	return status;
}

static bool read_arguments(struct ask *a, int argc, char **argv)
{
	static const struct option options[] = {{"ca", required_argument, NULL, 'c'},
		{"reason", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0}};
	int option;

	optind = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			a->ca = optarg;
		else if (option == 'r')
			a->reason = optarg;
		else if (option == 'j')
			a->json = true;
		else
			return false;
	}
	if (optind < argc)
		a->reference = argv[optind++];
	return optind == argc;
}

int command_ca_requests(struct ctl *c, int argc, char **argv)
{
	struct ask a = {.ctl = c, .json = c->json};
	bool lists = strcmp(argv[0], "requests") == 0, denies = strcmp(argv[0], "deny") == 0;
	cc_err err;

	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return command_ca_requests_usage(stdout, EXIT_OK);
	if (!read_arguments(&a, argc, argv) || lists != (a.reference == NULL) ||
		denies != (a.reason != NULL))
		return command_ca_requests_usage(stderr, EXIT_USAGE);
	if (denies && !text_is_clean(cc_view_text(a.reason), CA_REQUEST_REASON_MAX))
		return command_ca_requests_usage(stderr, EXIT_USAGE);
	err = lists ? list_requests(&a) : decide(&a, !denies);
	if (err == CC_USAGE)
		return (void)ctl_fail("ca", err), EXIT_USAGE;
	return err == CC_OK ? EXIT_OK : ctl_fail("ca", err);
}

/*
 * Commands, files and exit statuses of the command-line programs.
 */
#include "base/tool.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#define KEY_FILE_MAX  (64u * 1024u)
#define JSON_FILE_MAX (4u * 1024u * 1024u)
#define NAME_MAX_     24u /* of a command that is compared with a misspelt one */

/* ---- commands ---- */

static void print_help(const struct tool *t, FILE *to)
{
	int width = 0;

	fprintf(to, "usage: %s ", t->program);
	if (t->file_option != NULL)
		fprintf(to, "[--%s FILE] ", t->file_option);
	fprintf(to, "%sCOMMAND [OPTION...]\n\n", t->plain ? "" : "[--json] ");
	if (t->file_option != NULL)
		fprintf(to, "  --%s FILE  %s (default %s)\n", t->file_option, t->file_help,
			t->file);
	if (!t->plain)
		fprintf(to, "  --json  machine-readable output\n");
	fprintf(to, "%scommands:\n", t->plain ? "" : "\n");
	for (size_t i = 0; i < t->command_count; i++) {
		int size = (int)strlen(t->commands[i].name);
		width = size > width ? size : width;
	}
	for (size_t i = 0; i < t->command_count; i++)
		fprintf(to, "  %-*s %s\n", width, t->commands[i].name, t->commands[i].help);
	fprintf(to, "\n`%s COMMAND --help` tells each command's options.\nexit status: %s\n",
		t->program, t->exits);
}

/* How many letters are wrong, missing or too many (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_ + 1], size = strlen(b);

	for (size_t k = 0; k <= size; k++)
		row[k] = k;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t corner = row[0]++;
		for (size_t k = 0; k < size; k++) {
			size_t best = corner + (a[i] != b[k]);
			if (row[k] + 1 < best)
				best = row[k] + 1;
			corner = row[k + 1];
			row[k + 1] = corner + 1 < best ? corner + 1 : best;
		}
	}
	return row[size];
}

static const char *nearest(const struct tool *t, const char *name)
{
	const char *found = NULL;
	size_t best = 3;

	if (strlen(name) > NAME_MAX_)
		return NULL;
	for (size_t i = 0; i < t->command_count; i++) {
		size_t far = distance(t->commands[i].name, name);
		if (far < best && far < strlen(name)) {
			best = far;
			found = t->commands[i].name;
		}
	}
	return found;
}

static bool find_command(const struct tool *t, const char *name, size_t *ret)
{
	const char *meant;

	for (size_t i = 0; i < t->command_count; i++) {
		if (strcmp(t->commands[i].name, name) == 0) {
			*ret = i;
			return true;
		}
	}
	meant = nearest(t, name);
	fprintf(stderr, "%s: no command \"%s\"; ", t->program, name);
	if (meant != NULL)
		fprintf(stderr, "did you mean \"%s\"?\n", meant);
	else
		fprintf(stderr, "see --help\n");
	return false;
}

/* True: go on with the command. */
static bool read_options(
	const struct tool *t, int argc, char **argv, struct tool_call *call, int *ret_status)
{
	struct option options[5] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
	};
	size_t count = 2;
	int option;

	if (!t->plain)
		options[count++] = (struct option){"json", no_argument, NULL, 'j'};
	if (t->file_option != NULL)
		options[count] = (struct option){t->file_option, required_argument, NULL, 'f'};
	/* "+": options after the command are the command's own */
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			call->file = optarg;
			break;
		case 'j':
			call->json = true;
			break;
		case 'h':
			print_help(t, stdout);
			*ret_status = EXIT_OK;
			return false;
		case 'V':
			printf("%s %s\n", t->program, CC_RELEASE);
			*ret_status = EXIT_OK;
			return false;
		default:
			print_help(t, stderr);
			*ret_status = EXIT_USAGE;
			return false;
		}
	}
	return true;
}

bool tool_choose(
	const struct tool *t, int argc, char **argv, struct tool_call *ret_call, int *ret_status)
{
	struct tool_call call = {.file = t->file};

	log_init(t->program, LOG_LOGFMT, LOG_WARNING_);
	if (!read_options(t, argc, argv, &call, ret_status))
		return false;
	*ret_status = EXIT_USAGE;
	if (optind >= argc) {
		print_help(t, stderr);
		return false;
	}
	if (!find_command(t, argv[optind], &call.command))
		return false;
	call.argc = argc - optind;
	call.argv = argv + optind;
	optind = 0; /* the command reads its own options anew */
	*ret_call = call;
	return true;
}

/* ---- exit statuses ---- */

int tool_exit_status(cc_err err)
{
	switch (cc_err_category(err)) {
	case CC_CAT_OK:
		return EXIT_OK;
	case CC_CAT_REJECTED:
		return EXIT_REFUSED;
	case CC_CAT_RETRY_LATER:
		return EXIT_UNREACHABLE;
	case CC_CAT_CONFIG:
		return err == CC_USAGE ? EXIT_USAGE : EXIT_CONFIGURATION;
	default:
		return EXIT_FAILED;
	}
}

int tool_fail(const char *program, const char *doing, cc_err err)
{
	fprintf(stderr, "%s: %s: %s\n", program, doing, cc_err_detail(err));
	return tool_exit_status(err);
}

/* ---- files ---- */

cc_err tool_key_read(const char *path, EVP_PKEY **ret)
{
	cc_secret pem = CC_SECRET_NONE;
	BIO *bio = NULL;
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	TRY(file_read_secret(path, KEY_FILE_MAX, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	ENSURE(key != NULL, cc_fail_openssl(path));
	*ret = key;
out:
	BIO_free(bio);
	cc_secret_free(&pem);
	return err;
}

static cc_err write_bio(BIO *bio, const char *path, mode_t mode)
{
	char *data = NULL;
	long size = BIO_get_mem_data(bio, &data);
	return file_write_new(path, cc_view_of(data, (size_t)size), mode);
}

cc_err tool_key_write(EVP_PKEY *key, const char *path, const char *public_path)
{
	BIO *private_part = BIO_new(BIO_s_secmem());
	BIO *public_part = BIO_new(BIO_s_mem());
	cc_err err = CC_OK;

	ENSURE(private_part != NULL && public_part != NULL &&
			PEM_write_bio_PrivateKey(private_part, key, NULL, NULL, 0, NULL, NULL) ==
				1 &&
			PEM_write_bio_PUBKEY(public_part, key) == 1,
		cc_fail_openssl("writing a key"));
	TRY(write_bio(private_part, path, 0600));
	TRY(write_bio(public_part, public_path, 0644));
out:
	BIO_free(public_part);
	BIO_free(private_part);
	return err;
}

cc_err tool_secret_read(const char *path, size_t max, cc_secret *ret)
{
	cc_err err = file_read_secret(path, max, ret);

	while (err == CC_OK && ret->size > 0 &&
		(ret->data[ret->size - 1] == '\n' || ret->data[ret->size - 1] == '\r'))
		cc_secret_resize(ret, ret->size - 1);
	return err;
}

cc_err tool_json_read(const char *path, json_t **ret)
{
	json_error_t where;
	json_t *value = NULL;
	cc_blob text = CC_BLOB_NONE;

	if (strcmp(path, "-") == 0) {
		value = json_loadf(stdin, JSON_REJECT_DUPLICATES, &where);
	} else {
		cc_err err = file_read(path, FILE_ANY, JSON_FILE_MAX, &text);
		if (err != CC_OK)
			return err;
		value = json_loadb(
			(const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &where);
		cc_blob_free(&text);
	}
	if (value == NULL)
		return cc_fail(
			CC_MALFORMED, "%s:%d:%d: %s", path, where.line, where.column, where.text);
	*ret = value;
	return CC_OK;
}

/*
 * certconnectord: the daemon's main.  Without a role it is the supervisor; with --role it is what the
 * supervisor made of it; the other options are for the administrator.
 */
#include "base/role.h"
#include "connector/config.h"
#include "connector/state_dirs.h"
#include "connector/supervisor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: certconnectord [--config FILE]                 run the daemon\n"
	"       certconnectord --check [--config FILE]         read the "
	"configuration and judge it\n"
	"       certconnectord --init [--config FILE]          make directories "
	"and master key for a first start\n"
	"       certconnectord --init-ca [--config FILE] NAME [--subject DN] "
	"[--days N] [--key TYPE]\n"
	"                                                      make the local "
	"CA of ca.d/NAME.yaml\n"
	"       certconnectord --keys                          describe the "
	"keys of connector.yaml\n"
	"       certconnectord --help | --version\n"
	"\n"
	"FILE is " CONFIG_DEFAULT_PATH " when it is not given.\n";

static int bad_usage(const char *what)
{
	fprintf(stderr, "certconnectord: %s\n%s", what, usage);
	return EXIT_USAGE;
}

static int bad_usage_of(const char *what, const char *argument)
{
	fprintf(stderr, "certconnectord: %s: %s\n%s", what, argument, usage);
	return EXIT_USAGE;
}

static int report(cc_err err)
{
	fprintf(stderr, "certconnectord: %s\n", cc_err_detail(err));
	return cc_err_category(err) == CC_CAT_CONFIG ? EXIT_CONFIGURATION : EXIT_FAILED;
}

static int run_role(const char *role)
{
	if (strcmp(role, "connector") == 0)
		return connector_role_main();
	if (strcmp(role, "keyvault") == 0)
		return keyvault_role_main();
	if (strcmp(role, "ca-runner") == 0)
		return runner_role_main();
	return bad_usage("--role: connector, keyvault or ca-runner");
}

static int check(const char *config_path)
{
	struct config *c = NULL;
	cc_err err = config_read(config_path, &c);

	if (err != CC_OK)
		return report(err);
	printf("%s: the configuration is fine, %zu CA%s\n", config_path, c->ca_count,
		c->ca_count == 1 ? "" : "s");
	config_free(c);
	return EXIT_OK;
}

static int init(const char *config_path)
{
	struct config *c = NULL;
	cc_err err = config_read(config_path, &c);

	if (err == CC_OK)
		err = state_dirs_init(c);
	if (err == CC_OK)
		printf("%s: the master key; keep a copy in a safe place, without it no key can be "
		       "read\n",
			c->keyvault.master_key);
	config_free(c);
	return err == CC_OK ? EXIT_OK : report(err);
}

static int print_keys(void)
{
	cc_blob page = CC_BLOB_NONE;

	config_print_reference(&page);
	fwrite(page.data, 1, page.size, stdout);
	cc_blob_free(&page);
	return EXIT_OK;
}

/* "UID:GID"; nobody's is empty. */
static char *owner_text(const struct config_user *user)
{
	return user->given ? cc_asprintf("%u:%u", user->uid, user->gid) : cc_strdup("");
}

/* The CA's room does not know connector.yaml: it is told where things are. */
static int init_ca(const char *config_path, const char *name, char **more, int more_count)
{
	struct config *c = NULL;
	const struct config_ca *ca;
	const struct config_user *user;
	char *state = NULL, *owner = NULL, *secret_owner = NULL;
	char **argv = NULL;
	int argc = 0, status = EXIT_CONFIGURATION;
	cc_err err = config_read(config_path, &c);

	if (err != CC_OK)
		return report(err);
	ca = config_find_ca(c, name);
	if (ca == NULL) {
		fprintf(stderr, "certconnectord: there is no %s/%s.yaml\n", c->ca_dir, name);
		goto out;
	}
	user = config_runner_user(c, ca);
	state = config_ca_state_dir(c, name);
	owner = owner_text(user);
	argv = cc_alloc((size_t)(more_count + 14) * sizeof(*argv));
	argv[argc++] = (char *)(uintptr_t) "--init-ca";
	argv[argc++] = (char *)(uintptr_t) "--name";
	argv[argc++] = (char *)(uintptr_t)name;
	argv[argc++] = (char *)(uintptr_t) "--backend";
	argv[argc++] = ca->backend;
	argv[argc++] = (char *)(uintptr_t) "--state-dir";
	argv[argc++] = state;
	argv[argc++] = (char *)(uintptr_t) "--owner";
	argv[argc++] = owner;
	if (ca->secret != NULL) {
		argv[argc++] = (char *)(uintptr_t) "--secret";
		argv[argc++] = ca->secret;
		/* the supervisor opens it for the runner */
		secret_owner = owner_text(&c->supervisor_user);
		argv[argc++] = (char *)(uintptr_t) "--secret-owner";
		argv[argc++] = secret_owner;
	}
	for (int i = 0; i < more_count; i++)
		argv[argc++] = more[i];
	status = local_ca_init_main(argc, argv);
out:
	free(argv);
	free(secret_owner);
	free(owner);
	free(state);
	config_free(c);
	return status;
}

int main(int argc, char **argv)
{
	const char *config_path = CONFIG_DEFAULT_PATH;
	const char *command = "";
	const char *name = NULL;
	char **more = cc_alloc((size_t)(argc + 1) * sizeof(*more));
	int more_count = 0, status;

	if (argc >= 3 && strcmp(argv[1], ROLE_OPTION) == 0) {
		free(more);
		return run_role(argv[2]);
	}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config_path = argv[++i];
		} else if (command[0] == '\0' && strncmp(argv[i], "--", 2) == 0) {
			command = argv[i];
		} else if (name == NULL && argv[i][0] != '-') {
			name = argv[i];
		} else {
			more[more_count++] = argv[i]; /* an option of the CA, with its value */
			if (i + 1 < argc)
				more[more_count++] = argv[++i];
		}
	}
	if (strcmp(command, "--init-ca") == 0 && name != NULL)
		status = init_ca(config_path, name, more, more_count);
	else if (more_count > 0)
		status = bad_usage_of("not understood here", more[0]);
	else if (name != NULL)
		status = bad_usage_of("it takes no argument here", name);
	else if (command[0] == '\0')
		status = supervisor_run(config_path);
	else if (strcmp(command, "--check") == 0)
		status = check(config_path);
	else if (strcmp(command, "--init") == 0)
		status = init(config_path);
	else if (strcmp(command, "--keys") == 0)
		status = print_keys();
	else if (strcmp(command, "--help") == 0)
		status = fputs(usage, stdout) < 0 ? EXIT_FAILED : EXIT_OK;
	else if (strcmp(command, "--version") == 0)
		status = puts("certconnectord " CC_RELEASE) < 0 ? EXIT_FAILED : EXIT_OK;
	else
		status = bad_usage_of("there is no option", command);
	free(more);
	return status;
}

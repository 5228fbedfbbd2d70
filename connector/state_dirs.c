/*
 * State directories and the first master key: what an installation lacks at its first start.
 */
#include "connector/state_dirs.h"
#include "base/file.h"
#include "base/hash.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MASTER_KEY_SIZE 32

/* mkdir with exactly this mode and owner; an existing directory is fine as it is. */
static cc_err make(const char *path, mode_t mode, const struct config_user *owner)
{
	cc_err err = CC_OK;

	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? CC_OK : cc_fail_errno(path);
	if (owner != NULL && owner->given && owner->uid != geteuid())
		ENSURE(chown(path, owner->uid, owner->gid) == 0,
			cc_fail(CC_PERMISSION,
				"%s: cannot be given to its role's user (%s); make it, mode 0700, "
				"owned by uid %u",
				path, strerror(errno), owner->uid));
	ENSURE(chmod(path, mode) == 0 || errno == EPERM, cc_fail_errno(path));
out:
	if (err != CC_OK)
		rmdir(path);
	return err;
}

/* STATE and RUN may be deeper than what is there; what lies above them is passed through by all. */
static cc_err make_top(const char *path, mode_t mode, const struct config_user *owner)
{
	char *above = cc_strdup(path);
	char *slash = strrchr(above, '/');
	mode_t mask = umask(022);
	cc_err err = CC_OK;

	if (slash != NULL && slash != above) {
		*slash = '\0';
		if (access(above, F_OK) != 0)
			TRY(file_make_dir(above, 0755));
	}
	TRY(make(path, mode, owner));
out:
	umask(mask);
	free(above);
	return err;
}

static cc_err make_in(
	const char *dir, const char *name, mode_t mode, const struct config_user *owner)
{
	char *path = file_join(dir, name);
	cc_err err = make(path, mode, owner);

	free(path);
	return err;
}

/* Every role has to pass through STATE and STATE/ca, and may list neither. */
cc_err state_dirs_make(const struct config *c)
{
	char *ca_dir = file_join(c->state_dir, "ca");
	cc_err err = CC_OK;

	TRY(make_top(c->run_dir, 0755, &c->supervisor_user));
	TRY(make_top(c->state_dir, 0711, &c->supervisor_user));
	TRY(make_in(c->state_dir, "identity", 0700, &c->connector_user));
	TRY(make_in(c->state_dir, "journal", 0700, &c->connector_user));
	TRY(make_in(c->state_dir, "vault", 0700, &c->keyvault_user));
	TRY(make(ca_dir, 0711, &c->supervisor_user));
	for (size_t i = 0; i < c->ca_count; i++)
		TRY(make_in(ca_dir, c->cas[i].name, 0700, config_runner_user(c, &c->cas[i])));
out:
	free(ca_dir);
	return err;
}

static cc_err check_empty(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	bool empty = true;

	if (dir == NULL)
		return errno == ENOENT ? CC_OK : cc_fail_errno(path);
	while (empty && (e = readdir(dir)) != NULL)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(dir);
	return empty ? CC_OK : cc_fail(CC_CONFIG, "%s: not empty", path);
}

cc_err state_dirs_make_master_key(const struct config *c)
{
	cc_secret key = CC_SECRET_NONE;
	char *vault = file_join(c->state_dir, "vault");
	cc_err err = CC_OK;

	if (access(c->keyvault.master_key, F_OK) == 0 || errno != ENOENT)
		goto out; /* opening it tells what is wrong with it */
	err = check_empty(vault);
	ENSURE(err == CC_OK,
		cc_fail(CC_CONFIG,
			"%s: the master key is missing, and %s has a store that needs it: put the "
			"file back",
			c->keyvault.master_key, vault));
	key = cc_secret_new(MASTER_KEY_SIZE);
	random_secret(key.data, key.size);
	TRY(file_write_new(c->keyvault.master_key, cc_secret_view(&key), 0600));
out:
	cc_secret_free(&key);
	free(vault);
	return err;
}

cc_err state_dirs_init(const struct config *c)
{
	const struct config_user *owner = &c->supervisor_user;
	bool there = access(c->keyvault.master_key, F_OK) == 0;
	cc_err err = CC_OK;

	TRY(state_dirs_make(c));
	TRY(state_dirs_make_master_key(c));
	if (!there && geteuid() == 0 && owner->given)
		ENSURE(chown(c->keyvault.master_key, owner->uid, owner->gid) == 0,
			cc_fail_errno(c->keyvault.master_key));
out:
	return err;
}

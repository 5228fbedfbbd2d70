/*
 * Where things are: the few keys of connector.yaml that the tool needs.  The daemon itself judges the
 * whole file (certconnectord --check, which doctor runs).
 */
#include "base/conf.h"
#include "base/file.h"
#include "base/role.h"
#include "base/tool.h"
#include "ctl/ctl.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char *ctl_absolute_path(const char *config, cc_view path)
{
	char *name = cc_strndup(path);
	const char *slash = strrchr(config, '/');
	if (name[0] == '/')
		return name;
	char *dir =
		slash ? cc_strndup(cc_view_of(config, (size_t)(slash - config))) : cc_strdup(".");
	char *joined = file_join(dir, name);
	char *real = realpath(dir, NULL);
	if (real != NULL) {
		free(joined);
		joined = file_join(real, name);
		free(real);
	}
	free(dir);
	free(name);
	return joined;
}

static char *setting(const struct conf *c, const char *config, const char *section, const char *key,
	const char *fallback)
{
	const struct conf_node *n = conf_root(c);
	if (section != NULL)
		n = n ? conf_get(n, section) : NULL;
	n = n ? conf_get(n, key) : NULL;
	cc_view text = n ? conf_text(n) : CC_VIEW_NONE;
	return ctl_absolute_path(config, text.size > 0 ? text : cc_view_text(fallback));
}

cc_err ctl_settings_read(const char *config, struct ctl_settings *ret)
{
	struct conf *c = NULL;
	cc_err err = conf_read(config, &c);
	if (err != CC_OK)
		return err;
	*ret = (struct ctl_settings){
		.config = config,
		.state_dir = setting(c, config, NULL, "state_dir", "/var/lib/certconnector"),
		.run_dir = setting(c, config, NULL, "run_dir", "/run/certconnector"),
		.policy = setting(c, config, NULL, "policy", "policy.yaml"),
		.pins = setting(c, config, NULL, "pins", "pins.yaml"),
		.ca_dir = setting(c, config, NULL, "ca_dir", "ca.d"),
		.master_key = setting(c, config, "keyvault", "master_key", "master.key"),
	};
	conf_free(c);
	return CC_OK;
}

void ctl_settings_free(struct ctl_settings *s)
{
	free(s->state_dir);
	free(s->run_dir);
	free(s->policy);
	free(s->pins);
	free(s->ca_dir);
	free(s->master_key);
	*s = (struct ctl_settings){0};
}

cc_err ctl_ca_names(const struct ctl_settings *s, char ***ret_names, size_t *ret_count)
{
	DIR *dir = opendir(s->ca_dir);
	char **names = NULL;
	size_t count = 0;

	if (dir == NULL)
		return cc_fail_errno(s->ca_dir);
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
		size_t length = strlen(e->d_name);
		if (length < 6 || strcmp(e->d_name + length - 5, ".yaml") != 0)
			continue;
		names = cc_realloc(names, (count + 1) * sizeof(*names));
		names[count++] = cc_strndup(cc_view_of(e->d_name, length - 5));
	}
	closedir(dir);
	*ret_names = names;
	*ret_count = count;
	return CC_OK;
}

int ctl_fail(const char *doing, cc_err err)
{
	return tool_fail("certconnectorctl", doing, err);
}

char *ctl_daemon_path(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		static const char *const beside[] = {
			"certconnectord", "../connector/certconnectord"};
		for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
			char *path = file_join(self, beside[i]);
			if (access(path, X_OK) == 0)
				return path;
			free(path);
		}
	}
	return cc_strdup("certconnectord");
}

static void read_all(int fd, cc_blob *to)
{
	uint8_t part[4096];
	ssize_t n;
	while ((n = read(fd, part, sizeof(part))) > 0 || (n < 0 && errno == EINTR)) {
		if (n > 0)
			cc_blob_append(to, cc_view_of(part, (size_t)n));
	}
}

cc_err ctl_run(char *const argv[], int *ret_status, cc_blob *ret_output)
{
	int out[2] = {-1, -1};
	int status = 0;

	if (ret_output != NULL && pipe(out) != 0)
		return cc_fail_errno("pipe");
	pid_t pid = fork();
	if (pid < 0)
		return cc_fail_errno("fork");
	if (pid == 0) {
		if (ret_output != NULL) {
			dup2(out[1], STDOUT_FILENO);
			dup2(out[1], STDERR_FILENO);
			close(out[0]);
			close(out[1]);
		}
		execvp(argv[0], argv);
		fprintf(stderr, "certconnectorctl: %s: %s\n", argv[0], strerror(errno));
		_exit(EXIT_CONFIGURATION);
	}
	if (ret_output != NULL) {
		close(out[1]);
		read_all(out[0], ret_output);
		close(out[0]);
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return cc_fail_errno("waitpid");
	}
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
	return CC_OK;
}

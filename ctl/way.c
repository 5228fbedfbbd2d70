/*
 * The tool's way to the queue: proxy: of connector.yaml, for enrolment, pfx import and doctor.
 *
 * The daemon judges the section (certconnectord --check); here it is only followed.  The secret may
 * belong to the daemon's user while an administrator runs the tool, so its owner is not asked for.
 */
#include "base/conf.h"
#include "base/file.h"
#include "base/https.h"
#include "ctl/ctl.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_MAX = 1024 };

struct ctl_way {
	struct https_proxy proxy;
	char *url, *auth, *user, *ca;
	cc_secret password;
};

static char *proxy_text(const struct conf_node *section, const char *key, const char *fallback)
{
	const struct conf_node *n = conf_get(section, key);

	if (n != NULL)
		return cc_strndup(conf_text(n));
	return fallback != NULL ? cc_strdup(fallback) : NULL;
}

static char *proxy_path(const struct ctl_settings *s, const struct conf_node *section,
	const char *key, const char *fallback)
{
	const struct conf_node *n = conf_get(section, key);

	if (n != NULL)
		return ctl_absolute_path(s->config, conf_text(n));
	return fallback != NULL ? cc_strdup(fallback) : NULL;
}

static cc_err read_password(const char *path, cc_secret *ret)
{
	cc_secret secret = CC_SECRET_NONE;
	int fd = -1;
	cc_err err = CC_OK;

	TRY(file_open(path, FILE_ANY, &fd));
	TRY(file_read_secret_fd(fd, path, PASSWORD_MAX, &secret));
	while (secret.size > 0 &&
		(secret.data[secret.size - 1] == '\n' || secret.data[secret.size - 1] == '\r'))
		cc_secret_resize(&secret, secret.size - 1);
	cc_secret_append(&secret, cc_view_of("", 1));
	*ret = cc_secret_move(&secret);
out:
	cc_secret_free(&secret);
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err use_keytab(
	const struct ctl_settings *s, const struct conf_node *section, const char *path)
{
	char *name = cc_asprintf("FILE:%s", path);
	char *config = proxy_path(s, section, "krb5_config", "/etc/krb5.conf");
	cc_err err = CC_OK;

	ENSURE(setenv("KRB5_CLIENT_KTNAME", name, 1) == 0 &&
			setenv("KRB5CCNAME", "MEMORY:proxy", 1) == 0 &&
			setenv("KRB5_CONFIG", config, 1) == 0,
		cc_fail_errno("setenv"));
out:
	free(config);
	free(name);
	return err;
}

static cc_err fill_way(
	const struct ctl_settings *s, const struct conf_node *section, struct ctl_way *w)
{
	char *kind = proxy_text(section, "kind", "none");
	char *address = proxy_text(section, "address", "");
	char *secret = proxy_path(s, section, "secret", NULL);
	cc_err err = CC_OK;

	w->auth = proxy_text(section, "auth", "none");
	if (strcmp(kind, "none") == 0)
		goto out;
	w->url = cc_asprintf("%s://%s", kind, address);
	w->user = proxy_text(section, "user", NULL);
	w->ca = proxy_path(s, section, "ca", NULL);
	w->proxy = (struct https_proxy){
		.url = w->url, .auth = w->auth, .user = w->user, .ca_file = w->ca};
	if (secret != NULL && strcmp(w->auth, "negotiate") == 0) {
		TRY(use_keytab(s, section, secret));
	} else if (secret != NULL) {
		TRY(read_password(secret, &w->password));
		w->proxy.password = &w->password;
	}
out:
	free(secret);
	free(address);
	free(kind);
	return err;
}

cc_err ctl_way_read(const struct ctl_settings *s, struct ctl_way **ret)
{
	struct ctl_way *w = cc_alloc(sizeof(*w));
	struct conf *c = NULL;
	const struct conf_node *section;
	cc_err err = CC_OK;

	TRY(conf_read(s->config, &c));
	section = conf_get(conf_root(c), "proxy");
	if (section != NULL)
		TRY(fill_way(s, section, w));
	*ret = w;
	w = NULL;
out:
	conf_free(c);
	ctl_way_free(w);
	return err;
}

const struct https_proxy *ctl_way_proxy(const struct ctl_way *w)
{
	return w->url != NULL ? &w->proxy : NULL;
}

void ctl_way_free(struct ctl_way *w)
{
	if (w == NULL)
		return;
	free(w->url);
	free(w->auth);
	free(w->user);
	free(w->ca);
	cc_secret_free(&w->password);
	free(w);
}

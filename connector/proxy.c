/*
 * Reads what the supervisor passed about the proxy.
 *
 * The Kerberos library takes its files from the environment only.  It is given a copy of the keytab in
 * memory, which the walls let it open by /proc/self/fd, and its tickets stay in memory too.
 */
#include "connector/proxy.h"

#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PASSWORD_MAX = 1024,
	KEYTAB_MAX = 64 * 1024,
	CA_MAX = 1024 * 1024,
};

static const char *const kinds[] = {"none", "http", "https", "socks5", "socks5h"};
static const char *const auths[] = {"none", "basic", "digest", "ntlm", "negotiate"};

const char *proxy_kind_name(enum proxy_kind kind)
{
	return kinds[kind];
}

const char *proxy_auth_name(enum proxy_auth auth)
{
	return auths[auth];
}

static cc_err find_word(
	const char *const *words, size_t count, const char *word, const char *what, size_t *ret)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = i;
			return CC_OK;
		}
	}
	return cc_fail(CC_PROTOCOL, "Setup has an unknown %s of a proxy", what);
}

/* The file's one line; the line end behind it is not part of the password. */
static cc_err read_password(int fd, cc_secret *ret)
{
	cc_secret secret = CC_SECRET_NONE;
	cc_err err = CC_OK;

	TRY(file_read_secret_fd(fd, "proxy.secret", PASSWORD_MAX, &secret));
	while (secret.size > 0 &&
		(secret.data[secret.size - 1] == '\n' || secret.data[secret.size - 1] == '\r'))
		cc_secret_resize(&secret, secret.size - 1);
	ENSURE(secret.size > 0 && memchr(secret.data, '\0', secret.size) == NULL &&
			memchr(secret.data, '\n', secret.size) == NULL,
		cc_fail(CC_CONFIG, "proxy.secret: the file is not one line with a password"));
	cc_secret_append(&secret, cc_view_of("", 1));
	secret.size--;
	*ret = cc_secret_move(&secret);
out:
	cc_secret_free(&secret);
	return err;
}

static cc_err take_keytab(int fd, const char *krb5_config, int *ret)
{
	cc_secret keytab = CC_SECRET_NONE;
	char name[64];
	int copy = -1;
	cc_err err = CC_OK;

	TRY(file_read_secret_fd(fd, "proxy.secret", KEYTAB_MAX, &keytab));
	TRY(file_memfd("keytab", cc_secret_view(&keytab), &copy));
	snprintf(name, sizeof(name), "FILE:/proc/self/fd/%d", copy);
	ENSURE(setenv("KRB5_CLIENT_KTNAME", name, 1) == 0 &&
			setenv("KRB5CCNAME", "MEMORY:proxy", 1) == 0 &&
			setenv("KRB5_CONFIG", krb5_config, 1) == 0,
		cc_fail_errno("setenv"));
	*ret = copy;
	copy = -1;
out:
	if (copy >= 0)
		close(copy);
	cc_secret_free(&keytab);
	return err;
}

static cc_err fill_proxy(const Role__ProxySetup *setup, int secret_fd, int ca_fd, struct proxy *to)
{
	size_t kind = 0, auth = 0;
	cc_err err = CC_OK;

	TRY(find_word(kinds, sizeof(kinds) / sizeof(kinds[0]), setup->kind, "kind", &kind));
	TRY(find_word(auths, sizeof(auths) / sizeof(auths[0]), setup->auth, "auth", &auth));
	to->kind = (enum proxy_kind)kind;
	to->auth = (enum proxy_auth)auth;
	ENSURE(to->kind == PROXY_NONE ||
			(setup->host[0] != '\0' && setup->port > 0 && setup->port <= UINT16_MAX),
		cc_fail(CC_PROTOCOL, "Setup has a proxy without an address"));
	to->host = cc_strdup(setup->host);
	to->port = (uint16_t)setup->port;
	to->user = cc_strdup(setup->user);
	if (to->auth == PROXY_AUTH_NEGOTIATE)
		TRY(take_keytab(secret_fd, setup->krb5_config, &to->keytab_fd));
	else if (to->auth != PROXY_AUTH_NONE)
		TRY(read_password(secret_fd, &to->password));
	if (to->kind == PROXY_HTTPS)
		TRY(file_read_fd(ca_fd, "proxy.ca", CA_MAX, &to->ca_pem));
out:
	return err;
}

cc_err proxy_new(const Role__ProxySetup *setup, int secret_fd, int ca_fd, struct proxy **ret)
{
	struct proxy *p = cc_alloc(sizeof(*p));
	cc_err err = CC_OK;

	p->keytab_fd = -1;
	if (setup != NULL)
		TRY(fill_proxy(setup, secret_fd, ca_fd, p));
	*ret = p;
	p = NULL;
out:
	proxy_free(p);
	return err;
}

void proxy_free(struct proxy *p)
{
	if (p == NULL)
		return;
	free(p->host);
	free(p->user);
	cc_secret_free(&p->password);
	cc_blob_free(&p->ca_pem);
	if (p->keytab_fd >= 0)
		close(p->keytab_fd);
	free(p);
}

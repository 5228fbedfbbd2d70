/*
 * Reads STATE/identity: identity.yaml, and that the three files beside it can be used.
 *
 * identity.yaml is written last by enrolment, so its absence means "not enrolled" whatever else is
 * there.  The transport key is only looked at from outside (owner, mode): wss.c hands its path to the
 * TLS library.
 */
#include "connector/identity.h"

#include "base/clock.h"
#include "base/conf.h"
#include "base/file.h"
#include "base/text.h"
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CERTIFICATE_FILE_MAX = 256 * 1024 };

struct raw {
	const char *tenant, *connector_id, *queue_url;
};

static const struct conf_key keys[] = {
	{"tenant", CONF_NAME, offsetof(struct raw, tenant), true, NULL, 0, 0, NULL, "the tenant"},
	{"connector_id", CONF_NAME, offsetof(struct raw, connector_id), true, NULL, 0, 0, NULL,
		"this connector's id"},
	{"queue_url", CONF_TEXT, offsetof(struct raw, queue_url), true, NULL, 0, 0, NULL,
		"wss://host:port of the queue"},
};

cc_err identity_parse_address(cc_view rest, char **ret_host, uint16_t *ret_port)
{
	cc_view host = CC_VIEW_NONE;
	uint64_t port = 0;
	size_t colon = rest.size;
	cc_err err = CC_OK;
	while (colon > 0 && rest.data[colon - 1] != ':')
		colon--;
	ENSURE(colon > 1, cc_fail(CC_CONFIG, "the address has no port"));
	ENSURE(text_to_u64(cc_view_part(rest, colon, rest.size), 1, 65535, &port) == CC_OK,
		cc_fail(CC_CONFIG, "the address has no port that can be"));
	host = cc_view_part(rest, 0, colon - 1);
	if (host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']')
		host = cc_view_part(host, 1, host.size - 2);
	ENSURE(host.size > 0 && text_is_token(host, 253),
		cc_fail(CC_CONFIG, "the address names no host that can be"));
	*ret_host = cc_strndup(host);
	*ret_port = (uint16_t)port;
out:
	return err;
}

cc_err identity_parse_url(cc_view url, char **ret_host, uint16_t *ret_port)
{
	static const char scheme[] = "wss://";
	size_t skip = sizeof scheme - 1;
	if (!text_is_clean(url, 512) ||
		!cc_view_equal(cc_view_part(url, 0, skip), cc_view_text(scheme)))
		return cc_fail(CC_CONFIG, "queue_url does not begin with wss://");
	if (identity_parse_address(cc_view_part(url, skip, url.size), ret_host, ret_port) != CC_OK)
		return cc_fail_in(CC_CONFIG, "queue_url");
	return CC_OK;
}

static cc_err read_not_after(const char *path, int64_t *ret)
{
	cc_blob pem = CC_BLOB_NONE;
	BIO *bio = NULL;
	X509 *cert = NULL;
	int64_t when;
	cc_err err = CC_OK;
	TRY(file_read(path, FILE_CONFIG, CERTIFICATE_FILE_MAX, &pem));
	bio = BIO_new_mem_buf(pem.data, (int)pem.size);
	ENSURE(bio != NULL, cc_fail_openssl(path));
	cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ENSURE(cert != NULL, cc_fail_openssl(path));
	when = clock_asn1_s(X509_get0_notAfter(cert));
	ENSURE(when >= 0, cc_fail(CC_CONFIG, "%s: its end cannot be told", path));
	*ret = when;
out:
	X509_free(cert);
	BIO_free(bio);
	cc_blob_free(&pem);
	return err;
}

static cc_err check_files(struct identity *id)
{
	int fd = -1;
	cc_err err = CC_OK;
	TRY(file_open(id->key_path, FILE_SECRET, &fd));
	TRY(read_not_after(id->chain_path, &id->not_after_s));
	TRY(read_not_after(id->queue_ca_path, &id->queue_ca_not_after_s));
out:
	if (err == CC_NOT_FOUND) /* to the caller that would mean "not enrolled" */
		err = cc_fail(CC_CONFIG,
			"%s, and identity.yaml says that this connector is enrolled: put the file "
			"back, or enroll again",
			cc_err_detail(err));
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err fill(const char *dir, const char *path, struct identity *id)
{
	struct conf *conf = NULL;
	struct raw raw = {0};
	cc_err err = CC_OK;
	TRY(conf_read(path, &conf));
	TRY(conf_fill(conf, conf_root(conf), keys, sizeof keys / sizeof keys[0], &raw));
	id->tenant = cc_strdup(raw.tenant);
	id->connector_id = cc_strdup(raw.connector_id);
	id->queue_url = cc_strdup(raw.queue_url);
	TRY(identity_parse_url(cc_view_text(id->queue_url), &id->host, &id->port));
	id->key_path = file_join(dir, "transport.key");
	id->chain_path = file_join(dir, "transport.pem");
	id->queue_ca_path = file_join(dir, "queue-ca.pem");
	TRY(check_files(id));
out:
	conf_free(conf);
	return err;
}

cc_err identity_load(const char *state_dir, struct identity **ret)
{
	char *dir = file_join(state_dir, "identity");
	char *path = file_join(dir, "identity.yaml");
	struct identity *id = cc_alloc(sizeof *id);
	cc_err err = CC_OK;
	ENSURE(access(path, F_OK) == 0, cc_fail(CC_NOT_FOUND, "%s is not there", path));
	TRY(fill(dir, path, id));
	*ret = id;
	id = NULL;
out:
	identity_free(id);
	free(path);
	free(dir);
	return err;
}

void identity_free(struct identity *id)
{
	if (id == NULL)
		return;
	free(id->tenant);
	free(id->connector_id);
	free(id->queue_url);
	free(id->host);
	free(id->key_path);
	free(id->chain_path);
	free(id->queue_ca_path);
	free(id);
}

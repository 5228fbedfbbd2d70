/*
 * pins.yaml to an immutable struct.  Identity comes whole (tenant, connector id, job root) or not at all.
 */
#include "keyvault/pins.h"
#include "base/conf.h"
#include "base/text.h"
#include "keyvault/pem.h"
#include "proto/codec.h"
#include "proto/dsse.h"
#include <stdlib.h>

struct pinned_ca {
	cc_view name;
	STACK_OF(X509) * roots;
};

struct pins {
	struct conf *conf;
	const char *tenant;
	const char *connector_id;
	cc_view *groups;
	size_t group_count;
	cc_blob job_root;
	struct pinned_ca *cas;
	size_t ca_count;
};

struct pins_file {
	const char *tenant, *connector_id;
	const struct conf_node *groups, *job_root, *cas;
};

static const struct conf_key pins_keys[] = {
	{.name = "tenant",
		.type = CONF_NAME,
		.offset = offsetof(struct pins_file, tenant),
		.help = "whose jobs are taken"},
	{.name = "connector_id",
		.type = CONF_NAME,
		.offset = offsetof(struct pins_file, connector_id),
		.help = "who this is"},
	{.name = "groups",
		.type = CONF_NODE,
		.offset = offsetof(struct pins_file, groups),
		.help = "audiences that are meant too"},
	{.name = "job_root",
		.type = CONF_NODE,
		.offset = offsetof(struct pins_file, job_root),
		.help = "PEM public key that signs the statements of job signers"},
	{.name = "cas",
		.type = CONF_NODE,
		.offset = offsetof(struct pins_file, cas),
		.help = "CA name: {roots: PEM certificates}"},
};

struct ca_file {
	const struct conf_node *roots;
};

static const struct conf_key ca_keys[] = {
	{.name = "roots",
		.type = CONF_NODE,
		.offset = offsetof(struct ca_file, roots),
		.required = true,
		.help = "PEM root certificates"},
};

static cc_err read_groups(struct pins *p, const struct conf_node *n)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	ENSURE(conf_is_list(n) && conf_count(n) <= CODEC_REPEATED_MAX,
		conf_fail(n, "groups has to be a list of at most %d", CODEC_REPEATED_MAX));
	p->groups = cc_alloc((conf_count(n) + 1) * sizeof(*p->groups));
	for (size_t i = 0; i < conf_count(n); i++) {
		ENSURE(text_is_name(conf_text(conf_at(n, i))),
			conf_fail(conf_at(n, i), "not a group's name"));
		p->groups[p->group_count++] = conf_text(conf_at(n, i));
	}
out:
	return err;
}

static cc_err read_job_root(struct pins *p, const struct conf_node *n)
{
	EVP_PKEY *key = NULL;
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	ENSURE(pem_public_key(conf_text(n), &p->job_root) == CC_OK,
		conf_fail(n, "job_root: not a PEM public key"));
	ENSURE(dsse_public_key(cc_blob_view(&p->job_root), &key) == CC_OK,
		conf_fail(n, "job_root: neither Ed25519 nor EC P-256"));
out:
	EVP_PKEY_free(key);
	return err;
}

static cc_err read_ca(struct pins *p, const struct conf_node *n, struct pinned_ca *ca)
{
	struct ca_file f = {0};
	cc_err err = CC_OK;

	TRY(conf_need_map(n, "a CA"));
	TRY(conf_fill(p->conf, n, ca_keys, 1, &f));
	ENSURE(conf_is_list(f.roots) && conf_count(f.roots) > 0,
		conf_fail(f.roots, "roots has to be a list of PEM certificates"));
	for (size_t i = 0; i < conf_count(f.roots); i++)
		ENSURE(pem_certificates(conf_text(conf_at(f.roots, i)), ca->roots) == CC_OK,
			conf_fail(conf_at(f.roots, i), "roots: not a PEM certificate"));
out:
	return err;
}

static cc_err read_cas(struct pins *p, const struct conf_node *n)
{
	cc_err err = CC_OK;

	if (n == NULL)
		return CC_OK;
	TRY(conf_need_map(n, "cas"));
	p->cas = cc_alloc((conf_count(n) + 1) * sizeof(*p->cas));
	for (size_t i = 0; i < conf_count(n); i++) {
		struct pinned_ca *ca = &p->cas[p->ca_count];

		ca->name = conf_key_at(n, i);
		ENSURE(text_is_name(ca->name), conf_fail(conf_at(n, i), "cas: not a CA's name"));
		ca->roots = sk_X509_new_null();
		ENSURE(ca->roots, cc_fail_openssl("a list of certificates"));
		p->ca_count++;
		TRY(read_ca(p, conf_at(n, i), ca));
	}
out:
	return err;
}

cc_err pins_parse(cc_view text, const char *name, struct pins **ret)
{
	struct pins *p = cc_alloc(sizeof(*p));
	struct pins_file f = {0};
	cc_err err = CC_OK;

	TRY(conf_parse(text, name, &p->conf));
	TRY(conf_fill(p->conf, conf_root(p->conf), pins_keys,
		sizeof(pins_keys) / sizeof(pins_keys[0]), &f));
	p->tenant = f.tenant;
	p->connector_id = f.connector_id;
	TRY(read_groups(p, f.groups));
	TRY(read_job_root(p, f.job_root));
	TRY(read_cas(p, f.cas));
	ENSURE((p->tenant != NULL) == (p->connector_id != NULL) &&
			(p->tenant != NULL) == (p->job_root.size > 0),
		conf_fail(conf_root(p->conf), "tenant, connector_id and job_root belong together"));
	*ret = p;
	p = NULL;
out:
	pins_free(p);
	return err;
}

void pins_free(struct pins *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->ca_count; i++)
		sk_X509_pop_free(p->cas[i].roots, X509_free);
	free(p->cas);
	free(p->groups);
	cc_blob_free(&p->job_root);
	conf_free(p->conf);
	free(p);
}

bool pins_are_enrolled(const struct pins *p)
{
	return p != NULL && p->tenant != NULL;
}

cc_view pins_tenant(const struct pins *p)
{
	return p != NULL ? cc_view_text(p->tenant) : CC_VIEW_NONE;
}

cc_view pins_connector_id(const struct pins *p)
{
	return p != NULL ? cc_view_text(p->connector_id) : CC_VIEW_NONE;
}

const cc_view *pins_groups(const struct pins *p, size_t *ret_count)
{
	*ret_count = p != NULL ? p->group_count : 0;
	return p != NULL ? p->groups : NULL;
}

cc_view pins_job_root(const struct pins *p)
{
	return p != NULL ? cc_blob_view(&p->job_root) : CC_VIEW_NONE;
}

const STACK_OF(X509) * pins_roots(const struct pins *p, cc_view ca)
{
	for (size_t i = 0; p != NULL && i < p->ca_count; i++)
		if (cc_view_equal(p->cas[i].name, ca))
			return p->cas[i].roots;
	return NULL;
}

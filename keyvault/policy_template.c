/*
 * Policy, the template extension of a profile.  It is made once here, so that what cannot be written into a
 * request is told when the file is read and not at the first job.
 */
#include "base/text.h"
#include "keyvault/policy_int.h"

static cc_err read_version(const struct conf_node *n, const char *key, int64_t *ret)
{
	uint64_t number = 0;

	*ret = -1;
	if (n == NULL)
		return CC_OK;
	if (text_to_u64(conf_text(n), 0, UINT32_MAX, &number) != CC_OK)
		return conf_fail(n, "%s: a number from 0 to 4294967295", key);
	*ret = (int64_t)number;
	return CC_OK;
}

static cc_err check_name(const struct conf_node *n, const char *name)
{
	X509_EXTENSION *extension = NULL;
	cc_err err = CC_OK;

	ENSURE(names_template_name(cc_view_text(name), &extension) == CC_OK,
		conf_fail(n,
			"template_extension v1: a template's name has at most %u bytes and no "
			"character above U+FFFF",
			NAMES_TEMPLATE_MAX));
out:
	X509_EXTENSION_free(extension);
	return err;
}

static cc_err read_names(const struct conf_node *n, const struct policy_profile *profile)
{
	cc_err err = CC_OK;

	TRY(check_name(n, profile->template_name));
	for (size_t i = 0; i < profile->template_keys.count; i++)
		TRY(check_name(n, profile->template_values[i]));
out:
	return err;
}

/* The identifier is of one template, so a job that names another would carry the wrong one. */
static cc_err read_id(const struct conf_node *n, const struct policy_template_file *f,
	struct policy_profile *profile)
{
	struct names_template *id = &profile->template_id;
	X509_EXTENSION *extension = NULL;
	cc_err err = CC_OK;

	ENSURE(f->oid != NULL, conf_fail(n, "template_extension v2: template_oid is missing"));
	ENSURE(profile->template_keys.count == 0,
		conf_fail(n, "template_extension v2: not together with templates, since "
			     "template_oid is of one template"));
	TRY(read_version(f->major, "template_major", &id->major));
	TRY(read_version(f->minor, "template_minor", &id->minor));
	ENSURE(id->minor < 0 || id->major >= 0,
		conf_fail(f->minor, "template_minor: not without template_major"));
	id->oid = cc_view_text(f->oid);
	ENSURE(names_template_id(id, &extension) == CC_OK,
		conf_fail(conf_get(n, "template_oid"), "template_oid: not a dotted OID"));
out:
	X509_EXTENSION_free(extension);
	return err;
}

cc_err policy_template_read(const struct conf_node *n, const struct policy_template_file *f,
	struct policy_profile *profile)
{
	profile->template_form = (enum policy_template_form)f->form;
	if (profile->template_form == POLICY_TEMPLATE_V2)
		return read_id(n, f, profile);
	if (f->oid != NULL || f->major != NULL || f->minor != NULL)
		return conf_fail(n, "template_oid, template_major and template_minor are for "
				    "template_extension: v2");
	return profile->template_form == POLICY_TEMPLATE_V1 ? read_names(n, profile) : CC_OK;
}

/*
 * pins.yaml: what this host believes without asking anybody: tenant, connector id, job root, and the
 * root certificates of each CA.  Read whole, changed, written whole.
 */
#include "base/conf.h"
#include "base/file.h"
#include "base/text.h"
#include "ctl/ctl.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *text_of(const struct conf_node *n, const char *key)
{
	const struct conf_node *at = n ? conf_get(n, key) : NULL;
	cc_view text = at ? conf_text(at) : CC_VIEW_NONE;
	return text.size > 0 ? cc_strndup(text) : NULL;
}

static void list_of(const struct conf_node *n, char ***ret, size_t *ret_count)
{
	size_t count = n ? conf_count(n) : 0;
	char **items = cc_alloc((count + 1) * sizeof(*items));
	for (size_t i = 0; i < count; i++)
		items[i] = cc_strndup(conf_text(conf_at(n, i)));
	*ret = items;
	*ret_count = count;
}

static void cas_of(const struct conf_node *n, struct ctl_pins *pins)
{
	pins->ca_count = n ? conf_count(n) : 0;
	pins->cas = cc_alloc((pins->ca_count + 1) * sizeof(*pins->cas));
	for (size_t i = 0; i < pins->ca_count; i++) {
		pins->cas[i].name = cc_strndup(conf_key_at(n, i));
		list_of(conf_get(conf_at(n, i), "roots"), &pins->cas[i].roots,
			&pins->cas[i].root_count);
	}
}

cc_err ctl_pins_read(const char *path, struct ctl_pins *ret)
{
	struct conf *c = NULL;

	if (access(path, F_OK) != 0) {
		*ret = (struct ctl_pins){0};
		return CC_OK;
	}
	cc_err err = conf_read(path, &c);
	if (err != CC_OK)
		return err;
	const struct conf_node *root = conf_root(c);
	*ret = (struct ctl_pins){
		.tenant = text_of(root, "tenant"),
		.connector_id = text_of(root, "connector_id"),
		.job_root = text_of(root, "job_root"),
	};
	list_of(conf_get(root, "groups"), &ret->groups, &ret->group_count);
	cas_of(conf_get(root, "cas"), ret);
	conf_free(c);
	return CC_OK;
}

/* A PEM text as a YAML block scalar. */
static void put_block(cc_blob *to, const char *pem, const char *indent)
{
	cc_blob_printf(to, "|\n");
	for (const char *line = pem; *line != '\0';) {
		size_t length = strcspn(line, "\n");
		cc_blob_printf(to, "%s%.*s\n", indent, (int)length, line);
		line += length + (line[length] == '\n');
	}
}

static void put_ca(cc_blob *to, const struct ctl_pinned_ca *ca)
{
	cc_blob_printf(to, "  %s:\n    roots:\n", ca->name);
	for (size_t i = 0; i < ca->root_count; i++) {
		cc_blob_printf(to, "      - ");
		put_block(to, ca->roots[i], "        ");
	}
}

cc_err ctl_pins_write(const char *path, const struct ctl_pins *pins)
{
	cc_blob text = CC_BLOB_NONE;

	cc_blob_printf(
		&text, "# Written by certconnectorctl.  What this host believes without asking.\n");
	if (pins->tenant != NULL)
		cc_blob_printf(&text, "tenant: \"%s\"\n", pins->tenant);
	if (pins->connector_id != NULL)
		cc_blob_printf(&text, "connector_id: \"%s\"\n", pins->connector_id);
	if (pins->group_count > 0)
		cc_blob_printf(&text, "groups:\n");
	for (size_t i = 0; i < pins->group_count; i++)
		cc_blob_printf(&text, "  - \"%s\"\n", pins->groups[i]);
	if (pins->job_root != NULL) {
		cc_blob_printf(&text, "job_root: ");
		put_block(&text, pins->job_root, "  ");
	}
	if (pins->ca_count > 0)
		cc_blob_printf(&text, "cas:\n");
	for (size_t i = 0; i < pins->ca_count; i++)
		put_ca(&text, &pins->cas[i]);
	cc_err err = file_write_atomic(path, cc_blob_view(&text), 0644);
	if (err == CC_OK)
		err = file_give_to_dir_owner(path);
	cc_blob_free(&text);
	return err;
}

void ctl_pins_add_root(struct ctl_pins *pins, const char *ca, const char *pem)
{
	struct ctl_pinned_ca *at = NULL;
	for (size_t i = 0; i < pins->ca_count; i++) {
		if (strcmp(pins->cas[i].name, ca) == 0)
			at = &pins->cas[i];
	}
	if (at == NULL) {
		pins->cas = cc_realloc(pins->cas, (pins->ca_count + 1) * sizeof(*pins->cas));
		at = &pins->cas[pins->ca_count++];
		*at = (struct ctl_pinned_ca){.name = cc_strdup(ca)};
	}
	for (size_t i = 0; i < at->root_count; i++) {
		if (strcmp(at->roots[i], pem) == 0)
			return;
	}
	at->roots = cc_realloc(at->roots, (at->root_count + 1) * sizeof(*at->roots));
	at->roots[at->root_count++] = cc_strdup(pem);
}

static void free_list(char **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(items[i]);
	free(items);
}

void ctl_pins_free(struct ctl_pins *pins)
{
	free(pins->tenant);
	free(pins->connector_id);
	free(pins->job_root);
	free_list(pins->groups, pins->group_count);
	for (size_t i = 0; i < pins->ca_count; i++) {
		free(pins->cas[i].name);
		free_list(pins->cas[i].roots, pins->cas[i].root_count);
	}
	free(pins->cas);
	*pins = (struct ctl_pins){0};
}

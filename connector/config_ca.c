/*
 * Configuration: ca.d/NAME.yaml.
 *
 * The keys backend, user, secret and on_unknown are the supervisor's.  Whatever else stands there is
 * the backend's own.  The backend's schema says which keys there are and what shape each has: a table
 * for conf_fill is made of it for each map, so that a mistake is told with its place and with what is
 * allowed.  The values are flattened to pairs of text, and judged by the backend in the runner.
 */
#include "connector/config_int.h"
#include "base/backend_schema.h"
#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX   ".yaml"
#define TEXT_MAX 4096

struct values {
	const char *backend, *user, *secret;
	int on_unknown;
	const void *rest; /* where conf_fill puts what is read by flattening */
};

static const struct conf_key own_keys[] = {
	{.name = "backend", .type = CONF_NAME, .offset = offsetof(struct values, backend)},
	{.name = "user", .type = CONF_TEXT, .offset = offsetof(struct values, user)},
	{.name = "secret", .type = CONF_PATH, .offset = offsetof(struct values, secret)},
	{
		.name = "on_unknown",
		.type = CONF_CHOICE,
		.offset = offsetof(struct values, on_unknown),
		.fallback = "resubmit",
		.allowed = "resubmit|hold",
	},
};
#define OWN_KEYS (sizeof(own_keys) / sizeof(own_keys[0]))
#define HOLD     1

struct reading {
	const struct conf *document;
	struct backend_schema schema;
	struct config_ca *ca;
	struct values values;
};

/* What one map may hold. */
struct level {
	struct conf_key *keys;
	char **names; /* of the keys */
	size_t count;
};

void config_clear_ca(struct config_ca *ca)
{
	for (size_t i = 0; i < ca->option_count; i++) {
		free(ca->options[i].name);
		free(ca->options[i].value);
	}
	free(ca->options);
	free(ca->name);
	free(ca->backend);
	free(ca->secret);
	*ca = (struct config_ca){0};
}

static cc_err add_option(
	struct config_ca *ca, const struct conf_node *at, const char *name, cc_view value)
{
	struct config_option *o;

	if (ca->option_count == CONFIG_OPTIONS_MAX)
		return conf_fail(at, "more than %d settings", CONFIG_OPTIONS_MAX);
	ca->options = cc_realloc(ca->options, (ca->option_count + 1) * sizeof(*ca->options));
	o = &ca->options[ca->option_count++];
	o->name = cc_strdup(name);
	o->value = cc_strndup(value);
	return CC_OK;
}

/* A list of texts becomes one text with commas. */
static cc_err add_list(struct config_ca *ca, const struct conf_node *list, const char *name)
{
	cc_blob joined = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(conf_is_list(list), conf_fail(list, "%s must be a list, such as [a, b]", name));
	for (size_t i = 0; i < conf_count(list); i++) {
		const struct conf_node *item = conf_at(list, i);
		cc_view text = conf_text(item);
		ENSURE(text.size > 0 && text_is_clean(text, TEXT_MAX) &&
				memchr(text.data, ',', text.size) == NULL,
			conf_fail(item, "%s: an item is a text without a comma", name));
		if (i > 0)
			cc_blob_append_byte(&joined, ',');
		cc_blob_append(&joined, text);
	}
	TRY(add_option(ca, list, name, cc_blob_view(&joined)));
out:
	cc_blob_free(&joined);
	return err;
}

/* ---- what a map may hold ---- */

static void level_add(struct level *l, cc_view name, const struct conf_key *like)
{
	for (size_t i = 0; i < l->count; i++) {
		if (text_equal(name, l->names[i])) {
			l->keys[i].required = l->keys[i].required || like->required;
			return;
		}
	}
	l->keys = cc_realloc(l->keys, (l->count + 1) * sizeof(*l->keys));
	l->names = cc_realloc(l->names, (l->count + 1) * sizeof(*l->names));
	l->names[l->count] = cc_strndup(name);
	l->keys[l->count] = *like;
	l->keys[l->count].name = l->names[l->count];
	l->count++;
}

/* By the rules below `name`; a free name is one that stands in the map. */
static void level_fill(struct level *l, const struct backend_schema *schema,
	const struct conf_node *map, const char *name)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct ca_option_rule *rule = &schema->rules[i];
		const char *rest = backend_schema_below(rule->name, name);
		struct conf_key key = {.offset = offsetof(struct values, rest)};
		cc_view first;

		if (rest == NULL || *rest == '\0')
			continue;
		first = cc_view_of(rest, strcspn(rest, "."));
		key.type = rest[first.size] == '\0' && !rule->list ? CONF_TEXT : CONF_NODE;
		key.required = rule->required && strchr(rest, '*') == NULL;
		if (!text_equal(first, "*"))
			level_add(l, first, &key);
		for (size_t k = 0; text_equal(first, "*") && k < conf_count(map); k++)
			level_add(l, conf_key_at(map, k), &key);
	}
}

static void level_clear(struct level *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->names[i]);
	free(l->names);
	free(l->keys);
}

/* ---- reading ---- */

static cc_err read_map(struct reading *r, const struct conf_node *map, const char *name);

static cc_err read_value(struct reading *r, const struct conf_node *n, const char *name)
{
	const struct ca_option_rule *rule =
		backend_schema_rule(r->schema.rules, r->schema.count, name);

	if (rule == NULL) /* then there are rules below it */
		return read_map(r, n, name);
	return rule->list ? add_list(r->ca, n, name) : add_option(r->ca, n, name, conf_text(n));
}

static bool is_own_key(cc_view key)
{
	for (size_t i = 0; i < OWN_KEYS; i++) {
		if (text_equal(key, own_keys[i].name))
			return true;
	}
	return false;
}

/* `name` is empty for the whole file, which has the supervisor's keys too. */
static cc_err read_map(struct reading *r, const struct conf_node *map, const char *name)
{
	const bool whole = name[0] == '\0';
	struct level level = {0};
	char *inner = NULL;
	cc_err err = CC_OK;

	TRY(conf_need_map(map, name));
	for (size_t i = 0; whole && i < OWN_KEYS; i++)
		level_add(&level, cc_view_text(own_keys[i].name), &own_keys[i]);
	level_fill(&level, &r->schema, map, name);
	TRY(conf_fill(r->document, map, level.keys, level.count, &r->values));
	for (size_t i = 0; i < conf_count(map); i++) {
		cc_view key = conf_key_at(map, i);
		if (whole && is_own_key(key))
			continue;
		ENSURE(text_is_token(key, 64) && memchr(key.data, '.', key.size) == NULL,
			conf_fail(conf_at(map, i), "%s: a key is 1 to 64 of [A-Za-z0-9_:-]", name));
		free(inner);
		inner = cc_asprintf(
			"%s%s%.*s", name, whole ? "" : ".", (int)key.size, (const char *)key.data);
		TRY(read_value(r, conf_at(map, i), inner));
	}
out:
	free(inner);
	level_clear(&level);
	return err;
}

/* Which backend it is says which other keys there may be. */
static cc_err find_backend(const struct conf_node *root, struct backend_schema *ret)
{
	const struct conf_node *n = conf_get(root, "backend");
	cc_view name = conf_text(n);
	cc_blob known = CC_BLOB_NONE;
	struct backend_schema s;
	cc_err err = CC_OK;

	for (size_t i = 0; backend_schema_at(i, &s); i++) {
		if (text_equal(name, s.name)) {
			*ret = s;
			goto out;
		}
		cc_blob_printf(&known, "%s%s", i > 0 ? ", " : "", s.name);
	}
	if (n == NULL)
		err = conf_fail(root, "backend is missing; there is: %s", cc_blob_text(&known));
	else if (!text_is_name(name))
		err = conf_fail(n, "backend: not a name; there is: %s", cc_blob_text(&known));
	else
		err = conf_fail(n, "there is no backend '%.*s'; there is: %s", (int)name.size,
			(const char *)name.data, cc_blob_text(&known));
out:
	cc_blob_free(&known);
	return err;
}

static cc_err take_own_values(const struct reading *r, const struct conf_node *root)
{
	const struct values *v = &r->values;
	struct config_ca *ca = r->ca;
	const struct conf_node *user = conf_get(root, "user");
	cc_err err = CC_OK;

	ca->backend = cc_strdup(v->backend);
	ca->secret = v->secret != NULL ? cc_strdup(v->secret) : NULL;
	ca->hold_on_unknown = v->on_unknown == HOLD;
	if (user != NULL) {
		ENSURE(text_is_token(conf_text(user), 64),
			conf_fail(user, "user: not a name or number"));
		TRY(config_resolve_user(user, v->user, &ca->user));
	}
out:
	return err;
}

static cc_err read_ca(const char *path, struct config_ca *ca)
{
	struct reading r = {.ca = ca};
	struct conf *document = NULL;
	const struct conf_node *root;
	cc_err err = CC_OK;

	TRY(conf_read(path, &document));
	root = conf_root(document);
	r.document = document;
	TRY(conf_need_map(root, "a CA's configuration"));
	TRY(find_backend(root, &r.schema));
	TRY(read_map(&r, root, ""));
	TRY(take_own_values(&r, root));
out:
	conf_free(document);
	return err;
}

/* NAME.yaml; anything else in the directory (an example, a secret, an editor's copy) is left alone. */
static int is_ca_file(const struct dirent *e)
{
	size_t size = strlen(e->d_name);

	return e->d_name[0] != '.' && size > strlen(SUFFIX) &&
	       strcmp(e->d_name + size - strlen(SUFFIX), SUFFIX) == 0;
}

static cc_err add_ca(struct config *c, const char *file)
{
	struct config_ca *ca = &c->cas[c->ca_count++];
	cc_view name = cc_view_of(file, strlen(file) - strlen(SUFFIX));
	char *path = file_join(c->ca_dir, file);
	cc_err err = CC_OK;

	ENSURE(text_is_name(name),
		cc_fail(CC_CONFIG, "%s: a CA's name is 1 to 63 of [a-z0-9-]", path));
	ca->name = cc_strndup(name);
	TRY(read_ca(path, ca));
out:
	free(path);
	return err;
}

cc_err config_read_cas(struct config *c)
{
	struct dirent **files = NULL;
	int count = scandir(c->ca_dir, &files, is_ca_file, alphasort);
	cc_err err = CC_OK;

	if (count < 0 && errno == ENOENT)
		return CC_OK;
	ENSURE(count >= 0, cc_fail_errno(c->ca_dir));
	ENSURE(count <= CONFIG_CAS_MAX,
		cc_fail(CC_CONFIG, "%s: more than %d CAs", c->ca_dir, CONFIG_CAS_MAX));
	c->cas = cc_alloc((size_t)(count > 0 ? count : 1) * sizeof(*c->cas));
	for (int i = 0; i < count; i++)
		TRY(add_ca(c, files[i]->d_name));
out:
	for (int i = 0; i < count; i++)
		free(files[i]);
	free(files);
	return err;
}

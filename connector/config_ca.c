/*
 * Configuration: ca.d/NAME.yaml.
 *
 * The keys backend, user and secret are the supervisor's.  Whatever else stands there is the
 * backend's own: it is flattened to pairs of text without being understood, and judged by the
 * backend's schema in the runner.
 */
#include "connector/config_int.h"
#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX   ".yaml"
#define DEPTH    8
#define TEXT_MAX 4096

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

	for (size_t i = 0; i < conf_count(list); i++) {
		const struct conf_node *item = conf_at(list, i);
		cc_view text = conf_text(item);
		ENSURE(!conf_is_map(item) && !conf_is_list(item) && text.size > 0 &&
				text_is_clean(text, TEXT_MAX) &&
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

static cc_err flatten(
	struct config_ca *ca, const struct conf_node *n, const char *name, unsigned depth)
{
	char *inner = NULL;
	cc_err err = CC_OK;

	if (conf_is_list(n))
		return add_list(ca, n, name);
	if (!conf_is_map(n)) {
		if (!text_is_clean(conf_text(n), TEXT_MAX))
			return conf_fail(n, "%s: not a clean text", name);
		return add_option(ca, n, name, conf_text(n));
	}
	ENSURE(depth > 0, conf_fail(n, "%s: nested too deep", name));
	for (size_t i = 0; i < conf_count(n); i++) {
		cc_view key = conf_key_at(n, i);
		ENSURE(text_is_token(key, 64) && memchr(key.data, '.', key.size) == NULL,
			conf_fail(conf_at(n, i), "%s: a key is 1 to 64 of [A-Za-z0-9_:-]", name));
		free(inner);
		inner = cc_asprintf("%s.%.*s", name, (int)key.size, (const char *)key.data);
		TRY(flatten(ca, conf_at(n, i), inner, depth - 1));
	}
out:
	free(inner);
	return err;
}

static cc_err read_own_keys(
	const struct config *c, const struct conf_node *root, struct config_ca *ca)
{
	const struct conf_node *n = conf_get(root, "backend");
	char *text = NULL;
	cc_err err = CC_OK;

	ENSURE(n != NULL, conf_fail(root, "backend is missing"));
	ENSURE(text_is_name(conf_text(n)), conf_fail(n, "backend: not a name"));
	ca->backend = cc_strndup(conf_text(n));
	n = conf_get(root, "secret");
	if (n != NULL) {
		cc_view path = conf_text(n);
		ENSURE(path.size > 0 && text_is_clean(path, TEXT_MAX),
			conf_fail(n, "secret: not a path"));
		text = cc_strndup(path);
		ca->secret = text[0] == '/' ? cc_strdup(text) : file_join(c->ca_dir, text);
	}
	n = conf_get(root, "user");
	if (n != NULL) {
		ENSURE(text_is_token(conf_text(n), 64), conf_fail(n, "user: not a name or number"));
		free(text);
		text = cc_strndup(conf_text(n));
		TRY(config_resolve_user(n, text, &ca->user));
	}
out:
	free(text);
	return err;
}

static bool is_own_key(cc_view key)
{
	return text_equal(key, "backend") || text_equal(key, "secret") || text_equal(key, "user");
}

static cc_err read_ca(const struct config *c, const char *path, struct config_ca *ca)
{
	struct conf *document = NULL;
	const struct conf_node *root;
	char *name = NULL;
	cc_err err = CC_OK;

	TRY(conf_read(path, &document));
	root = conf_root(document);
	TRY(conf_need_map(root, "a CA's configuration"));
	TRY(read_own_keys(c, root, ca));
	for (size_t i = 0; i < conf_count(root); i++) {
		cc_view key = conf_key_at(root, i);
		if (is_own_key(key))
			continue;
		ENSURE(text_is_token(key, 64) && memchr(key.data, '.', key.size) == NULL,
			conf_fail(conf_at(root, i), "a key is 1 to 64 of [A-Za-z0-9_:-]"));
		free(name);
		name = cc_strndup(key);
		TRY(flatten(ca, conf_at(root, i), name, DEPTH));
	}
out:
	free(name);
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
	TRY(read_ca(c, path, ca));
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

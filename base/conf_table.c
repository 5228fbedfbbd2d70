/*
 * Tables of keys: one table says what a map may hold, fills the caller's struct from it, and makes
 * the reference page.
 */
#include "base/conf.h"
#include "base/conf_int.h"
#include "base/text.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096

/* One value on its way into the caller's struct.  `node` is NULL for a fallback. */
struct value {
	const struct conf *conf;
	const struct conf_node *node;
	const struct conf_key *key;
	cc_view text;
	void *to;
};

static cc_err value_fail(const struct value *v, const char *allowed)
{
	char room[CONF_SHOWN_SIZE];

	return conf_fail(
		v->node, "%s: '%s' is not %s", v->key->name, conf_shown(v->text, room), allowed);
}

static void store_text(const struct value *v, const char *text)
{
	memcpy(v->to, &text, sizeof(text));
}

static cc_err set_text(const struct value *v)
{
	if (!text_is_clean(v->text, TEXT_MAX))
		return value_fail(v, "text of at most 4096 bytes in one line");
	store_text(v, conf_keep_text(v->conf, cc_strndup(v->text)));
	return CC_OK;
}

static cc_err set_name(const struct value *v)
{
	if (!text_is_name(v->text))
		return value_fail(
			v, "a name: 1 to 63 of a-z, 0-9 and -, beginning with a letter or digit");
	return set_text(v);
}

/* The directory of the document's file, absolute; caller frees. */
static cc_err directory_of(const struct value *v, char **ret)
{
	const char *name = conf_file_name(v->conf);
	const char *slash = strrchr(name, '/');
	size_t size = slash == NULL ? 0 : (size_t)(slash - name);

	if (name[0] == '/') {
		*ret = cc_strndup(cc_view_of(name, size));
		return CC_OK;
	}
	char *here = getcwd(NULL, 0);
	if (here == NULL)
		return cc_fail_errno("the current directory");
	*ret = cc_asprintf("%s%s%.*s", strcmp(here, "/") == 0 ? "" : here, size > 0 ? "/" : "",
		(int)size, name);
	free(here);
	return CC_OK;
}

static cc_err set_path(const struct value *v)
{
	char *dir = NULL;
	cc_err err = CC_OK;

	if (v->text.size == 0 || !text_is_clean(v->text, TEXT_MAX))
		return value_fail(v, "a path");
	if (v->text.data[0] == '/')
		return set_text(v);
	TRY(directory_of(v, &dir));
	store_text(v, conf_keep_text(v->conf, cc_asprintf("%s/%.*s", dir, (int)v->text.size,
						      (const char *)v->text.data)));
out:
	free(dir);
	return err;
}

static cc_err set_bool(const struct value *v)
{
	bool yes = text_equal(v->text, "true");

	if (!yes && !text_equal(v->text, "false"))
		return value_fail(v, "true or false");
	memcpy(v->to, &yes, sizeof(yes));
	return CC_OK;
}

static void print_range(const struct conf_key *key, cc_blob *out)
{
	const char *unit = key->type == CONF_SECONDS ? "s" : "";

	if (key->max > 0)
		cc_blob_printf(out, "%llu%s to %llu%s", (unsigned long long)key->min, unit,
			(unsigned long long)key->max, unit);
	else if (key->min > 0)
		cc_blob_printf(out, "%llu%s or more", (unsigned long long)key->min, unit);
}

static cc_err number_fail(const struct value *v, const char *form)
{
	cc_blob words = CC_BLOB_NONE;

	cc_blob_printf(&words, "%s", form);
	if (v->key->max > 0 || v->key->min > 0) {
		cc_blob_printf(&words, ", ");
		print_range(v->key, &words);
	}
	cc_err err = value_fail(v, cc_blob_text(&words));
	cc_blob_free(&words);
	return err;
}

static bool in_range(const struct conf_key *key, uint64_t value)
{
	return value >= key->min && (key->max == 0 || value <= key->max);
}

static cc_err set_u32(const struct value *v)
{
	uint64_t wide = 0;

	if (text_to_u64(v->text, 0, UINT32_MAX, &wide) != CC_OK || !in_range(v->key, wide))
		return number_fail(v, "a whole number");
	uint32_t number = (uint32_t)wide;
	memcpy(v->to, &number, sizeof(number));
	return CC_OK;
}

static bool parse_size(cc_view text, uint64_t *ret)
{
	static const char *const units[] = {"KiB", "MiB", "GiB"};
	uint64_t value = 0;
	unsigned shift = 0;

	for (unsigned u = 0; u < 3; u++)
		if (text.size > 3 && text_equal(cc_view_part(text, text.size - 3, 3), units[u]))
			shift = 10 * (u + 1);
	if (shift > 0)
		text.size -= 3;
	if (text_to_u64(text, 0, UINT64_MAX >> shift, &value) != CC_OK)
		return false;
	*ret = value << shift;
	return true;
}

static cc_err set_u64(const struct value *v)
{
	uint64_t number = 0;

	if (!parse_size(v->text, &number) || !in_range(v->key, number))
		return number_fail(v, "a whole number or a size such as 64KiB, 16MiB, 4GiB");
	memcpy(v->to, &number, sizeof(number));
	return CC_OK;
}

static cc_err set_seconds(const struct value *v)
{
	uint64_t seconds = 0;

	if (text_to_seconds(v->text, UINT64_MAX, &seconds) != CC_OK || !in_range(v->key, seconds))
		return number_fail(v, "a duration such as 90s, 15m, 72h, 365d");
	memcpy(v->to, &seconds, sizeof(seconds));
	return CC_OK;
}

/* The part of "a|b|c" at index `i`; false after the last. */
static bool choice_at(const char *allowed, size_t i, cc_view *ret)
{
	const char *from = allowed;

	for (; i > 0; i--) {
		from = strchr(from, '|');
		if (from == NULL)
			return false;
		from++;
	}
	*ret = cc_view_of(from, strcspn(from, "|"));
	return true;
}

static void print_choices(const char *allowed, cc_blob *out)
{
	cc_view choice;

	for (size_t i = 0; choice_at(allowed, i, &choice); i++) {
		cc_blob_printf(out, "%s", i > 0 ? ", " : "");
		cc_blob_append(out, choice);
	}
}

static cc_err set_choice(const struct value *v)
{
	cc_blob words = CC_BLOB_NONE;
	cc_view choice;

	for (int i = 0; choice_at(v->key->allowed, (size_t)i, &choice); i++) {
		if (!cc_view_equal(v->text, choice))
			continue;
		memcpy(v->to, &i, sizeof(i));
		return CC_OK;
	}
	cc_blob_printf(&words, "one of ");
	print_choices(v->key->allowed, &words);
	cc_err err = value_fail(v, cc_blob_text(&words));
	cc_blob_free(&words);
	return err;
}

/* ---- the table ---- */

static const struct type_info {
	const char *name;
	size_t size;
	cc_err (*set)(const struct value *v);
} types[] = {
	[CONF_TEXT] = {"text", sizeof(const char *), set_text},
	[CONF_PATH] = {"path", sizeof(const char *), set_path},
	[CONF_NAME] = {"name", sizeof(const char *), set_name},
	[CONF_BOOL] = {"true or false", sizeof(bool), set_bool},
	[CONF_U32] = {"number", sizeof(uint32_t), set_u32},
	[CONF_U64] = {"number or size", sizeof(uint64_t), set_u64},
	[CONF_SECONDS] = {"duration", sizeof(uint64_t), set_seconds},
	[CONF_CHOICE] = {"one of", sizeof(int), set_choice},
	[CONF_NODE] = {"structure", sizeof(const struct conf_node *), NULL},
};

static const struct conf_key *find_key(const struct conf_key *table, size_t count, cc_view name)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(name, table[i].name))
			return &table[i];
	return NULL;
}

static cc_err check_known(const struct conf_node *n, const struct conf_key *table, size_t count)
{
	char room[CONF_SHOWN_SIZE];

	for (size_t i = 0; i < conf_count(n); i++) {
		cc_view name = conf_key_at(n, i);
		if (find_key(table, count, name) != NULL)
			continue;
		cc_blob words = CC_BLOB_NONE;
		cc_blob_printf(&words, "unknown key '%s'; allowed here: ", conf_shown(name, room));
		for (size_t k = 0; k < count; k++)
			cc_blob_printf(&words, "%s%s", k > 0 ? ", " : "", table[k].name);
		cc_err err = conf_fail_key_at(n, i, cc_blob_text(&words));
		cc_blob_free(&words);
		return err;
	}
	return CC_OK;
}

static cc_err fill_fallback(const struct conf *c, const struct conf_key *key, void *to)
{
	struct value v = {.conf = c, .key = key, .text = cc_view_text(key->fallback), .to = to};

	memset(to, 0, types[key->type].size);
	if (key->fallback == NULL)
		return CC_OK;
	assert(key->type != CONF_NODE);
	return types[key->type].set(&v);
}

static cc_err fill_from(
	const struct conf *c, const struct conf_node *n, const struct conf_key *key, void *to)
{
	struct value v = {.conf = c, .node = n, .key = key, .text = conf_text(n), .to = to};

	if (key->type == CONF_NODE) {
		memcpy(to, &n, sizeof(n));
		return CC_OK;
	}
	if (!conf_is_text(n))
		return conf_fail(n, "%s must be a single value, here stands %s", key->name,
			conf_kind_words(n));
	return types[key->type].set(&v);
}

static cc_err fail_missing(
	const struct conf *c, const struct conf_node *n, const struct conf_key *key)
{
	if (n == NULL)
		return cc_fail(CC_CONFIG, "%s: key '%s' is missing", conf_file_name(c), key->name);
	return conf_fail(n, "key '%s' is missing", key->name);
}

cc_err conf_fill(const struct conf *c, const struct conf_node *n, const struct conf_key *table,
	size_t count, void *to)
{
	cc_err err = CC_OK;

	if (n != NULL) {
		TRY(conf_need_map(n, "this place"));
		TRY(check_known(n, table, count));
	}
	for (size_t i = 0; i < count; i++) {
		void *field = (char *)to + table[i].offset;
		const struct conf_node *value = conf_get(n, table[i].name);

		ENSURE(value != NULL || !table[i].required, fail_missing(c, n, &table[i]));
		TRY(fill_fallback(c, &table[i], field));
		if (value != NULL)
			TRY(fill_from(c, value, &table[i], field));
	}
out:
	return err;
}

void conf_print_reference(const struct conf_key *table, size_t count, cc_blob *out)
{
	for (size_t i = 0; i < count; i++) {
		const struct conf_key *key = &table[i];

		cc_blob_printf(out, "%s: %s", key->name, types[key->type].name);
		if (key->type == CONF_CHOICE) {
			cc_blob_printf(out, " ");
			print_choices(key->allowed, out);
		} else if (key->min > 0 || key->max > 0) {
			cc_blob_printf(out, ", ");
			print_range(key, out);
		}
		if (key->required)
			cc_blob_printf(out, "; required");
		else if (key->fallback != NULL)
			cc_blob_printf(out, "; default %s",
				key->fallback[0] != '\0' ? key->fallback : "empty");
		cc_blob_printf(out, "\n\t%s\n", key->help != NULL ? key->help : "");
	}
}

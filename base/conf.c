/*
 * Configuration: libyaml's events become a tree of our own, because its document API drops what is
 * needed here: aliases and tags are refused, and every node keeps its line and column.  Tables
 * (conf_table.c) then read the tree.
 *
 * Every complaint is made by conf_fail and reads "file:line:column: what stands there, what is
 * allowed".
 */
#include "base/conf.h"
#include "base/conf_int.h"
#include "base/file.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define CONF_SIZE_MAX ((size_t)1 << 20)
#define DEPTH_MAX     32
#define NODES_MAX     20000 /* duplicate keys are found by comparing each with each */
#define KEY_MAX       256

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };

struct conf_node {
	const struct conf *owner;
	enum node_kind kind;
	size_t line, column; /* from 1 */
	char *key;           /* in a map, else NULL; terminated */
	size_t key_line, key_column;
	char *text; /* of a scalar; terminated */
	size_t text_size;
	bool plain;              /* a scalar without quotes */
	struct conf_node *items; /* of a map or list */
	size_t count, room;
};

struct conf {
	char *name;
	struct conf_node root;
	size_t node_count;
	/* Texts that conf_fill makes; behind a pointer because it gets a const conf. */
	struct conf_strings *strings;
};

struct conf_strings {
	char **list;
	size_t count;
};

/* ---- messages ---- */

cc_err conf_fail(const struct conf_node *n, const char *format, ...)
{
	char words[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	if (n == NULL)
		return cc_fail(CC_CONFIG, "%s", words);
	return cc_fail(CC_CONFIG, "%s:%zu:%zu: %s", n->owner->name, n->line, n->column, words);
}

const char *conf_shown(cc_view value, char ret[CONF_SHOWN_SIZE])
{
	size_t used = 0;

	while (value.size > 0 && used < CONF_SHOWN_SIZE - 8) {
		uint32_t point = 0;
		size_t size = text_utf8_char(value, &point);
		bool clean = size > 0 && text_is_clean(cc_view_part(value, 0, size), size);

		size = size > 0 ? size : 1;
		memcpy(ret + used, clean ? (const void *)value.data : "?", clean ? size : 1);
		used += clean ? size : 1;
		value = cc_view_part(value, size, value.size);
	}
	(void)snprintf(ret + used, CONF_SHOWN_SIZE - used, "%s", value.size > 0 ? "..." : "");
	return ret;
}

const char *conf_kind_words(const struct conf_node *n)
{
	switch (n->kind) {
	case NODE_MAP:
		return "a map";
	case NODE_LIST:
		return "a list";
	case NODE_SCALAR:
		break;
	}
	return conf_is_nothing(n) ? "nothing" : "a single value";
}

/* ---- from text to tree ---- */

struct reader {
	struct conf *conf;
	yaml_parser_t parser;
};

static cc_err read_node(struct reader *r, const yaml_event_t *e, size_t depth, struct conf_node *n);

static void free_children(struct conf_node *n)
{
	for (size_t i = 0; i < n->count; i++)
		free_children(&n->items[i]);
	free(n->items);
	free(n->key);
	free(n->text);
}

static struct conf_node place_of(const struct reader *r, const yaml_event_t *e)
{
	return (struct conf_node){
		.owner = r->conf,
		.line = e->start_mark.line + 1,
		.column = e->start_mark.column + 1,
	};
}

static cc_err next_event(struct reader *r, yaml_event_t *ret)
{
	const yaml_parser_t *p = &r->parser;

	if (yaml_parser_parse(&r->parser, ret) == 1)
		return CC_OK;
	const char *problem = p->problem != NULL ? p->problem : "not YAML";
	if (p->error == YAML_MEMORY_ERROR)
		cc_die("out of memory: YAML");
	if (p->error == YAML_READER_ERROR) /* these have no line */
		return cc_fail(CC_CONFIG, "%s: byte %zu: %s", r->conf->name, p->problem_offset + 1,
			problem);
	return cc_fail(CC_CONFIG, "%s:%zu:%zu: %s", r->conf->name, p->problem_mark.line + 1,
		p->problem_mark.column + 1, problem);
}

/* What no node may be or have.  `n` is the place. */
static cc_err check_simple(const struct conf_node *n, const yaml_event_t *e)
{
	const yaml_char_t *anchor = NULL;
	const yaml_char_t *tag = NULL;

	if (e->type == YAML_ALIAS_EVENT)
		return conf_fail(n, "an alias is not allowed: write the value itself");
	if (e->type == YAML_SCALAR_EVENT) {
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
	}
	if (anchor != NULL)
		return conf_fail(n, "an anchor is not allowed: write the value where it is needed");
	if (tag != NULL)
		return conf_fail(n, "a tag is not allowed");
	return CC_OK;
}

static struct conf_node *add_item(struct conf_node *parent)
{
	if (parent->count == parent->room) {
		parent->room = parent->room == 0 ? 8 : parent->room * 2;
		parent->items = cc_realloc(parent->items, parent->room * sizeof(*parent->items));
	}
	parent->items[parent->count] = (struct conf_node){0};
	return &parent->items[parent->count++];
}

/* Checks the key and makes the map's next entry with it. */
static cc_err read_key(
	struct reader *r, const yaml_event_t *e, struct conf_node *map, struct conf_node **ret_item)
{
	struct conf_node place = place_of(r, e);
	char room[CONF_SHOWN_SIZE];
	cc_err err = CC_OK;

	TRY(check_simple(&place, e));
	ENSURE(e->type == YAML_SCALAR_EVENT,
		conf_fail(&place, "a key must be a single value, not a map or list"));
	cc_view key = cc_view_of(e->data.scalar.value, e->data.scalar.length);
	ENSURE(key.size > 0 && text_is_clean(key, KEY_MAX),
		conf_fail(&place, "a key must be text of 1 to %d bytes in one line", KEY_MAX));
	for (size_t i = 0; i < map->count; i++)
		ENSURE(!text_equal(key, map->items[i].key),
			conf_fail(&place, "key '%s' stands here twice, first in line %zu",
				conf_shown(key, room), map->items[i].key_line));
	struct conf_node *item = add_item(map);
	item->key = cc_strndup(key);
	item->key_line = place.line;
	item->key_column = place.column;
	*ret_item = item;
out:
	return err;
}

/* Children of a map or list, up to its end. */
static cc_err read_children(struct reader *r, size_t depth, struct conf_node *n)
{
	yaml_event_t e = {0};
	cc_err err = CC_OK;

	for (;;) {
		struct conf_node *item = NULL;

		TRY(next_event(r, &e));
		if (e.type == YAML_MAPPING_END_EVENT || e.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (n->kind == NODE_MAP) {
			TRY(read_key(r, &e, n, &item));
			yaml_event_delete(&e);
			TRY(next_event(r, &e));
		} else {
			item = add_item(n);
		}
		TRY(read_node(r, &e, depth + 1, item));
		yaml_event_delete(&e);
	}
out:
	yaml_event_delete(&e);
	return err;
}

/* The event begins a node: fill `n`, whose key is set already. */
static cc_err read_node(struct reader *r, const yaml_event_t *e, size_t depth, struct conf_node *n)
{
	struct conf_node place = place_of(r, e);
	cc_err err = CC_OK;

	n->owner = place.owner;
	n->line = place.line;
	n->column = place.column;
	TRY(check_simple(n, e));
	ENSURE(++r->conf->node_count <= NODES_MAX,
		conf_fail(n, "more than %d values in one file", NODES_MAX));
	if (e->type == YAML_SCALAR_EVENT) {
		n->kind = NODE_SCALAR;
		n->text_size = e->data.scalar.length;
		n->text = cc_alloc(n->text_size + 1);
		memcpy(n->text, e->data.scalar.value, n->text_size);
		n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		return CC_OK;
	}
	ENSURE(depth <= DEPTH_MAX, conf_fail(n, "deeper than %d levels", DEPTH_MAX));
	n->kind = e->type == YAML_MAPPING_START_EVENT ? NODE_MAP : NODE_LIST;
	TRY(read_children(r, depth, n));
out:
	return err;
}

/* STREAM-START, then nothing or one document, then STREAM-END. */
static cc_err read_document(struct reader *r)
{
	struct conf_node *root = &r->conf->root;
	struct conf_node place;
	yaml_event_t e = {0};
	cc_err err = CC_OK;

	*root = (struct conf_node){.owner = r->conf, .kind = NODE_MAP, .line = 1, .column = 1};
	TRY(next_event(r, &e));
	yaml_event_delete(&e);
	TRY(next_event(r, &e));
	if (e.type == YAML_STREAM_END_EVENT) /* an empty file is an empty map */
		goto out;
	place = place_of(r, &e);
	ENSURE(e.data.document_start.tag_directives.start ==
			e.data.document_start.tag_directives.end,
		conf_fail(&place, "a %%TAG line is not allowed"));
	yaml_event_delete(&e);
	TRY(next_event(r, &e));
	TRY(read_node(r, &e, 1, root));
	yaml_event_delete(&e);
	TRY(next_event(r, &e)); /* DOCUMENT-END */
	yaml_event_delete(&e);
	TRY(next_event(r, &e));
	place = place_of(r, &e);
	ENSURE(e.type == YAML_STREAM_END_EVENT,
		conf_fail(&place, "a second document: one file holds one document"));
out:
	yaml_event_delete(&e);
	return err;
}

cc_err conf_parse(cc_view text, const char *name, struct conf **ret)
{
	struct reader r = {0};
	cc_err err = CC_OK;

	if (text.size > CONF_SIZE_MAX)
		return cc_fail(CC_TOO_LARGE, "%s: %zu bytes, at most %zu are taken", name,
			text.size, CONF_SIZE_MAX);
	if (yaml_parser_initialize(&r.parser) != 1)
		cc_die("out of memory: YAML");
	r.conf = cc_alloc(sizeof(*r.conf));
	r.conf->name = cc_strdup(name);
	r.conf->strings = cc_alloc(sizeof(*r.conf->strings));
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
		&r.parser, text.size > 0 ? text.data : (const uint8_t *)"", text.size);
	TRY(read_document(&r));
	*ret = r.conf;
	r.conf = NULL;
out:
	yaml_parser_delete(&r.parser);
	conf_free(r.conf);
	return err;
}

cc_err conf_read(const char *path, struct conf **ret)
{
	cc_blob text = CC_BLOB_NONE;
	cc_err err = CC_OK;

	TRY(file_read(path, FILE_CONFIG, CONF_SIZE_MAX, &text));
	TRY(conf_parse(cc_blob_view(&text), path, ret));
out:
	cc_blob_free(&text);
	return err;
}

void conf_free(struct conf *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->strings->count; i++)
		free(c->strings->list[i]);
	free(c->strings->list);
	free(c->strings);
	free_children(&c->root);
	free(c->name);
	free(c);
}

const char *conf_keep_text(const struct conf *c, char *text)
{
	struct conf_strings *s = c->strings;

	s->list = cc_realloc(s->list, (s->count + 1) * sizeof(*s->list));
	s->list[s->count++] = text;
	return text;
}

/* ---- plain access ---- */

const struct conf_node *conf_root(const struct conf *c)
{
	return &c->root;
}

const char *conf_file_name(const struct conf *c)
{
	return c->name;
}

bool conf_is_map(const struct conf_node *n)
{
	return n != NULL && n->kind == NODE_MAP;
}

bool conf_is_list(const struct conf_node *n)
{
	return n != NULL && n->kind == NODE_LIST;
}

bool conf_is_text(const struct conf_node *n)
{
	return n != NULL && n->kind == NODE_SCALAR && !conf_is_nothing(n);
}

bool conf_is_nothing(const struct conf_node *n)
{
	return n->kind == NODE_SCALAR && n->plain && n->text_size == 0;
}

size_t conf_count(const struct conf_node *n)
{
	return n != NULL ? n->count : 0;
}

const struct conf_node *conf_at(const struct conf_node *n, size_t i)
{
	return i < conf_count(n) ? &n->items[i] : NULL;
}

cc_view conf_key_at(const struct conf_node *n, size_t i)
{
	return i < conf_count(n) ? cc_view_text(n->items[i].key) : CC_VIEW_NONE;
}

cc_err conf_fail_key_at(const struct conf_node *n, size_t i, const char *words)
{
	const struct conf_node *item = conf_at(n, i);
	struct conf_node place = {
		.owner = n->owner, .line = item->key_line, .column = item->key_column};

	return conf_fail(&place, "%s", words);
}

const struct conf_node *conf_get(const struct conf_node *n, const char *key)
{
	if (!conf_is_map(n))
		return NULL;
	for (size_t i = 0; i < n->count; i++)
		if (strcmp(n->items[i].key, key) == 0)
			return &n->items[i];
	return NULL;
}

cc_view conf_text(const struct conf_node *n)
{
	if (n == NULL || n->kind != NODE_SCALAR)
		return CC_VIEW_NONE;
	return cc_view_of(n->text, n->text_size);
}

cc_view conf_name(const struct conf_node *n)
{
	return n != NULL ? cc_view_text(n->owner->name) : CC_VIEW_NONE;
}

cc_err conf_need_map(const struct conf_node *n, const char *what)
{
	if (n == NULL)
		return cc_fail(CC_CONFIG, "%s is missing", what);
	if (n->kind != NODE_MAP)
		return conf_fail(n, "%s must be a map (key: value), here stands %s", what,
			conf_kind_words(n));
	return CC_OK;
}

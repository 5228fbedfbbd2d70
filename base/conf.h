/*
 * Configuration: YAML by libyaml, read through one table of keys.
 *
 * Any process; single-threaded.  Every complaint names file, line and column, what stands there and
 * what is allowed.  Anchors, aliases, tags, duplicate keys, unknown keys and more than one document
 * are refused.  The same table makes the reference page (conf_print_reference).  An empty file is an
 * empty map.
 *
 * A conf_node is a place in the document; nodes are owned by the document.
 */
#pragma once

#include "base/blob.h"

struct conf;      /* a parsed document; opaque */
struct conf_node; /* opaque */

/* `name` is for messages only.  At most 1 MiB, depth 32. */
cc_err conf_parse(cc_view text, const char *name, struct conf **ret) CC_MUST_USE;
cc_err conf_read(const char *path, struct conf **ret) CC_MUST_USE; /* FILE_CONFIG trust */
void conf_free(struct conf *c);
const struct conf_node *conf_root(const struct conf *c);

/* Plain access, for shapes that a table cannot say (maps of free names, lists). */
bool conf_is_map(const struct conf_node *n);
bool conf_is_list(const struct conf_node *n);
size_t conf_count(const struct conf_node *n);                         /* entries of a map or list */
const struct conf_node *conf_at(const struct conf_node *n, size_t i); /* list item, map value */
cc_view conf_key_at(const struct conf_node *n, size_t i);             /* map key */
const struct conf_node *conf_get(const struct conf_node *n, const char *key); /* NULL: absent */
cc_view conf_text(const struct conf_node *n); /* scalar; empty when not a scalar */
cc_view conf_name(const struct conf_node *n); /* the file's name, for messages */
/* Fail at this place: "policy.yaml:12:5: " in front of the words. */
cc_err conf_fail(const struct conf_node *n, const char *format, ...) CC_PRINTF(2, 3);
cc_err conf_need_map(const struct conf_node *n, const char *what) CC_MUST_USE;

/* ---- tables ---- */

enum conf_type {
	CONF_TEXT, /* const char *: clean text, up to 4 KiB, owned by the document's conf */
	CONF_PATH, /* const char *: absolute, or relative to the file's directory -> made absolute */
	CONF_NAME,    /* const char *: text_is_name */
	CONF_BOOL,    /* bool: true, false */
	CONF_U32,     /* uint32_t, min..max */
	CONF_U64,     /* uint64_t, min..max; sizes accept KiB MiB GiB */
	CONF_SECONDS, /* uint64_t: 90s, 15m, 72h, 365d */
	CONF_CHOICE,  /* int: index into `allowed`, a list separated by '|' */
	CONF_NODE,    /* const struct conf_node *: any shape, for the caller */
};

struct conf_key {
	const char *name;
	enum conf_type type;
	size_t offset; /* into the caller's struct */
	bool required;
	const char *fallback; /* as it would be written; NULL: zero of the type */
	uint64_t min, max;    /* numbers and seconds; max 0: none */
	const char *allowed;  /* CONF_CHOICE */
	const char *help;
};

/* Fill `to` from the map `n` by the table; defaults first, then what stands there.  Unknown keys
 * are refused with the list of what is allowed.  `n` may be NULL (a part that was left out): all
 * defaults, and a failure when a key is required. */
cc_err conf_fill(const struct conf *c, const struct conf_node *n, const struct conf_key *table,
	size_t count, void *to) CC_MUST_USE;

/* The table as a page of text: key, type, default, allowed, help. */
void conf_print_reference(const struct conf_key *table, size_t count, cc_blob *out);

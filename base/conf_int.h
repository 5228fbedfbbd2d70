/*
 * Between conf.c (the tree) and conf_table.c (the tables); for no one else.
 */
#pragma once

#include "base/conf.h"

#define CONF_SHOWN_SIZE 56

/* A value as it can stand in a message: clean, in one line, cut when long.  Returns `ret`. */
const char *conf_shown(cc_view value, char ret[CONF_SHOWN_SIZE]);
/* "a map", "a list", "a single value", "nothing". */
const char *conf_kind_words(const struct conf_node *n);
bool conf_is_nothing(const struct conf_node *n); /* "key:" and no value behind it */
bool conf_is_text(const struct conf_node *n);    /* a single value that is not nothing */
const char *conf_file_name(const struct conf *c);
/* Takes over malloced text; it lives as long as the document. */
const char *conf_keep_text(const struct conf *c, char *text);
/* conf_fail at the key of a map's entry. */
cc_err conf_fail_key_at(const struct conf_node *n, size_t i, const char *words);

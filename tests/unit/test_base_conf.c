/* base/conf.c, base/conf_table.c: what is read, and what exactly is said about what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/file.h"

#define assert_view(view, text) assert_true(cc_view_equal((view), cc_view_text(text)))

struct settings {
	const char *title;
	const char *file;
	const char *ca;
	bool on;
	uint32_t threads;
	uint64_t room;
	uint64_t patience;
	int walls;
	const struct conf_node *extra;
};

static const struct conf_key table[] = {
	{.name = "title",
		.type = CONF_TEXT,
		.offset = offsetof(struct settings, title),
		.help = "A title."},
	{.name = "file",
		.type = CONF_PATH,
		.offset = offsetof(struct settings, file),
		.fallback = "a.yaml",
		.help = "A file."},
	{.name = "ca", .type = CONF_NAME, .offset = offsetof(struct settings, ca), .help = "A CA."},
	{.name = "on",
		.type = CONF_BOOL,
		.offset = offsetof(struct settings, on),
		.fallback = "true",
		.help = "A switch."},
	{.name = "threads",
		.type = CONF_U32,
		.offset = offsetof(struct settings, threads),
		.fallback = "2",
		.min = 1,
		.max = 64,
		.help = "Threads."},
	{.name = "room",
		.type = CONF_U64,
		.offset = offsetof(struct settings, room),
		.fallback = "4GiB",
		.min = 1024,
		.help = "Bytes."},
	{.name = "patience",
		.type = CONF_SECONDS,
		.offset = offsetof(struct settings, patience),
		.fallback = "24h",
		.min = 1,
		.max = 604800,
		.help = "How long."},
	{.name = "walls",
		.type = CONF_CHOICE,
		.offset = offsetof(struct settings, walls),
		.fallback = "allow_reduced",
		.allowed = "require|allow_reduced",
		.help = "Walls."},
	{.name = "extra",
		.type = CONF_NODE,
		.offset = offsetof(struct settings, extra),
		.help = "Anything."},
};
#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

static struct conf *parse(const char *text)
{
	struct conf *c = NULL;

	assert_int_equal(conf_parse(cc_view_text(text), "f.yaml", &c), CC_OK);
	return c;
}

static void assert_not_parsed(const char *text, const char *words)
{
	struct conf *c = NULL;

	assert_int_equal(conf_parse(cc_view_text(text), "f.yaml", &c), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), words);
	assert_null(c);
}

static void assert_not_filled(const char *text, const char *words)
{
	struct settings s = {0};
	struct conf *c = parse(text);

	assert_int_equal(conf_fill(c, conf_root(c), table, TABLE_COUNT, &s), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), words);
	conf_free(c);
}

/* ---- the tree ---- */

static void maps_lists_and_values_are_read(void **state)
{
	struct conf *c = parse("a: 1\nb: [x, 'y z', {k: v}]\nc: |\n  line 1\n  line 2\nd:\n");
	const struct conf_node *root = conf_root(c);
	const struct conf_node *b = conf_get(root, "b");

	(void)state;
	assert_true(conf_is_map(root));
	assert_int_equal(conf_count(root), 4);
	assert_view(conf_key_at(root, 1), "b");
	assert_view(conf_text(conf_get(root, "a")), "1");
	assert_true(conf_is_list(b));
	assert_int_equal(conf_count(b), 3);
	assert_view(conf_text(conf_at(b, 1)), "y z");
	assert_view(conf_text(conf_get(conf_at(b, 2), "k")), "v");
	assert_null(conf_at(b, 3));
	assert_view(conf_text(conf_get(root, "c")), "line 1\nline 2\n");
	assert_int_equal(conf_text(conf_get(root, "d")).size, 0);
	assert_null(conf_get(root, "e"));
	assert_int_equal(conf_text(b).size, 0);
	assert_view(conf_name(root), "f.yaml");
	conf_free(c);
	conf_free(NULL);
}

static void an_empty_file_is_an_empty_map(void **state)
{
	struct conf *c = parse("# nothing\n");

	(void)state;
	assert_true(conf_is_map(conf_root(c)));
	assert_int_equal(conf_count(conf_root(c)), 0);
	conf_free(c);
}

static void a_failure_names_file_line_and_column(void **state)
{
	struct conf *c = parse("a: 1\nb:\n  - x\n  - y\n");

	(void)state;
	assert_int_equal(
		conf_fail(conf_at(conf_get(conf_root(c), "b"), 1), "not %s", "y"), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), "f.yaml:4:5: not y");
	assert_int_equal(conf_need_map(conf_get(conf_root(c), "b"), "b"), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG),
		"f.yaml:3:3: b must be a map (key: value), here stands a list");
	assert_int_equal(conf_need_map(NULL, "b"), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), "b is missing");
	conf_free(c);
}

static void anchors_aliases_and_tags_are_refused(void **state)
{
	(void)state;
	assert_not_parsed("a: &x 1\nb: 2\n",
		"f.yaml:1:4: an anchor is not allowed: write the value where it is needed");
	assert_not_parsed("a: &x [1]\n",
		"f.yaml:1:4: an anchor is not allowed: write the value where it is needed");
	assert_not_parsed("&x a: 1\n",
		"f.yaml:1:1: an anchor is not allowed: write the value where it is needed");
	assert_not_parsed(
		"a: 1\nb: *x\n", "f.yaml:2:4: an alias is not allowed: write the value itself");
	assert_not_parsed("a: !!int 1\n", "f.yaml:1:4: a tag is not allowed");
	assert_not_parsed("a: !x {b: c}\n", "f.yaml:1:4: a tag is not allowed");
	assert_not_parsed(
		"%TAG ! tag:x,2000:\n---\na: 1\n", "f.yaml:1:1: a %TAG line is not allowed");
}

static void a_key_stands_in_a_map_once(void **state)
{
	(void)state;
	assert_not_parsed(
		"a: 1\nb: 2\n\"a\": 3\n", "f.yaml:3:1: key 'a' stands here twice, first in line 1");
	assert_not_parsed(
		"m: {x: 1, x: 2}\n", "f.yaml:1:11: key 'x' stands here twice, first in line 1");
	conf_free(parse("m: {x: 1}\nn: {x: 1}\n"));
}

static void a_key_is_a_single_value_of_clean_text(void **state)
{
	(void)state;
	assert_not_parsed(
		"? [a]\n: 1\n", "f.yaml:1:3: a key must be a single value, not a map or list");
	assert_not_parsed(
		"\"a\\0b\": 1\n", "f.yaml:1:1: a key must be text of 1 to 256 bytes in one line");
	assert_not_parsed(
		"\"\": 1\n", "f.yaml:1:1: a key must be text of 1 to 256 bytes in one line");
}

static void a_file_holds_one_document(void **state)
{
	(void)state;
	assert_not_parsed(
		"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document: one file holds one document");
}

static void what_is_not_yaml_is_told_by_its_place(void **state)
{
	(void)state;
	assert_not_parsed("a: 1\nb: [1\nc: 2\n", "f.yaml:3:2: did not find expected ',' or ']'");
	assert_not_parsed(
		"a: 1\n\tb: 2\n", "f.yaml:2:1: found a tab character that violates indentation");
	assert_not_parsed("a: \xff\n", "f.yaml: byte 4: invalid leading UTF-8 octet");
}

static void depth_and_size_have_limits(void **state)
{
	cc_blob b = CC_BLOB_NONE;
	struct conf *c = NULL;

	(void)state;
	for (int i = 0; i < 32; i++)
		cc_blob_append_byte(&b, '[');
	for (int i = 0; i < 32; i++)
		cc_blob_append_byte(&b, ']');
	conf_free(parse(cc_blob_text(&b)));
	cc_blob_clear(&b);
	for (int i = 0; i < 10000; i++)
		cc_blob_append_byte(&b, '[');
	assert_not_parsed(cc_blob_text(&b), "f.yaml:1:33: deeper than 32 levels");
	cc_blob_clear(&b);
	for (int i = 0; i < 20001; i++)
		cc_blob_printf(&b, "- x\n");
	assert_not_parsed(cc_blob_text(&b), "f.yaml:20000:3: more than 20000 values in one file");
	cc_blob_free(&b);
	b = cc_blob_new((1u << 20) + 1);
	assert_int_equal(conf_parse(cc_blob_view(&b), "f.yaml", &c), CC_TOO_LARGE);
	assert_string_equal(
		cc_err_detail(CC_TOO_LARGE), "f.yaml: 1048577 bytes, at most 1048576 are taken");
	cc_blob_free(&b);
}

/* ---- tables ---- */

static void values_are_filled_in_by_the_table(void **state)
{
	struct settings s = {0};
	struct conf *c =
		parse("title: 'Zo\xc3\xab'\nfile: /etc/x\nca: corp-ca\non: false\nthreads: 64\n"
		      "room: 64KiB\npatience: 15m\nwalls: require\nextra: [1]\n");

	(void)state;
	assert_int_equal(conf_fill(c, conf_root(c), table, TABLE_COUNT, &s), CC_OK);
	assert_string_equal(s.title, "Zo\xc3\xab");
	assert_string_equal(s.file, "/etc/x");
	assert_string_equal(s.ca, "corp-ca");
	assert_false(s.on);
	assert_int_equal(s.threads, 64);
	assert_int_equal(s.room, 65536);
	assert_int_equal(s.patience, 900);
	assert_int_equal(s.walls, 0);
	assert_true(conf_is_list(s.extra));
	conf_free(c);
}

static void what_is_left_out_has_its_default(void **state)
{
	struct settings s;
	struct conf *c = NULL;
	char *here = getcwd(NULL, 0);
	char *expected = cc_asprintf("%s/etc/a.yaml", here);

	(void)state;
	assert_int_equal(conf_parse(CC_VIEW_NONE, "etc/f.yaml", &c), CC_OK);
	for (int whole = 0; whole < 2; whole++) {
		memset(&s, 0xee, sizeof(s));
		const struct conf_node *n = whole ? conf_root(c) : NULL;
		assert_int_equal(conf_fill(c, n, table, TABLE_COUNT, &s), CC_OK);
		assert_null(s.title);
		assert_string_equal(s.file, expected);
		assert_null(s.ca);
		assert_true(s.on);
		assert_int_equal(s.threads, 2);
		assert_true(s.room == UINT64_C(4) << 30);
		assert_int_equal(s.patience, 86400);
		assert_int_equal(s.walls, 1);
		assert_null(s.extra);
	}
	conf_free(c);
	free(expected);
	free(here);
}

static void an_unknown_key_is_refused_with_the_list_of_what_is_allowed(void **state)
{
	(void)state;
	assert_not_filled("title: x\nthreds: 4\n", "f.yaml:2:1: unknown key 'threds'; allowed "
						   "here: title, file, ca, on, threads, room, "
						   "patience, walls, extra");
}

static void a_wrong_value_is_told_with_what_is_allowed(void **state)
{
	(void)state;
	assert_not_filled("on: yes\n", "f.yaml:1:5: on: 'yes' is not true or false");
	assert_not_filled(
		"walls: none\n", "f.yaml:1:8: walls: 'none' is not one of require, allow_reduced");
	assert_not_filled(
		"threads: 65\n", "f.yaml:1:10: threads: '65' is not a whole number, 1 to 64");
	assert_not_filled(
		"threads: -1\n", "f.yaml:1:10: threads: '-1' is not a whole number, 1 to 64");
	assert_not_filled(
		"threads: 0x10\n", "f.yaml:1:10: threads: '0x10' is not a whole number, 1 to 64");
	assert_not_filled("room: 4GB\n", "f.yaml:1:7: room: '4GB' is not a whole number or a size "
					 "such as 64KiB, 16MiB, 4GiB, "
					 "1024 or more");
	assert_not_filled("room: 99999999999GiB\n",
		"f.yaml:1:7: room: '99999999999GiB' is not a whole number or a size such as 64KiB, "
		"16MiB, 4GiB, 1024 or more");
	assert_not_filled("patience: 24\n",
		"f.yaml:1:11: patience: '24' is not a duration such as 90s, 15m, 72h, 365d, 1s to "
		"604800s");
	assert_not_filled("patience: 8d\n",
		"f.yaml:1:11: patience: '8d' is not a duration such as 90s, 15m, 72h, 365d, 1s to "
		"604800s");
	assert_not_filled("ca: Corp CA\n", "f.yaml:1:5: ca: 'Corp CA' is not a name: 1 to 63 of "
					   "a-z, 0-9 and -, beginning with a "
					   "letter or digit");
	assert_not_filled("title: \"a\\nb\"\n",
		"f.yaml:1:8: title: 'a?b' is not text of at most 4096 bytes in one line");
	assert_not_filled("file: ''\n", "f.yaml:1:7: file: '' is not a path");
}

static void a_long_value_is_cut_in_the_message(void **state)
{
	(void)state;
	assert_not_filled("on: aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff\n",
		"f.yaml:1:5: on: 'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeee...' is not true "
		"or "
		"false");
}

static void a_value_of_another_shape_is_refused(void **state)
{
	(void)state;
	assert_not_filled(
		"title: [a]\n", "f.yaml:1:8: title must be a single value, here stands a list");
	assert_not_filled(
		"title: {a: b}\n", "f.yaml:1:8: title must be a single value, here stands a map");
	assert_not_filled(
		"title:\n", "f.yaml:1:7: title must be a single value, here stands nothing");
	assert_not_filled("just text\n",
		"f.yaml:1:1: this place must be a map (key: value), here stands a single value");
}

static void a_required_key_must_stand_there(void **state)
{
	static const struct conf_key required[] = {
		{.name = "id", .type = CONF_TEXT, .required = true},
	};
	struct conf *c = parse("\n\nx: {}\n");
	const char *id = NULL;

	(void)state;
	assert_int_equal(conf_fill(c, conf_get(conf_root(c), "x"), required, 1, &id), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), "f.yaml:3:4: key 'id' is missing");
	assert_int_equal(conf_fill(c, NULL, required, 1, &id), CC_CONFIG);
	assert_string_equal(cc_err_detail(CC_CONFIG), "f.yaml: key 'id' is missing");
	conf_free(c);
}

static void the_table_makes_its_reference(void **state)
{
	cc_blob out = CC_BLOB_NONE;

	(void)state;
	conf_print_reference(table + 3, 5, &out);
	assert_string_equal(cc_blob_text(&out),
		"on: true or false; default true\n\tA switch.\n"
		"threads: number, 1 to 64; default 2\n\tThreads.\n"
		"room: number or size, 1024 or more; default 4GiB\n\tBytes.\n"
		"patience: duration, 1s to 604800s; default 24h\n\tHow long.\n"
		"walls: one of require, allow_reduced; default allow_reduced\n\tWalls.\n");
	cc_blob_free(&out);
}

static void paths_are_relative_to_the_file(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = cc_asprintf("%s/cc-conf-XXXXXX", tmp != NULL ? tmp : "/tmp");
	struct settings s = {0};
	struct conf *c = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	char *path = file_join(dir, "f.yaml");
	char *expected = file_join(dir, "sub/x.yaml");
	assert_int_equal(file_write_atomic(path, cc_view_text("file: sub/x.yaml\n"), 0644), CC_OK);
	assert_int_equal(conf_read(path, &c), CC_OK);
	assert_int_equal(conf_fill(c, conf_root(c), table, TABLE_COUNT, &s), CC_OK);
	assert_string_equal(s.file, expected);
	conf_free(c);
	c = NULL;
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(conf_read(path, &c), CC_PERMISSION);
	assert_null(c);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(conf_read(path, &c), CC_NOT_FOUND);
	assert_int_equal(rmdir(dir), 0);
	free(expected);
	free(path);
	free(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_lists_and_values_are_read),
		cmocka_unit_test(an_empty_file_is_an_empty_map),
		cmocka_unit_test(a_failure_names_file_line_and_column),
		cmocka_unit_test(anchors_aliases_and_tags_are_refused),
		cmocka_unit_test(a_key_stands_in_a_map_once),
		cmocka_unit_test(a_key_is_a_single_value_of_clean_text),
		cmocka_unit_test(a_file_holds_one_document),
		cmocka_unit_test(what_is_not_yaml_is_told_by_its_place),
		cmocka_unit_test(depth_and_size_have_limits),
		cmocka_unit_test(values_are_filled_in_by_the_table),
		cmocka_unit_test(what_is_left_out_has_its_default),
		cmocka_unit_test(an_unknown_key_is_refused_with_the_list_of_what_is_allowed),
		cmocka_unit_test(a_wrong_value_is_told_with_what_is_allowed),
		cmocka_unit_test(a_long_value_is_cut_in_the_message),
		cmocka_unit_test(a_value_of_another_shape_is_refused),
		cmocka_unit_test(a_required_key_must_stand_there),
		cmocka_unit_test(the_table_makes_its_reference),
		cmocka_unit_test(paths_are_relative_to_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

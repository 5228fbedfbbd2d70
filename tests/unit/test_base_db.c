/*
 * The LMDB environment: one opener, values, scans, sizes, and errors by their true names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

static const char *const names[] = {"first", "second"};

struct rig {
	char root[64], dir[80];
	struct db *db;
	MDB_txn *txn;
};

static void reopen(struct rig *r, uint64_t map_bytes)
{
	db_close(r->db);
	r->db = NULL;
	assert_int_equal(db_open(r->dir, map_bytes, names, 2, &r->db), CC_OK);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	snprintf(r->root, sizeof(r->root), "/tmp/test_base_db.XXXXXX");
	assert_non_null(mkdtemp(r->root));
	snprintf(r->dir, sizeof(r->dir), "%s/env", r->root);
	reopen(r, 16 * MIB);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "LOCK"};
	struct rig *r = *state;
	char path[128];

	mdb_txn_abort(r->txn);
	db_close(r->db);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(r->dir), 0); /* so nothing else was in it */
	rmdir(r->root);
	free(r);
	return 0;
}

static void begin(struct rig *r)
{
	assert_int_equal(mdb_txn_begin(db_env(r->db), NULL, 0, &r->txn), 0);
}

static void commit(struct rig *r)
{
	assert_int_equal(mdb_txn_commit(r->txn), 0);
	r->txn = NULL;
}

static void put(struct rig *r, size_t dbi, const char *key, const char *value)
{
	assert_int_equal(db_put(r->db, r->txn, dbi, cc_view_text(key), cc_view_text(value)), CC_OK);
}

static void expect(struct rig *r, MDB_txn *txn, size_t dbi, const char *key, const char *value)
{
	cc_view found = CC_VIEW_NONE;
	cc_err err = db_get(r->db, txn, dbi, cc_view_text(key), &found);

	assert_int_equal(err, value == NULL ? CC_NOT_FOUND : CC_OK);
	if (value != NULL)
		assert_true(cc_view_equal(found, cc_view_text(value)));
}

static void values_are_there_after_reopening(void **state)
{
	struct rig *r = *state;
	MDB_txn *read = NULL;

	begin(r);
	put(r, 0, "a", "one");
	put(r, 1, "a", "two");
	commit(r);
	reopen(r, 32 * MIB);
	assert_int_equal(db_read_begin(r->db, &read), CC_OK);
	expect(r, read, 0, "a", "one");
	expect(r, read, 1, "a", "two");
	expect(r, read, 1, "b", NULL);
	db_read_end(read);
}

static void directory_is_private(void **state)
{
	struct rig *r = *state;
	struct stat st;

	assert_int_equal(stat(r->dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_string_equal(db_dir(r->db), r->dir);
}

static void second_opener_is_refused_with_the_directory_named(void **state)
{
	struct rig *r = *state;
	struct db *second = NULL;

	assert_int_equal(db_open(r->dir, 16 * MIB, names, 2, &second), CC_LOCKED);
	assert_null(second);
	assert_non_null(strstr(cc_err_detail(CC_LOCKED), r->dir));
}

/* Exit status of a process that takes the lock as another program would. */
static int lock_in_child(const struct rig *r)
{
	char path[128];
	int status = 0;
	pid_t child;

	snprintf(path, sizeof(path), "%s/LOCK", r->dir);
	child = fork();
	if (child == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		_exit(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void lock_is_held_until_the_environment_is_closed(void **state)
{
	struct rig *r = *state;

	assert_int_equal(lock_in_child(r), 1);
	db_close(r->db);
	r->db = NULL;
	assert_int_equal(lock_in_child(r), 0);
}

static void aborted_transaction_leaves_nothing(void **state)
{
	struct rig *r = *state;
	MDB_txn *read = NULL;

	begin(r);
	put(r, 0, "a", "one");
	mdb_txn_abort(r->txn);
	r->txn = NULL;
	assert_int_equal(db_read_begin(r->db, &read), CC_OK);
	expect(r, read, 0, "a", NULL);
	db_read_end(read);
}

static void new_value_does_not_replace_an_old_one(void **state)
{
	struct rig *r = *state;
	cc_view key = cc_view_text("a");

	begin(r);
	assert_int_equal(db_put_new(r->db, r->txn, 0, key, cc_view_text("one")), CC_OK);
	assert_int_equal(db_put_new(r->db, r->txn, 0, key, cc_view_text("two")), CC_CONFLICT);
	expect(r, r->txn, 0, "a", "one");
	put(r, 0, "a", "two");
	expect(r, r->txn, 0, "a", "two");
}

static void deleting_twice_is_fine(void **state)
{
	struct rig *r = *state;

	begin(r);
	put(r, 0, "a", "one");
	assert_int_equal(db_delete(r->db, r->txn, 0, cc_view_text("a")), CC_OK);
	assert_int_equal(db_delete(r->db, r->txn, 0, cc_view_text("a")), CC_OK);
	expect(r, r->txn, 0, "a", NULL);
}

static void empty_value_is_a_value(void **state)
{
	struct rig *r = *state;

	begin(r);
	put(r, 0, "a", "");
	expect(r, r->txn, 0, "a", "");
}

static void key_of_a_bad_size_is_refused(void **state)
{
	struct rig *r = *state;
	char key[600];

	memset(key, 'k', sizeof(key));
	begin(r);
	assert_int_equal(
		db_put(r->db, r->txn, 0, cc_view_of(key, sizeof(key)), CC_VIEW_NONE), CC_TOO_LARGE);
	assert_int_equal(db_put(r->db, r->txn, 0, CC_VIEW_NONE, CC_VIEW_NONE), CC_TOO_LARGE);
}

/* The keys that a scan gives, joined. */
static void scan(
	struct rig *r, const char *prefix, const char *from, bool delete_each, const char *expected)
{
	struct db_cursor c = {0};
	cc_blob found = CC_BLOB_NONE;
	cc_err err = CC_OK;

	assert_int_equal(
		db_scan(r->db, r->txn, 0, cc_view_text(prefix), cc_view_text(from), &c), CC_OK);
	while (db_next(&c, &err)) {
		cc_blob_append(&found, c.key);
		cc_blob_append_byte(&found, ' ');
		if (delete_each) {
			cc_blob key = cc_blob_copy(c.key);

			assert_int_equal(db_delete(r->db, r->txn, 0, cc_blob_view(&key)), CC_OK);
			cc_blob_free(&key);
		}
	}
	assert_int_equal(err, CC_OK);
	db_scan_end(&c);
	db_scan_end(&c);
	assert_string_equal(cc_blob_text(&found), expected);
	cc_blob_free(&found);
}

static void put_keys(struct rig *r)
{
	static const char *const keys[] = {"a", "b1", "b2", "b3", "c"};

	begin(r);
	for (size_t i = 0; i < 5; i++)
		put(r, 0, keys[i], "x");
}

static void scan_keeps_to_its_prefix_and_start(void **state)
{
	struct rig *r = *state;

	put_keys(r);
	scan(r, "b", NULL, false, "b1 b2 b3 ");
	scan(r, "b", "b2", false, "b2 b3 ");
	scan(r, "b", "b22", false, "b3 ");
	scan(r, NULL, NULL, false, "a b1 b2 b3 c ");
	scan(r, NULL, "b3", false, "b3 c ");
	scan(r, "d", NULL, false, "");
	scan(r, "b1x", NULL, false, "");
}

static void scan_may_delete_what_it_finds(void **state)
{
	struct rig *r = *state;

	put_keys(r);
	scan(r, "b", NULL, true, "b1 b2 b3 ");
	scan(r, NULL, NULL, false, "a c ");
}

static void scan_of_an_empty_database_ends_at_once(void **state)
{
	struct rig *r = *state;

	begin(r);
	scan(r, NULL, NULL, false, "");
	scan(r, "a", NULL, false, "");
}

static void used_bytes_follow_the_data(void **state)
{
	struct rig *r = *state;
	cc_blob big = cc_blob_new(MIB);
	uint64_t empty = db_used_bytes(r->db);

	begin(r);
	assert_int_equal(db_put(r->db, r->txn, 0, cc_view_text("a"), cc_blob_view(&big)), CC_OK);
	commit(r);
	assert_in_range(db_used_bytes(r->db) - empty, MIB, 2 * MIB);
	begin(r);
	assert_int_equal(db_delete(r->db, r->txn, 0, cc_view_text("a")), CC_OK);
	commit(r);
	assert_int_equal(db_used_bytes(r->db), empty);
	cc_blob_free(&big);
}

static void full_map_is_called_full(void **state)
{
	struct rig *r = *state;
	cc_blob big = cc_blob_new(17 * MIB);

	begin(r);
	assert_int_equal(db_put(r->db, r->txn, 0, cc_view_text("a"), cc_blob_view(&big)), CC_FULL);
	cc_blob_free(&big);
}

static void errors_have_our_names(void **state)
{
	struct rig *r = *state;

	assert_int_equal(db_error(r->db, MDB_SUCCESS, "x"), CC_OK);
	assert_int_equal(db_error(r->db, MDB_CORRUPTED, "x"), CC_CORRUPT);
	assert_int_equal(db_error(r->db, MDB_MAP_FULL, "x"), CC_FULL);
	assert_int_equal(db_error(r->db, ENOSPC, "x"), CC_FULL);
	assert_int_equal(db_error(r->db, EACCES, "x"), CC_PERMISSION);
	assert_int_equal(db_error(r->db, EIO, "x"), CC_IO); /* this file system has room */
	assert_int_equal(db_error(r->db, MDB_PANIC, "x"), CC_IO);
	assert_int_equal(db_error(r->db, MDB_BAD_TXN, "x"), CC_INTERNAL);
	assert_non_null(strstr(cc_err_detail(CC_INTERNAL), r->dir));
}

static void file_that_is_no_database_is_called_damaged(void **state)
{
	struct rig *r = *state;
	struct db *d = NULL;
	char path[128];
	char garbage[8192];
	int fd;

	db_close(r->db);
	r->db = NULL;
	memset(garbage, 0x77, sizeof(garbage));
	snprintf(path, sizeof(path), "%s/data.mdb", r->dir);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, garbage, sizeof(garbage)), (ssize_t)sizeof(garbage));
	close(fd);
	assert_int_equal(db_open(r->dir, 16 * MIB, names, 2, &d), CC_CORRUPT);
	assert_null(d);
}

static void a_terabyte_of_address_space_can_be_reserved(void **state)
{
	struct rig *r = *state;

	reopen(r, 1024ull * 1024 * MIB);
	assert_true(db_used_bytes(r->db) < MIB);
}

static void less_address_space_has_to_do_where_there_is_not_so_much(void **state)
{
	struct rig *r = *state;

	reopen(r, UINT64_C(1) << 50); /* eight times what a process can have */
	assert_true(db_used_bytes(r->db) < MIB);
}

/* ---- room ahead, on a small file system in a process of its own ---- */

#define NO_MOUNT 77

#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static bool mount_small_disk(const char *at)
{
	int flags = CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);

	return unshare(flags) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", at, "tmpfs", 0, "size=16m") == 0;
}

static void fill_disk(const char *path)
{
	static const char page[4096] = {1};
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	CHILD_CHECK(fd >= 0);
	while (write(fd, page, sizeof(page)) == (ssize_t)sizeof(page))
		;
	CHILD_CHECK(errno == ENOSPC);
	close(fd);
}

/* One commit of so much, under a new key. */
static enum db_outcome commit_bytes(struct db *d, size_t size, cc_err *ret_err)
{
	static uint32_t number;
	cc_blob bytes = cc_blob_new(size);
	MDB_txn *txn = NULL;

	number++;
	CHILD_CHECK(db_write_begin(d, &txn) == CC_OK);
	CHILD_CHECK(db_put(d, txn, 0, cc_view_of(&number, sizeof(number)), cc_blob_view(&bytes)) ==
		    CC_OK);
	cc_blob_free(&bytes);
	return db_commit(d, txn, ret_err);
}

static cc_err commit_reserve(struct db *d, uint64_t own, uint64_t ahead)
{
	MDB_txn *txn = NULL;
	cc_err err;

	CHILD_CHECK(db_write_begin(d, &txn) == CC_OK);
	err = db_reserve(d, own, ahead);
	mdb_txn_abort(txn);
	return err;
}

static void write_on_a_full_disk(struct rig *r)
{
	char filler[128];
	struct db *d = NULL;
	cc_err err = CC_OK;
	size_t more = 0;

	if (!mount_small_disk(r->root))
		_exit(NO_MOUNT);
	snprintf(filler, sizeof(filler), "%s/filler", r->root);
	CHILD_CHECK(db_open(r->dir, 64 * MIB, names, 2, &d) == CC_OK);
	CHILD_CHECK(commit_reserve(d, 0, 3 * MIB) == CC_OK);
	fill_disk(filler);

	for (size_t i = 0; i < 12; i++) /* 3 MiB: what was admitted can be written to its end */
		CHILD_CHECK(commit_bytes(d, MIB / 4 - 4096, &err) == DB_COMMITTED);
	CHILD_CHECK(commit_reserve(d, 0, 3 * MIB) == CC_FULL); /* and nothing more admitted */
	CHILD_CHECK(strstr(cc_err_detail(CC_FULL), "the file system is full") != NULL);
	while (commit_bytes(d, MIB / 4, &err) == DB_COMMITTED)
		more++;
	CHILD_CHECK(err == CC_FULL && more <= 12); /* what is kept for copies of pages */

	unlink(filler);
	CHILD_CHECK(commit_reserve(d, 0, MIB) == CC_OK);
	CHILD_CHECK(commit_bytes(d, MIB / 4, &err) == DB_COMMITTED);
	db_close(d);
}

static void what_was_reserved_can_be_written_when_the_disk_is_full(void **state)
{
	struct rig *r = *state;
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		write_on_a_full_disk(r);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_MOUNT) {
		print_message("SKIPPED: no mount namespace for a small disk\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_operations_of_one_transaction_admit_adds_up(void **state)
{
	struct rig *r = *state;
	char path[128];
	struct stat before, after;
	MDB_txn *txn = NULL;

	snprintf(path, sizeof(path), "%s/data.mdb", r->dir);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(db_write_begin(r->db, &txn), CC_OK);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(db_reserve(r->db, MIB, 4 * MIB), CC_OK);
	mdb_txn_abort(txn);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, before.st_size); /* blocks, not bytes */
	assert_in_range((uint64_t)after.st_blocks * 512, 12 * MIB, 17 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			values_are_there_after_reopening, set_up, tear_down),
		cmocka_unit_test_setup_teardown(directory_is_private, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			second_opener_is_refused_with_the_directory_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			lock_is_held_until_the_environment_is_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			aborted_transaction_leaves_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			new_value_does_not_replace_an_old_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deleting_twice_is_fine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(empty_value_is_a_value, set_up, tear_down),
		cmocka_unit_test_setup_teardown(key_of_a_bad_size_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			scan_keeps_to_its_prefix_and_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scan_may_delete_what_it_finds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			scan_of_an_empty_database_ends_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(used_bytes_follow_the_data, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_map_is_called_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(errors_have_our_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			file_that_is_no_database_is_called_damaged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_terabyte_of_address_space_can_be_reserved, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			less_address_space_has_to_do_where_there_is_not_so_much, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_was_reserved_can_be_written_when_the_disk_is_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_operations_of_one_transaction_admit_adds_up, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

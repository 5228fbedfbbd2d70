/*
 * Commits that fail: calls of the library that go to the disk are answered here, by real faults at
 * chosen moments.  What is known not to be there is applied again, what is there is not; a disk that
 * fails, and a second failure, are the end; no answer escapes before; without room a commit waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/committer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MIB     (1024u * 1024u)
#define META    8192 /* the two meta pages lie before this */
#define READERS 2

static const char *const names[] = {"values"};

/* ---- the disk ---- */

enum fault {
	SOUND,
	META_REFUSED, /* the meta page is not written, and that is told */
	META_UNSURE,  /* it is written, and the opposite is told; putting the old one back fails */
	META_ALWAYS,  /* META_REFUSED until told otherwise */
	SYNC_FAILS,   /* the data's flush says EIO */
	CUT_SHORT,    /* a data page is written by half */
	CUT_BY_QUOTA, /* the same, and no more blocks are to be had */
	NO_SPACE,     /* until told otherwise */
	NO_QUOTA,     /* until told otherwise */
};

static atomic_int fault;
static atomic_int meta_writes; /* since the fault began */
static atomic_int every;       /* of so many meta pages one is refused; 0: none */
static atomic_int metas;

static void begin_fault(enum fault f)
{
	atomic_store(&meta_writes, 0);
	atomic_store(&fault, (int)f);
}

static ssize_t real_pwrite(int fd, const void *data, size_t size, off_t at)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "pwrite");
	return next(fd, data, size, at);
}

static ssize_t fail_with(int error)
{
	errno = error;
	return -1;
}

/* Errors that are not EIO: those of a descriptor or a driver, after which a disk may be sound. */
static ssize_t write_meta(int fd, const void *data, size_t size, off_t at)
{
	int f = atomic_load(&fault);
	int nth = atomic_fetch_add(&meta_writes, 1);
	int one_of = atomic_load(&every);

	if (f == META_REFUSED && nth == 0)
		return fail_with(EBADF);
	if (f == META_REFUSED && nth == 1)
		begin_fault(SOUND);
	if (f == META_UNSURE && nth == 0) {
		(void)real_pwrite(fd, data, size, at);
		return fail_with(EBADF);
	}
	if (f == META_UNSURE && nth == 1) {
		begin_fault(SOUND);
		return fail_with(EBADF);
	}
	if (f == META_ALWAYS || (one_of > 0 && atomic_fetch_add(&metas, 1) % one_of == 0))
		return fail_with(EBADF);
	return real_pwrite(fd, data, size, at);
}

/* One page, or pages that follow each other.  False: it has not been dealt with. */
static bool is_at_fault(ssize_t *ret, int fd, const void *data, size_t size, off_t at)
{
	int f = atomic_load(&fault);

	if (f == CUT_SHORT)
		begin_fault(SOUND);
	if (f == CUT_SHORT || f == CUT_BY_QUOTA)
		*ret = real_pwrite(fd, data, size / 2, at);
	else if (f == NO_SPACE || f == NO_QUOTA)
		*ret = fail_with(f == NO_SPACE ? ENOSPC : EDQUOT);
	else
		return false;
	return true;
}

/* In place of the C library's, for the whole program. */
ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
	ssize_t done_by_fault;

	if (at < META)
		return write_meta(fd, data, size, at);
	if (is_at_fault(&done_by_fault, fd, data, size, at))
		return done_by_fault;
	return real_pwrite(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	static ssize_t (*next)(int, const struct iovec *, int);
	ssize_t done_by_fault;
	off_t at = lseek(fd, 0, SEEK_CUR);

	if (at >= META && is_at_fault(&done_by_fault, fd, parts[0].iov_base, parts[0].iov_len, at))
		return done_by_fault;
	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "writev");
	return next(fd, parts, count);
}

int fdatasync(int fd)
{
	if (atomic_load(&fault) == SYNC_FAILS) {
		begin_fault(SOUND);
		return (int)fail_with(EIO);
	}
	return fsync(fd);
}

int fallocate(int fd, int mode, off_t from, off_t size)
{
	static int (*next)(int, int, off_t, off_t);

	if (atomic_load(&fault) == CUT_BY_QUOTA)
		return (int)fail_with(EDQUOT);
	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "fallocate");
	return next(fd, mode, from, size);
}

/* ---- the rig ---- */

struct op {
	struct rig *rig;
	const char *key;
	enum fault then; /* begins when it is applied for the first time */
	int applied, done;
	cc_err err;
	char detail[200];
};

struct rig {
	char root[64], dir[80];
	struct db *db;
	struct loop *loop;
	struct loop_timer *guard, *later;
	struct committer *committer;
	struct op ops[300];
	size_t done_count, wait_for;
	int fatal;
	cc_err fatal_err;
};

static void guard_due(void *arg)
{
	(void)arg;
	fail_msg("nothing happened within the time");
}

static void on_fatal(void *arg, cc_err err)
{
	struct rig *r = arg;

	r->fatal++;
	r->fatal_err = err;
}

static void on_batch(void *arg)
{
	struct rig *r = arg;

	if (r->done_count >= r->wait_for)
		loop_stop(r->loop);
}

static void on_later(void *arg)
{
	struct rig *r = arg;

	assert_int_equal(r->done_count, 0); /* it waits */
	begin_fault(SOUND);
}

static int set_up(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));

	begin_fault(SOUND);
	atomic_store(&every, 0);
	snprintf(r->root, sizeof(r->root), "/tmp/test_base_faults.XXXXXX");
	assert_non_null(mkdtemp(r->root));
	snprintf(r->dir, sizeof(r->dir), "%s/env", r->root);
	assert_int_equal(db_open(r->dir, 64 * MIB, names, 1, &r->db), CC_OK);
	assert_int_equal(loop_new(&r->loop), CC_OK);
	r->guard = loop_timer_new(r->loop, guard_due, r);
	loop_timer_set(r->guard, 60000);
	r->later = loop_timer_new(r->loop, on_later, r);
	assert_int_equal(committer_start(r->db, r->loop, on_fatal, r, &r->committer), CC_OK);
	committer_on_batch(r->committer, on_batch, r);
	for (size_t i = 0; i < 300; i++)
		r->ops[i] = (struct op){.rig = r, .key = "n"};
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "LOCK"};
	struct rig *r = *state;
	char path[128];

	begin_fault(SOUND);
	atomic_store(&every, 0);
	committer_stop(r->committer);
	loop_timer_free(r->guard);
	loop_timer_free(r->later);
	loop_free(r->loop);
	db_close(r->db);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->dir, files[i]);
		unlink(path);
	}
	rmdir(r->dir);
	rmdir(r->root);
	free(r);
	return 0;
}

/* How often something was added; 0 when never. */
static uint64_t number_in(const struct db *d, MDB_txn *txn, const char *key)
{
	cc_view value = CC_VIEW_NONE;
	cc_err err = db_get(d, txn, 0, cc_view_text(key), &value);

	return err == CC_OK && value.size == 8 ? cc_get_u64(value.data) : 0;
}

static uint64_t number(const struct rig *r, const char *key)
{
	MDB_txn *txn = NULL;
	uint64_t n;
	cc_err err = db_read_begin(r->db, &txn);

	if (err != CC_OK)
		cc_die("reading: %s", cc_err_detail(err));
	n = number_in(r->db, txn, key);
	db_read_end(txn);
	return n;
}

/* Not idempotent, so that a second time would be seen. */
static cc_err add_one(struct db *d, MDB_txn *txn, void *arg)
{
	struct op *op = arg;
	cc_blob value = CC_BLOB_NONE;
	cc_err err;

	if (op->applied++ == 0 && op->then != SOUND)
		begin_fault(op->then);
	cc_blob_append_u64(&value, number_in(d, txn, op->key) + 1);
	err = db_put(d, txn, 0, cc_view_text(op->key), cc_blob_view(&value));
	cc_blob_free(&value);
	return err;
}

static void done(void *arg, cc_err err)
{
	struct op *op = arg;

	op->done++;
	op->err = err;
	if (err == CC_OK)
		assert_true(number(op->rig, op->key) > 0); /* nothing is told before it is there */
	else
		snprintf(op->detail, sizeof(op->detail), "%s", cc_err_detail(err));
	op->rig->done_count++;
}

static void add(struct rig *r, size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++)
		committer_submit(r->committer, add_one, done, &r->ops[i]);
	r->wait_for = first + count;
	loop_run(r->loop);
}

/* ---- outcome unknown ---- */

static void what_is_not_there_after_a_failure_is_applied_again(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	r->ops[1].then = META_REFUSED;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].err, CC_OK);
	assert_int_equal(r->ops[1].applied, 2);
	assert_int_equal(r->ops[1].done, 1);
	assert_int_equal(number(r, "n"), 2);
	assert_int_equal(r->fatal, 0);
	add(r, 2, 20); /* and it goes on */
	assert_int_equal(number(r, "n"), 22);
}

static void what_is_there_after_a_failure_is_not_applied_twice(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	r->ops[1].then = META_UNSURE;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].err, CC_OK);
	assert_int_equal(r->ops[1].applied, 1);
	assert_int_equal(r->ops[1].done, 1);
	assert_int_equal(number(r, "n"), 2);
	assert_int_equal(r->fatal, 0);
	add(r, 2, 20);
	assert_int_equal(number(r, "n"), 22);
}

static void what_was_committed_before_a_failure_is_there_after_the_next_opening(void **state)
{
	struct rig *r = *state;

	r->ops[3].then = META_REFUSED;
	add(r, 0, 10);
	committer_stop(r->committer);
	r->committer = NULL;
	db_close(r->db);
	r->db = NULL;
	assert_int_equal(db_open(r->dir, 64 * MIB, names, 1, &r->db), CC_OK);
	assert_int_equal(number(r, "n"), 10);
}

static void what_an_opening_finds_is_flushed_before_it_is_read(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	committer_stop(r->committer);
	r->committer = NULL;
	db_close(r->db);
	r->db = NULL;
	begin_fault(SYNC_FAILS);
	assert_int_equal(db_open(r->dir, 64 * MIB, names, 1, &r->db), CC_IO);
	assert_int_equal(db_open(r->dir, 64 * MIB, names, 1, &r->db), CC_OK);
	assert_int_equal(number(r, "n"), 1);
}

static void one_failure_after_another_is_mended_when_a_commit_lies_between(void **state)
{
	struct rig *r = *state;

	for (size_t i = 0; i < 10; i++) {
		r->ops[i].then = i % 2 == 0 ? META_REFUSED : META_UNSURE;
		add(r, i, 1);
		assert_int_equal(r->ops[i].err, CC_OK);
	}
	assert_int_equal(number(r, "n"), 10);
	assert_int_equal(r->fatal, 0);
}

/* ---- the end ---- */

static void expect_the_end(struct rig *r, size_t at)
{
	assert_int_equal(r->ops[at].done, 1);
	assert_int_equal(cc_err_category(r->ops[at].err), CC_CAT_STORAGE);
	assert_non_null(strstr(r->ops[at].detail, r->dir));
	assert_int_equal(r->fatal, 1);
	assert_int_equal(r->fatal_err, r->ops[at].err);
	begin_fault(SOUND);
	add(r, at + 1, 1); /* nothing is tried any more, and fatal is told once */
	assert_int_equal(r->ops[at + 1].applied, 0);
	assert_int_equal(r->ops[at + 1].err, r->fatal_err);
	assert_int_equal(r->fatal, 1);
	assert_int_equal(number(r, "n"), at);
}

static void a_second_failure_is_the_end(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	r->ops[1].then = META_ALWAYS;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].applied, 2);
	expect_the_end(r, 1);
}

static void a_flush_that_fails_is_the_end_at_once(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	r->ops[1].then = SYNC_FAILS;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].applied, 1);
	expect_the_end(r, 1);
}

static void a_write_cut_short_without_a_reason_is_the_end(void **state)
{
	struct rig *r = *state;

	add(r, 0, 1);
	r->ops[1].then = CUT_SHORT;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].applied, 1);
	expect_the_end(r, 1);
}

/* ---- no room ---- */

static void refused_by(struct rig *r, enum fault f, const char *words)
{
	add(r, 0, 1);
	r->ops[1].then = f;
	add(r, 1, 1);
	assert_int_equal(r->ops[1].err, CC_FULL);
	assert_non_null(strstr(r->ops[1].detail, words));
	assert_int_equal(number(r, "n"), 1);
	assert_int_equal(r->fatal, 0);
	begin_fault(SOUND);
	add(r, 2, 3);
	assert_int_equal(r->ops[4].err, CC_OK);
	assert_int_equal(number(r, "n"), 4);
}

static void a_full_disk_refuses_and_it_goes_on_with_room(void **state)
{
	refused_by(*state, NO_SPACE, "the file system is full");
}

static void a_used_up_quota_refuses_and_is_named(void **state)
{
	refused_by(*state, NO_QUOTA, "disk quota");
}

static void a_write_that_the_quota_cut_short_is_no_disk_that_fails(void **state)
{
	refused_by(*state, CUT_BY_QUOTA, "disk quota");
}

static void one_that_holds_waits_for_room(void **state)
{
	struct rig *r = *state;

	committer_hold(r->committer);
	r->ops[0].then = NO_SPACE;
	loop_timer_set(r->later, 300);
	add(r, 0, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(r->ops[i].err, CC_OK);
	assert_int_equal(number(r, "n"), 5);
	assert_int_equal(r->fatal, 0);
}

static void one_that_holds_can_be_stopped(void **state)
{
	struct rig *r = *state;

	committer_hold(r->committer);
	begin_fault(NO_SPACE);
	for (size_t i = 0; i < 5; i++)
		committer_submit(r->committer, add_one, done, &r->ops[i]);
	committer_stop(r->committer);
	r->committer = NULL;
	assert_int_equal(number(r, "n"), 0);
	assert_int_equal(r->done_count, 0);
}

/* Its first one finds no room, its second one does as soon as it is alone. */
static cc_err add_without_room(struct db *d, MDB_txn *txn, void *arg)
{
	begin_fault(NO_SPACE);
	return add_one(d, txn, arg);
}

static cc_err add_with_room(struct db *d, MDB_txn *txn, void *arg)
{
	if (number_in(d, txn, "n") == 0)
		begin_fault(SOUND);
	return add_one(d, txn, arg);
}

static void what_is_behind_one_that_is_held_is_not_there_without_it(void **state)
{
	struct rig *r = *state;

	committer_hold(r->committer);
	committer_submit(r->committer, add_without_room, done, &r->ops[0]);
	committer_submit(r->committer, add_with_room, done, &r->ops[1]);
	committer_stop(r->committer);
	r->committer = NULL;
	assert_int_equal(number(r, "n"), 0);
	assert_int_equal(r->done_count, 0);
}

/* ---- readers ---- */

struct reader {
	pthread_t thread;
	const struct rig *rig;
	atomic_bool stop;
	uint64_t reads, last;
	bool went_back;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;

	while (!atomic_load(&reader->stop)) {
		uint64_t now = number(reader->rig, "n");

		reader->went_back |= now < reader->last;
		reader->last = now;
		reader->reads++;
	}
	return NULL;
}

static void readers_go_on_while_it_is_opened_anew(void **state)
{
	struct rig *r = *state;
	struct reader readers[READERS] = {0};

	atomic_store(&every, 5); /* a refused page is followed by one that puts the old one back */
	for (size_t i = 0; i < READERS; i++) {
		readers[i].rig = r;
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
	}
	for (size_t i = 0; i < 100; i++)
		add(r, i, 1);
	for (size_t i = 0; i < READERS; i++) {
		atomic_store(&readers[i].stop, true);
		pthread_join(readers[i].thread, NULL);
		assert_true(readers[i].reads > 0);
		assert_false(readers[i].went_back);
	}
	assert_int_equal(number(r, "n"), 100);
	assert_int_equal(r->fatal, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_not_there_after_a_failure_is_applied_again),
		TEST(what_is_there_after_a_failure_is_not_applied_twice),
		TEST(what_was_committed_before_a_failure_is_there_after_the_next_opening),
		TEST(what_an_opening_finds_is_flushed_before_it_is_read),
		TEST(one_failure_after_another_is_mended_when_a_commit_lies_between),
		TEST(a_second_failure_is_the_end),
		TEST(a_flush_that_fails_is_the_end_at_once),
		TEST(a_write_cut_short_without_a_reason_is_the_end),
		TEST(a_full_disk_refuses_and_it_goes_on_with_room),
		TEST(a_used_up_quota_refuses_and_is_named),
		TEST(a_write_that_the_quota_cut_short_is_no_disk_that_fails),
		TEST(one_that_holds_waits_for_room),
		TEST(one_that_holds_can_be_stopped),
		TEST(what_is_behind_one_that_is_held_is_not_there_without_it),
		TEST(readers_go_on_while_it_is_opened_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

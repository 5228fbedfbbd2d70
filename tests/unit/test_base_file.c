/* base/file.c: who may have touched a file, limits, and writing that is all or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/file.h"

#define assert_view(view, text) assert_true(cc_view_equal((view), cc_view_text(text)))

static char *dir;

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	dir = cc_asprintf("%s/cc-file-XXXXXX", tmp != NULL ? tmp : "/tmp");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
	(void)st;
	(void)flag;
	(void)walk;
	return remove(path);
}

static int remove_dir(void **state)
{
	(void)state;
	int rc = nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
	return rc;
}

static char *make_file(const char *name, const char *text, mode_t mode)
{
	char *path = file_join(dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
	return path;
}

static size_t count_entries(void)
{
	DIR *d = opendir(dir);
	size_t count = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		count++;
	(void)closedir(d);
	return count - 2;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void assert_refused(const char *path, enum file_trust trust, const char *words)
{
	char *expected = cc_asprintf("%s: %s", path, words);
	int fd = -1;

	assert_int_equal(file_open(path, trust, &fd), CC_PERMISSION);
	assert_int_equal(strncmp(cc_err_detail(CC_PERMISSION), expected, strlen(expected)), 0);
	assert_int_equal(fd, -1);
	free(expected);
}

static void a_file_is_read_whole(void **state)
{
	char *path = make_file("f", "hello", 0644);
	cc_blob b = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(file_read(path, FILE_CONFIG, 5, &b), CC_OK);
	assert_view(cc_blob_view(&b), "hello");
	cc_blob_free(&b);
	free(path);
	path = make_file("empty", "", 0644);
	assert_int_equal(file_read(path, FILE_ANY, 0, &b), CC_OK);
	assert_int_equal(b.size, 0);
	cc_blob_free(&b);
	free(path);
	assert_int_equal(file_read("/proc/self/maps", FILE_ANY, 1 << 20, &b), CC_OK);
	assert_true(b.size > 100);
	cc_blob_free(&b);
}

static void a_limit_is_kept(void **state)
{
	char *path = make_file("f", "hello", 0600);
	cc_blob b = CC_BLOB_NONE;
	cc_secret s = CC_SECRET_NONE;

	(void)state;
	assert_int_equal(file_read(path, FILE_ANY, 4, &b), CC_TOO_LARGE);
	assert_int_equal(file_read_secret(path, 4, &s), CC_TOO_LARGE);
	assert_int_equal(file_read("/proc/self/maps", FILE_ANY, 10, &b), CC_TOO_LARGE);
	assert_null(b.data);
	assert_null(s.data);
	free(path);
}

static void a_file_that_is_not_there_is_not_found(void **state)
{
	char *path = file_join(dir, "absent");
	char *expected = cc_asprintf("%s: No such file or directory", path);
	cc_blob b = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(file_read(path, FILE_ANY, 10, &b), CC_NOT_FOUND);
	assert_string_equal(cc_err_detail(CC_NOT_FOUND), expected);
	free(expected);
	free(path);
}

static void a_secret_may_be_read_by_its_owner_only(void **state)
{
	char *path = make_file("key", "s3cret", 0640);
	cc_secret s = CC_SECRET_NONE;

	(void)state;
	assert_refused(path, FILE_SECRET,
		"mode 640 lets others in, only its owner may have access: chmod 600 ");
	assert_int_equal(file_read_secret(path, 100, &s), CC_PERMISSION);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(file_read_secret(path, 100, &s), CC_OK);
	assert_view(cc_secret_view(&s), "s3cret");
	assert_true(CRYPTO_secure_allocated(s.data));
	cc_secret_free(&s);
	free(path);
}

static void a_configuration_may_be_written_by_its_owner_only(void **state)
{
	char *path = make_file("conf", "x", 0664);
	int fd = -1;

	(void)state;
	assert_refused(path, FILE_CONFIG, "mode 664 lets group or others write: chmod go-w ");
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(file_open(path, FILE_CONFIG, &fd), CC_OK);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(fd), 0);
	free(path);
}

static void a_file_of_someone_else_is_refused(void **state)
{
	char *path = make_file("conf", "x", 0600);

	(void)state;
	if (geteuid() != 0) {
		free(path);
		print_message("SKIPPED: needs root, to make a file of someone else\n");
		skip();
	}
	assert_int_equal(chown(path, 12345, 12345), 0);
	char *words =
		cc_asprintf("owned by uid 12345, must be owned by root or uid 0: chown 0 %s", path);
	assert_refused(path, FILE_CONFIG, words);
	assert_refused(path, FILE_SECRET, words);
	free(words);
	free(path);
}

static void links_fifos_and_directories_are_refused(void **state)
{
	char *path = make_file("f", "x", 0600);
	char *link_path = file_join(dir, "link");
	char *fifo = file_join(dir, "fifo");

	(void)state;
	assert_int_equal(symlink(path, link_path), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_refused(link_path, FILE_ANY, "a symbolic link is not followed here");
	assert_refused(fifo, FILE_ANY, "not a regular file");
	assert_refused(dir, FILE_ANY, "not a regular file");
	free(fifo);
	free(link_path);
	free(path);
}

static void a_descriptor_is_read_from_its_start(void **state)
{
	cc_blob b = CC_BLOB_NONE;
	cc_secret s = CC_SECRET_NONE;
	int fd = -1;

	(void)state;
	assert_int_equal(file_memfd("policy", cc_view_text("version: 1"), &fd), CC_OK);
	assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
	assert_int_equal(file_read_fd(fd, "policy", 100, &b), CC_OK);
	assert_view(cc_blob_view(&b), "version: 1");
	assert_int_equal(file_read_secret_fd(fd, "policy", 100, &s), CC_OK);
	assert_view(cc_secret_view(&s), "version: 1");
	assert_true(write(fd, "x", 1) < 0);
	assert_true(ftruncate(fd, 0) < 0);
	assert_int_equal(close(fd), 0);
	cc_secret_free(&s);
	cc_blob_free(&b);
}

static void an_atomic_write_replaces_and_leaves_nothing_else(void **state)
{
	char *path = file_join(dir, "f");
	cc_blob b = CC_BLOB_NONE;
	mode_t mask = umask(077);

	(void)state;
	assert_int_equal(file_write_atomic(path, cc_view_text("one"), 0644), CC_OK);
	assert_int_equal(mode_of(path), 0644);
	assert_int_equal(file_write_atomic(path, cc_view_text("two"), 0600), CC_OK);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(file_read(path, FILE_SECRET, 10, &b), CC_OK);
	assert_view(cc_blob_view(&b), "two");
	assert_int_equal(count_entries(), 1);
	(void)umask(mask);
	cc_blob_free(&b);
	free(path);
}

static void a_new_file_never_replaces_an_old_one(void **state)
{
	char *path = file_join(dir, "f");
	char *expected = cc_asprintf("%s: exists already", path);
	cc_blob b = CC_BLOB_NONE;

	(void)state;
	assert_int_equal(file_write_new(path, cc_view_text("one"), 0600), CC_OK);
	assert_int_equal(file_write_new(path, cc_view_text("two"), 0600), CC_CONFLICT);
	assert_string_equal(cc_err_detail(CC_CONFLICT), expected);
	assert_int_equal(file_read(path, FILE_SECRET, 10, &b), CC_OK);
	assert_view(cc_blob_view(&b), "one");
	assert_int_equal(count_entries(), 1);
	cc_blob_free(&b);
	free(expected);
	free(path);
}

static void a_write_that_fails_leaves_nothing(void **state)
{
	char *path = file_join(dir, "sub");
	char *below = file_join(dir, "absent/f");

	(void)state;
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_not_equal(file_write_atomic(path, cc_view_text("x"), 0600), CC_OK);
	assert_int_equal(file_write_atomic(below, cc_view_text("x"), 0600), CC_NOT_FOUND);
	assert_int_equal(count_entries(), 1);
	free(below);
	free(path);
}

static void directories_are_made_with_their_parents(void **state)
{
	char *path = file_join(dir, "a/b//c/");
	char *parent = file_join(dir, "a");
	mode_t mask = umask(077);

	(void)state;
	assert_int_equal(file_make_dir(path, 0750), CC_OK);
	assert_int_equal(mode_of(path), 0750);
	assert_int_equal(mode_of(parent), 0750);
	assert_int_equal(file_make_dir(path, 0750), CC_OK);
	(void)umask(mask);
	free(parent);
	free(path);
}

static void a_directory_that_others_can_write_is_refused(void **state)
{
	char *path = file_join(dir, "d");
	char *expected =
		cc_asprintf("%s: mode 777 lets group or others write: chmod 700 %s", path, path);
	char *file = make_file("f", "x", 0600);

	(void)state;
	assert_int_equal(file_make_dir(path, 0700), CC_OK);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(file_make_dir(path, 0700), CC_PERMISSION);
	assert_string_equal(cc_err_detail(CC_PERMISSION), expected);
	assert_int_equal(file_make_dir(file, 0700), CC_PERMISSION);
	free(file);
	free(expected);
	free(path);
}

static void root_gives_a_file_to_the_owner_of_its_directory(void **state)
{
	char *path = make_file("f", "x", 0600);
	char *other = make_file("g", "x", 0600);
	char *second = file_join(dir, "second");
	struct stat st;

	(void)state;
	if (geteuid() == 0) {
		assert_int_equal(chown(dir, 12345, 12346), 0);
		assert_int_equal(file_give_to_dir_owner(path), CC_OK);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 12346);
		assert_int_equal(link(other, second), 0);
		assert_int_equal(file_give_to_dir_owner(other), CC_PERMISSION);
		assert_int_equal(unlink(second), 0);
		assert_int_equal(symlink("/etc/passwd", second), 0);
		assert_int_not_equal(file_give_to_dir_owner(second), CC_OK);
	} else {
		assert_int_equal(file_give_to_dir_owner(path), CC_OK);
	}
	free(second);
	free(other);
	free(path);
}

static void names_are_joined_with_one_slash(void **state)
{
	char *a = file_join("/x", "y");
	char *b = file_join("/", "y");

	(void)state;
	assert_string_equal(a, "/x/y");
	assert_string_equal(b, "/y");
	free(a);
	free(b);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(a_file_is_read_whole),
		IN_DIR(a_limit_is_kept),
		IN_DIR(a_file_that_is_not_there_is_not_found),
		IN_DIR(a_secret_may_be_read_by_its_owner_only),
		IN_DIR(a_configuration_may_be_written_by_its_owner_only),
		IN_DIR(a_file_of_someone_else_is_refused),
		IN_DIR(links_fifos_and_directories_are_refused),
		cmocka_unit_test(a_descriptor_is_read_from_its_start),
		IN_DIR(an_atomic_write_replaces_and_leaves_nothing_else),
		IN_DIR(a_new_file_never_replaces_an_old_one),
		IN_DIR(a_write_that_fails_leaves_nothing),
		IN_DIR(directories_are_made_with_their_parents),
		IN_DIR(a_directory_that_others_can_write_is_refused),
		IN_DIR(root_gives_a_file_to_the_owner_of_its_directory),
		cmocka_unit_test(names_are_joined_with_one_slash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

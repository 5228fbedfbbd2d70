/*
 * Files.  Reading: the checks are made on the open descriptor, so that what was checked is what is
 * read.  Writing: a temporary file beside the name, fsync, rename or link, fsync of the directory.
 */
#include "base/file.h"
#include "base/hash.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536

/* ---- names ---- */

char *file_join(const char *dir, const char *name)
{
	size_t size = strlen(dir);
	const char *slash = size > 0 && dir[size - 1] == '/' ? "" : "/";

	return cc_asprintf("%s%s%s", dir, slash, name);
}

/* The directory part, "." when there is none; `*ret_base` points into `path`. */
static char *split(const char *path, const char **ret_base)
{
	const char *slash = strrchr(path, '/');

	*ret_base = slash == NULL ? path : slash + 1;
	if (slash == NULL)
		return cc_strdup(".");
	return cc_strndup(cc_view_of(path, slash == path ? 1 : (size_t)(slash - path)));
}

static cc_err open_dir(const char *path, int *ret_fd)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return cc_fail_errno(path);
	*ret_fd = fd;
	return CC_OK;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

/* ---- reading ---- */

cc_err file_check(int fd, const char *path, enum file_trust trust)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return cc_fail_errno(path);
	if (!S_ISREG(st.st_mode))
		return cc_fail(CC_PERMISSION, "%s: not a regular file", path);
	if (trust == FILE_ANY)
		return CC_OK;
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return cc_fail(CC_PERMISSION,
			"%s: owned by uid %u, must be owned by root or uid %u: chown %u %s", path,
			(unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
	if (trust == FILE_SECRET && (st.st_mode & 077) != 0)
		return cc_fail(CC_PERMISSION,
			"%s: mode %03o lets others in, only its owner may have access: chmod 600 "
			"%s",
			path, st.st_mode & 0777u, path);
	if ((st.st_mode & 022) != 0)
		return cc_fail(CC_PERMISSION,
			"%s: mode %03o lets group or others write: chmod go-w %s", path,
			st.st_mode & 0777u, path);
	return CC_OK;
}

cc_err file_open(const char *path, enum file_trust trust, int *ret_fd)
{
	cc_err err = CC_OK;
	/* O_NONBLOCK: a FIFO in its place must not stop us before file_check refuses it */
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	ENSURE(fd >= 0 || errno != ELOOP,
		cc_fail(CC_PERMISSION, "%s: a symbolic link is not followed here", path));
	ENSURE(fd >= 0, cc_fail_errno(path));
	TRY(file_check(fd, path, trust));
	*ret_fd = fd;
	fd = -1;
out:
	close_fd(fd);
	return err;
}

static cc_err check_size(int fd, const char *path, size_t max, size_t *ret_size)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return cc_fail_errno(path);
	if (st.st_size > 0 && (uint64_t)st.st_size > max)
		return cc_fail(CC_TOO_LARGE, "%s: %lld bytes, at most %zu are taken", path,
			(long long)st.st_size, max);
	*ret_size = (size_t)st.st_size;
	return CC_OK;
}

/* Up to `size` bytes at `offset`; fewer only at the end of the file. */
static cc_err read_at(
	int fd, const char *path, uint8_t *to, size_t size, size_t offset, size_t *ret_got)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = pread(fd, to + got, size - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cc_fail_errno(path);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*ret_got = got;
	return CC_OK;
}

cc_err file_read_fd(int fd, const char *path, size_t max, cc_blob *ret)
{
	cc_blob data = CC_BLOB_NONE;
	cc_err err = CC_OK;
	size_t size = 0;
	size_t got = 0;
	size_t step = 0;

	TRY(check_size(fd, path, max, &size));
	/* the size is a hint only: files in /proc have none.  One more byte shows the end. */
	do {
		step = size >= data.size ? size - data.size + 1 : READ_STEP;
		cc_blob_reserve(&data, data.size + step);
		TRY(read_at(fd, path, data.data + data.size, step, data.size, &got));
		data.size += got;
		ENSURE(data.size <= max,
			cc_fail(CC_TOO_LARGE, "%s: more than %zu bytes", path, max));
	} while (got == step);
	*ret = cc_blob_move(&data);
out:
	cc_blob_free(&data);
	return err;
}

cc_err file_read(const char *path, enum file_trust trust, size_t max, cc_blob *ret)
{
	cc_err err = CC_OK;
	int fd = -1;

	TRY(file_open(path, trust, &fd));
	TRY(file_read_fd(fd, path, max, ret));
out:
	close_fd(fd);
	return err;
}

cc_err file_read_secret_fd(int fd, const char *path, size_t max, cc_secret *ret)
{
	cc_secret data = CC_SECRET_NONE;
	cc_err err = CC_OK;
	size_t size = 0;
	size_t got = 0;

	TRY(check_size(fd, path, max, &size));
	data = cc_secret_new(size + 1);
	TRY(read_at(fd, path, data.data, size + 1, 0, &got));
	ENSURE(got <= size, cc_fail(CC_IO, "%s: changed while it was read", path));
	cc_secret_resize(&data, got);
	*ret = cc_secret_move(&data);
out:
	cc_secret_free(&data);
	return err;
}

cc_err file_read_secret(const char *path, size_t max, cc_secret *ret)
{
	cc_err err = CC_OK;
	int fd = -1;

	TRY(file_open(path, FILE_SECRET, &fd));
	TRY(file_read_secret_fd(fd, path, max, ret));
out:
	close_fd(fd);
	return err;
}

/* ---- writing ---- */

static cc_err write_all(int fd, const char *path, cc_view data)
{
	while (data.size > 0) {
		ssize_t n = write(fd, data.data, data.size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cc_fail_errno(path);
		data = cc_view_part(data, (size_t)n, data.size);
	}
	return CC_OK;
}

/* A file of this content, on disk, under a name that nobody else uses. */
static cc_err write_temporary(
	int dir, const char *name, const char *path, cc_view data, mode_t mode)
{
	cc_err err = CC_OK;
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return cc_fail_errno(path);
	TRY(write_all(fd, path, data));
	ENSURE(fchmod(fd, mode) == 0, cc_fail_errno(path));
	ENSURE(fsync(fd) == 0, cc_fail_errno(path));
out:
	close_fd(fd);
	if (err != CC_OK)
		(void)unlinkat(dir, name, 0);
	return err;
}

static cc_err write_file(const char *path, cc_view data, mode_t mode, bool must_be_new)
{
	const char *base = NULL;
	char *dir_path = split(path, &base);
	char *temporary = NULL;
	cc_err err = CC_OK;
	uint64_t random;
	int dir = -1;

	random_bytes(&random, sizeof(random));
	temporary = cc_asprintf(".%.200s.%016llx.tmp", base, (unsigned long long)random);
	TRY(open_dir(dir_path, &dir));
	TRY(write_temporary(dir, temporary, path, data, mode));
	if (must_be_new) { /* a link never replaces what is there, a rename does */
		int rc = linkat(dir, temporary, dir, base, 0);
		int why = errno;
		(void)unlinkat(dir, temporary, 0);
		errno = why;
		ENSURE(rc == 0 || errno != EEXIST,
			cc_fail(CC_CONFLICT, "%s: exists already", path));
		ENSURE(rc == 0, cc_fail_errno(path));
	} else if (renameat(dir, temporary, dir, base) != 0) {
		err = cc_fail_errno(path);
		(void)unlinkat(dir, temporary, 0);
		goto out;
	}
	ENSURE(fsync(dir) == 0, cc_fail_errno(dir_path));
out:
	close_fd(dir);
	free(temporary);
	free(dir_path);
	return err;
}

cc_err file_write_atomic(const char *path, cc_view data, mode_t mode)
{
	return write_file(path, data, mode, false);
}

cc_err file_write_new(const char *path, cc_view data, mode_t mode)
{
	return write_file(path, data, mode, true);
}

cc_err file_give_to_dir_owner(const char *path)
{
	const char *base = NULL;
	char *dir_path = NULL;
	struct stat owner;
	struct stat st;
	cc_err err = CC_OK;
	int dir = -1;
	int fd = -1;

	if (geteuid() != 0)
		return CC_OK;
	dir_path = split(path, &base);
	TRY(open_dir(dir_path, &dir));
	ENSURE(fstat(dir, &owner) == 0, cc_fail_errno(dir_path));
	fd = openat(dir, base, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ENSURE(fd >= 0 && fstat(fd, &st) == 0, cc_fail_errno(path));
	/* The owner of the directory may have put another file in its place: give away only what
	 * is ours and has no second name. */
	ENSURE((S_ISREG(st.st_mode) && st.st_nlink == 1) || S_ISDIR(st.st_mode),
		cc_fail(CC_PERMISSION, "%s: neither a file with one name nor a directory", path));
	ENSURE(st.st_uid == 0 || st.st_uid == owner.st_uid,
		cc_fail(CC_PERMISSION, "%s: owned by uid %u, not by us", path,
			(unsigned)st.st_uid));
	ENSURE(fchown(fd, owner.st_uid, owner.st_gid) == 0, cc_fail_errno(path));
out:
	close_fd(fd);
	close_fd(dir);
	free(dir_path);
	return err;
}

static cc_err check_dir(int fd, const char *path, mode_t mode)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return cc_fail_errno(path);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return cc_fail(CC_PERMISSION, "%s: owned by uid %u, must be uid %u: chown %u %s",
			path, (unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
	if ((st.st_mode & 022 & ~mode) != 0)
		return cc_fail(CC_PERMISSION,
			"%s: mode %03o lets group or others write: chmod %03o %s", path,
			st.st_mode & 0777u, mode & 0777u, path);
	return CC_OK;
}

/* `last`: this is the directory that was asked for, not a parent of it. */
static cc_err make_one_dir(const char *path, mode_t mode, bool last)
{
	cc_err err = CC_OK;
	int fd = -1;
	bool made = mkdir(path, mode) == 0;

	ENSURE(made || errno == EEXIST, cc_fail_errno(path));
	if (!made && !last)
		return CC_OK;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	ENSURE(fd >= 0 || (errno != ENOTDIR && errno != ELOOP),
		cc_fail(CC_PERMISSION, "%s: exists and is not a directory", path));
	ENSURE(fd >= 0, cc_fail_errno(path));
	/* the umask may have taken bits away */
	ENSURE(!made || fchmod(fd, mode) == 0, cc_fail_errno(path));
	TRY(check_dir(fd, path, mode));
out:
	close_fd(fd);
	return err;
}

cc_err file_make_dir(const char *path, mode_t mode)
{
	char *part = cc_strdup(path);
	size_t size = strlen(part);
	cc_err err = CC_OK;

	while (size > 1 && part[size - 1] == '/')
		part[--size] = '\0';
	for (size_t i = 1; i < size; i++) {
		if (part[i] != '/' || part[i - 1] == '/')
			continue;
		part[i] = '\0';
		TRY(make_one_dir(part, mode, false));
		part[i] = '/';
	}
	TRY(make_one_dir(part, mode, true));
out:
	free(part);
	return err;
}

cc_err file_memfd(const char *name, cc_view data, int *ret_fd)
{
	cc_err err = CC_OK;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ENSURE(fd >= 0, cc_fail_errno(name));
	TRY(write_all(fd, name, data));
	ENSURE(lseek(fd, 0, SEEK_SET) == 0, cc_fail_errno(name));
	ENSURE(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) ==
			0,
		cc_fail_errno(name));
	*ret_fd = fd;
	fd = -1;
out:
	close_fd(fd);
	return err;
}

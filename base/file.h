/*
 * Files: read with limits and checks on the open descriptor, written so that they are there after
 * a crash.  Any process, any thread.
 */
#pragma once

#include "base/blob.h"
#include <sys/types.h>

/* Who may have written or may read a file.  Checked by fstat on the open descriptor. */
enum file_trust {
	FILE_ANY,    /* no check */
	FILE_CONFIG, /* owner root or us, not writable by group or others */
	FILE_SECRET, /* the same, and no access at all for group and others */
};

/* O_NOFOLLOW | O_CLOEXEC; a regular file.  The caller closes. */
cc_err file_open(const char *path, enum file_trust trust, int *ret_fd) CC_MUST_USE;
cc_err file_check(int fd, const char *path, enum file_trust trust) CC_MUST_USE;
/* From the start of the descriptor, whatever its offset; at most `max` bytes. */
cc_err file_read_fd(int fd, const char *path, size_t max, cc_blob *ret) CC_MUST_USE;
cc_err file_read(const char *path, enum file_trust trust, size_t max, cc_blob *ret) CC_MUST_USE;
cc_err file_read_secret_fd(int fd, const char *path, size_t max, cc_secret *ret) CC_MUST_USE;
cc_err file_read_secret(const char *path, size_t max, cc_secret *ret) CC_MUST_USE;

/* Temporary name beside it, fsync, rename, fsync of the directory. */
cc_err file_write_atomic(const char *path, cc_view data, mode_t mode) CC_MUST_USE;
/* The same, and CC_CONFLICT when the name exists already. */
cc_err file_write_new(const char *path, cc_view data, mode_t mode) CC_MUST_USE;
/* Give the file to the owner of its directory when the caller is root; otherwise nothing. */
cc_err file_give_to_dir_owner(const char *path) CC_MUST_USE;
/* Makes the directory (and parents) with the mode, or checks that it is a directory of ours. */
cc_err file_make_dir(const char *path, mode_t mode) CC_MUST_USE;
/* A sealed memfd with this content, at offset 0. */
cc_err file_memfd(const char *name, cc_view data, int *ret_fd) CC_MUST_USE;
char *file_join(const char *dir, const char *name); /* caller frees */

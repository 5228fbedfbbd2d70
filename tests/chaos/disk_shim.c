/*
 * Disk shim: preloaded into a program, it has the commits of one role's stores fail when told to.
 *
 * DISK_FAULT names a file of 64 bytes, which is mapped before any walls stand: "ROLE FAULT", padded with
 * blanks.  ROLE is what follows --role, or `queue`.  FAULT is one of
 *   unwritten  the next meta page is not written, once: EBADF
 *   unsure     it is written and EBADF told, and the old one cannot be put back: once
 *   always     no meta page is written any more
 *   sync       the next flush of the data says EIO, once
 *   none
 * Only pages of a store's file are meant.  What was done once is noted in the file as `none`.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE 64
#define META 8192

static char *told;
static char role[32] = "queue";
static int unsure_left;

static void begin(void)
{
	const char *path = getenv("DISK_FAULT");
	char line[4096];
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	ssize_t size;

	if (fd >= 0) {
		told = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (told == MAP_FAILED)
		told = NULL;
	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
	line[size > 0 ? size : 0] = '\0';
	for (char *at = line; at < line + size; at += strlen(at) + 1) {
		if (strcmp(at, "--role") == 0)
			snprintf(role, sizeof(role), "%s", at + strlen(at) + 1);
	}
	if (fd >= 0)
		close(fd);
}

/* Every role sets its mask before its walls; the queue has none. */
mode_t umask(mode_t mask)
{
	if (told == NULL)
		begin();
	return (mode_t)syscall(SYS_umask, mask);
}

static int is_told(const char *fault)
{
	char words[SIZE], expected[SIZE];

	if (told == NULL)
		begin();
	if (told == NULL)
		return 0;
	memcpy(words, told, SIZE);
	words[SIZE - 1] = '\0';
	words[strcspn(words, "\n")] = '\0';
	while (strlen(words) > 0 && words[strlen(words) - 1] == ' ')
		words[strlen(words) - 1] = '\0';
	snprintf(expected, sizeof(expected), "%s %s", role, fault);
	return strcmp(words, expected) == 0;
}

static void end_it(void)
{
	memset(told, ' ', SIZE);
	memcpy(told, "none", 4);
}

/* Pages are written through a descriptor that reads as well, meta pages through one that syncs. */
static int is_store(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	return ((flags & O_ACCMODE) == O_RDWR || (flags & O_DSYNC) != 0) && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size >= META;
}

static int fail_with(int error)
{
	errno = error;
	return -1;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "pwrite");
	if (at >= META || !is_store(fd))
		return next(fd, data, size, at);
	if (unsure_left > 0) {
		unsure_left--;
		return fail_with(EBADF);
	}
	if (is_told("unwritten")) {
		end_it();
		return fail_with(EBADF);
	}
	if (is_told("unsure")) {
		end_it();
		(void)next(fd, data, size, at);
		unsure_left = 1;
		return fail_with(EBADF);
	}
	return is_told("always") ? fail_with(EBADF) : next(fd, data, size, at);
}

int fdatasync(int fd)
{
	static int (*next)(int);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
	if (is_told("sync") && is_store(fd)) {
		end_it();
		return fail_with(EIO);
	}
	return next(fd);
}

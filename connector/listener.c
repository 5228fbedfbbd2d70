/*
 * Listener: bind under a umask that lets nobody in, then open it to the group.
 */
#include "connector/listener.h"
#include "base/blob.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

static cc_err fill_address(const char *path, struct sockaddr_un *ret)
{
	size_t size = strlen(path);

	if (size >= sizeof(ret->sun_path))
		return cc_fail(CC_CONFIG, "%s: longer than a socket's name may be (%zu)", path,
			sizeof(ret->sun_path) - 1);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, size);
	return CC_OK;
}

static cc_err remove_stale(const char *path, const struct sockaddr_un *address)
{
	struct stat st;
	int fd = -1;
	cc_err err = CC_OK;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? CC_OK : cc_fail_errno(path);
	ENSURE(S_ISSOCK(st.st_mode), cc_fail(CC_CONFIG, "%s: exists and is not a socket", path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ENSURE(fd >= 0, cc_fail_errno("socket"));
	ENSURE(connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
			errno == ECONNREFUSED,
		cc_fail(CC_LOCKED, "%s: another process listens there", path));
	ENSURE(unlink(path) == 0, cc_fail_errno(path));
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static bool share(const char *path, gid_t group)
{
	if (group == (gid_t)-1)
		return false;
	return fchownat(AT_FDCWD, path, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) == 0 &&
	       chmod(path, 0660) == 0;
}

cc_err listener_open(const char *path, gid_t group, int *ret_fd, bool *ret_shared)
{
	struct sockaddr_un address;
	mode_t mask;
	int fd = -1, rc;
	cc_err err = CC_OK;

	TRY(fill_address(path, &address));
	TRY(remove_stale(path, &address));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ENSURE(fd >= 0, cc_fail_errno("socket"));
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	ENSURE(rc == 0, cc_fail_errno(path));
	ENSURE(listen(fd, BACKLOG) == 0, cc_fail_errno(path));
	*ret_shared = share(path, group);
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

/*
 * Notify: the few lines of sd_notify that a daemon needs, without libsystemd.
 */
#include "connector/notify.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address;
static socklen_t address_size; /* 0: nobody listens */
static int64_t watchdog_ms;

void notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	const char *usec = getenv("WATCHDOG_USEC");
	uint64_t number = 0;
	size_t size = path == NULL ? 0 : strlen(path);

	if (size > 1 && size < sizeof(address.sun_path) && (path[0] == '/' || path[0] == '@')) {
		address.sun_family = AF_UNIX;
		memcpy(address.sun_path, path, size);
		if (path[0] == '@')
			address.sun_path[0] = '\0'; /* abstract: no terminator, the length counts */
		address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	}
	if (usec != NULL && text_to_u64(cc_view_text(usec), 1, INT64_MAX, &number) == CC_OK)
		watchdog_ms = (int64_t)(number / 2000);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

cc_err notify_send(const char *text)
{
	int fd = -1;
	cc_err err = CC_OK;

	if (address_size == 0)
		return CC_OK;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ENSURE(fd >= 0, cc_fail_errno("notify socket"));
	ENSURE(sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
		       (const struct sockaddr *)&address, address_size) >= 0,
		cc_fail_errno("notify socket"));
out:
	if (fd >= 0)
		close(fd);
	return err;
}

int64_t notify_watchdog_ms(void)
{
	return watchdog_ms;
}

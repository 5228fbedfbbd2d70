/*
 * The peer's thread.  Every wait has an end: the connection, or the pipe by which it is told to stop.
 */
#include "tests/support/script_peer.h"

#include "base/blob.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 4096 };

struct script_peer {
	const struct script_step *script;
	int listener, stop;
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock;
	char head[HEAD_MAX];
	bool head_taken;
};

/* False: it was told to stop. */
static bool wait_for(const struct script_peer *p, int fd, short events)
{
	struct pollfd f[] = {{.fd = fd, .events = events}, {.fd = p->stop, .events = POLLIN}};

	return poll(f, 2, -1) > 0 && f[1].revents == 0;
}

static ssize_t read_some(const struct script_peer *p, int fd, char *to, size_t room)
{
	return wait_for(p, fd, POLLIN) ? recv(fd, to, room, 0) : -1;
}

static bool send_all(const struct script_peer *p, int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		if (!wait_for(p, fd, POLLOUT))
			return false;
		ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
		}
	}
	return true;
}

static bool read_head(struct script_peer *p, int fd)
{
	char head[HEAD_MAX] = "";
	size_t size = 0;

	while (strstr(head, "\r\n\r\n") == NULL) {
		if (size == sizeof(head) - 1 || read_some(p, fd, head + size, 1) != 1)
			return false;
		head[++size] = '\0';
	}
	pthread_mutex_lock(&p->lock);
	if (!p->head_taken)
		memcpy(p->head, head, size + 1);
	p->head_taken = true;
	pthread_mutex_unlock(&p->lock);
	return true;
}

static bool send_slowly(const struct script_peer *p, int fd, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (!send_all(p, fd, bytes + i, 1))
			return false;
	}
	return true;
}

static void echo(const struct script_peer *p, int fd, bool answer)
{
	char room[16384];
	ssize_t n;

	while ((n = read_some(p, fd, room, sizeof(room))) > 0) {
		if (answer && !send_all(p, fd, room, (size_t)n))
			return;
	}
}

static bool do_step(struct script_peer *p, int fd, const struct script_step *s)
{
	size_t size = s->bytes != NULL && s->size == 0 ? strlen(s->bytes) : s->size;
	char byte;

	switch (s->verb) {
	case SCRIPT_READ_HEAD:
		return read_head(p, fd);
	case SCRIPT_READ:
		for (size_t i = 0; i < size; i++) {
			if (read_some(p, fd, &byte, 1) != 1)
				return false;
		}
		return true;
	case SCRIPT_SEND:
		return send_all(p, fd, s->bytes, size);
	case SCRIPT_SEND_SLOW:
		return send_slowly(p, fd, s->bytes, size);
	case SCRIPT_SEND_AGAIN:
		while (send_all(p, fd, s->bytes, size))
			;
		return false;
	case SCRIPT_ECHO:
	case SCRIPT_SILENT:
		echo(p, fd, s->verb == SCRIPT_ECHO);
		return false;
	case SCRIPT_END:
		return false;
	}
	return false;
}

static void *serve(void *arg)
{
	struct script_peer *p = arg;
	const int one = 1;

	while (wait_for(p, p->listener, POLLIN)) {
		int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		for (const struct script_step *s = p->script; do_step(p, fd, s); s++)
			;
		close(fd);
	}
	return NULL;
}

struct script_peer *script_peer_new(const struct script_step *script)
{
	struct script_peer *p = cc_alloc(sizeof(*p));
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);

	p->script = script;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->stop = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&p->lock, NULL);
	if (bind(p->listener, (const struct sockaddr *)&address, size) != 0 ||
		listen(p->listener, 16) != 0 ||
		getsockname(p->listener, (struct sockaddr *)&address, &size) != 0 ||
		pthread_create(&p->thread, NULL, serve, p) != 0)
		cc_die("script peer");
	p->port = ntohs(address.sin_port);
	return p;
}

uint16_t script_peer_port(const struct script_peer *p)
{
	return p->port;
}

const char *script_peer_head(struct script_peer *p)
{
	pthread_mutex_lock(&p->lock);
	pthread_mutex_unlock(&p->lock);
	return p->head;
}

void script_peer_free(struct script_peer *p)
{
	const uint64_t one = 1;

	if (p == NULL)
		return;
	if (write(p->stop, &one, sizeof(one)) != (ssize_t)sizeof(one))
		cc_die("script peer");
	pthread_join(p->thread, NULL);
	pthread_mutex_destroy(&p->lock);
	close(p->listener);
	close(p->stop);
	free(p);
}

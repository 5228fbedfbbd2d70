/*
 * The operator's socket: lines in, lines out, one request of a connection at a time.  What an
 * operation does is control_ops.c's.
 */
#include "cloud-queue/control.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cloud-queue/control_int.h"
#include "cloud-queue/queue_int.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PEERS_MAX 32u

struct control {
	struct queue *queue;
	char *path;
	int fd;
	struct loop_watch *watch;
	struct control_peer *peers;
	size_t peer_count;
};

/* One connection.  It outlives its socket while an operation of it is in the store. */
struct control_peer {
	struct control_peer *next, **back;
	struct control *control;
	int fd;
	struct loop_watch *watch;
	cc_blob in, out;
	bool busy;   /* an operation is under way */
	bool ended;  /* the other side sends no more */
	bool closed; /* the socket is gone */
};

/* ---- peers ---- */

static void peer_free(struct control_peer *p)
{
	*p->back = p->next;
	if (p->next)
		p->next->back = p->back;
	p->control->peer_count--;
	OPENSSL_cleanse(p->out.data, p->out.size);
	cc_blob_free(&p->in);
	cc_blob_free(&p->out);
	free(p);
}

static void peer_close(struct control_peer *p)
{
	if (!p->closed) {
		loop_unwatch(p->watch);
		close(p->fd);
		p->closed = true;
	}
	if (!p->busy)
		peer_free(p);
}

/* What is dropped is wiped: an answer may hold a new token. */
static void drop_front(cc_blob *b, size_t n)
{
	memmove(b->data, b->data + n, b->size - n);
	b->size -= n;
	OPENSSL_cleanse(b->data + b->size, n);
}

static void peer_want(struct control_peer *p)
{
	unsigned want = 0;

	if (!p->busy && !p->ended)
		want |= LOOP_READ;
	if (p->out.size > 0)
		want |= LOOP_WRITE;
	loop_watch_want(p->watch, want);
}

/* The next whole line, if one is there and nothing is under way. */
static void peer_next(struct control_peer *p)
{
	uint8_t *end = p->in.size ? memchr(p->in.data, '\n', p->in.size) : NULL;
	json_t *request;
	size_t n;

	if (p->busy || !end)
		return;
	n = (size_t)(end - p->in.data);
	request = json_loadb((const char *)p->in.data, n, JSON_REJECT_DUPLICATES, NULL);
	drop_front(&p->in, n + 1);
	p->busy = true;
	control_handle(p->control->queue, p, request); /* takes over the request */
}

static void wipe(const char *text, size_t size)
{
	OPENSSL_cleanse((char *)(uintptr_t)text, size);
}

void control_answer(struct control_peer *p, json_t *answer)
{
	const json_t *token = json_object_get(answer, "token");
	char *text = json_dumps(answer, JSON_COMPACT);
	cc_view line = cc_view_text(text);

	wipe(json_string_value(token), json_string_length(token));
	json_decref(answer);
	p->busy = false;
	if (!p->closed) {
		cc_blob_reserve(&p->out, p->out.size + line.size + 1);
		cc_blob_append(&p->out, line);
		cc_blob_append_byte(&p->out, '\n');
	}
	wipe(text, line.size);
	free(text);
	if (p->closed)
		peer_free(p);
	else
		peer_want(p);
}

/* False: the peer was closed. */
static bool peer_read(struct control_peer *p)
{
	uint8_t chunk[4096];
	ssize_t n = recv(p->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n < 0 || p->in.size + (size_t)(n > 0 ? n : 0) > CONTROL_LINE_MAX) {
		peer_close(p);
		return false;
	}
	if (n == 0)
		p->ended = true;
	else
		cc_blob_append(&p->in, cc_view_of(chunk, (size_t)n));
	return true;
}

static bool peer_write(struct control_peer *p)
{
	ssize_t n = send(p->fd, p->out.data, p->out.size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n < 0) {
		peer_close(p);
		return false;
	}
	drop_front(&p->out, (size_t)n);
	return true;
}

static void on_peer(void *arg, unsigned ready)
{
	struct control_peer *p = arg;

	if ((ready & LOOP_READ) && !p->busy && !p->ended && !peer_read(p))
		return;
	if ((ready & LOOP_WRITE) && p->out.size > 0 && !peer_write(p))
		return;
	peer_next(p);
	if (p->ended && !p->busy && p->out.size == 0)
		peer_close(p);
	else
		peer_want(p);
}

static void on_connect(void *arg, unsigned ready)
{
	struct control *c = arg;
	int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct control_peer *p;

	(void)ready;
	if (fd < 0)
		return;
	if (c->peer_count >= PEERS_MAX) {
		close(fd);
		return;
	}
	p = cc_alloc(sizeof(*p));
	p->control = c;
	p->fd = fd;
	if (loop_watch(c->queue->loop, fd, LOOP_READ, on_peer, p, &p->watch) != CC_OK) {
		close(fd);
		free(p);
		return;
	}
	p->next = c->peers;
	p->back = &c->peers;
	if (p->next)
		p->next->back = &p->next;
	c->peers = p;
	c->peer_count++;
}

/* ---- the socket ---- */

static cc_err fill_address(const char *path, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return cc_fail(CC_CONFIG, "%s: longer than a socket's path may be", path);
	memcpy(ret->sun_path, path, strlen(path));
	return CC_OK;
}

/* The store's lock is held already, so a socket that is there is a stale one. */
static cc_err listen_on(const char *path, int *ret_fd)
{
	struct sockaddr_un address;
	int fd = -1;
	mode_t mask;
	cc_err err = CC_OK;

	TRY(fill_address(path, &address));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ENSURE(fd >= 0, cc_fail_errno(path));
	ENSURE(unlink(path) == 0 || errno == ENOENT, cc_fail_errno(path));
	mask = umask(0177); /* 0600 from the first moment */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		err = cc_fail_errno(path);
	umask(mask);
	TRY(err);
	ENSURE(listen(fd, 16) == 0, cc_fail_errno(path));
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

cc_err control_open(struct queue *q, const char *run_dir, struct control **ret)
{
	struct control *c = cc_alloc(sizeof(*c));
	cc_err err = CC_OK;

	c->queue = q;
	c->fd = -1;
	c->path = file_join(run_dir, CONTROL_SOCKET);
	TRY(listen_on(c->path, &c->fd));
	TRY(loop_watch(q->loop, c->fd, LOOP_READ, on_connect, c, &c->watch));
	*ret = c;
	c = NULL;
out:
	control_close(c);
	return err;
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (struct control_peer *p = c->peers, *next; p; p = next) {
		next = p->next;
		p->busy = false; /* the store is closed: no answer comes any more */
		peer_close(p);
	}
	loop_unwatch(c->watch);
	if (c->fd >= 0) {
		unlink(c->path);
		close(c->fd);
	}
	free(c->path);
	free(c);
}

/* ---- the tool's side ---- */

static cc_err wait_for(int fd, short events, int64_t until_ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	int64_t left = until_ms - clock_boottime_ms();
	int n = poll(&p, 1, left > 0 ? (int)left : 0);

	if (n > 0)
		return CC_OK;
	return n == 0 ? cc_fail(CC_TIMEOUT, "the queue did not answer in time")
		      : cc_fail_errno("control socket");
}

static cc_err connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un address;
	int fd = -1;
	cc_err err = CC_OK;

	TRY(fill_address(path, &address));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ENSURE(fd >= 0, cc_fail_errno(path));
	ENSURE(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0,
		cc_fail(CC_UNREACHABLE, "%s: %s", path, strerror(errno)));
	*ret_fd = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

static cc_err write_line(int fd, const json_t *request, int64_t until_ms)
{
	char *text = json_dumps(request, JSON_COMPACT);
	cc_blob line = CC_BLOB_NONE;
	cc_err err = CC_OK;

	ENSURE(text, cc_fail(CC_INTERNAL, "the request cannot be written as JSON"));
	cc_blob_printf(&line, "%s\n", text);
	for (size_t done = 0; done < line.size;) {
		ssize_t n;

		TRY(wait_for(fd, POLLOUT, until_ms));
		n = send(fd, line.data + done, line.size - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		ENSURE(n >= 0 || errno == EAGAIN, cc_fail_errno("control socket"));
		done += n > 0 ? (size_t)n : 0;
	}
out:
	free(text);
	cc_blob_free(&line);
	return err;
}

static cc_err read_line(int fd, int64_t until_ms, json_t **ret)
{
	cc_blob line = CC_BLOB_NONE;
	cc_err err = CC_OK;

	while (line.size == 0 || line.data[line.size - 1] != '\n') {
		uint8_t chunk[4096];
		ssize_t n;

		TRY(wait_for(fd, POLLIN, until_ms));
		n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
		ENSURE(n >= 0 || errno == EAGAIN, cc_fail_errno("control socket"));
		ENSURE(n != 0, cc_fail(CC_CLOSED, "the queue closed the control socket"));
		if (n > 0)
			cc_blob_append(&line, cc_view_of(chunk, (size_t)n));
		ENSURE(line.size <= 16u * CONTROL_LINE_MAX,
			cc_fail(CC_TOO_LARGE, "a line without end"));
	}
	*ret = json_loadb((const char *)line.data, line.size, 0, NULL);
	ENSURE(*ret, cc_fail(CC_MALFORMED, "the queue's answer is not JSON"));
out:
	cc_blob_free(&line);
	return err;
}

cc_err control_ask(const char *path, const json_t *request, int64_t timeout_ms, json_t **ret)
{
	int64_t until_ms = clock_boottime_ms() + timeout_ms;
	json_t *answer = NULL;
	int fd = -1;
	cc_err err = CC_OK;

	TRY(connect_to(path, &fd));
	TRY(write_line(fd, request, until_ms));
	TRY(read_line(fd, until_ms, &answer));
	*ret = answer;
out:
	if (fd >= 0)
		close(fd);
	return err;
}

/*
 * The loop on libwebsockets, for the processes that own WebSockets: connector and queue.
 *
 * lws could adopt every watched descriptor as a raw file, but it then closes one that hangs up before
 * its reader has seen the end, and forgets a request to write that is made in the write callback.  So
 * the watches live in an epoll set of ours, and lws adopts that set alone: one descriptor that is
 * readable as long as a watch is ready.
 */
#include "base/lws_loop.h"

#include "base/blob.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64          /* then lws's own sockets have their turn */
#define SERVICE_BUFFER  (32 * 1024) /* at least rx_buffer_size of every protocol */

struct lws_loop {
	struct loop loop;
	struct lws_context *context;
	int epoll;
	bool stopped;
	struct lws_protocols protocols[2]; /* lws keeps the pointer */
};

struct lws_watch {
	struct loop_watch_head head;
	int fd;
	unsigned want;
	loop_fd_fn fn;
	void *arg;
};

struct lws_timer {
	struct loop_watch_head head;
	lws_sorted_usec_list_t sul;
	loop_fn fn;
	void *arg;
};

static struct lws_loop *lws_of(struct loop *l)
{
	return (struct lws_loop *)l;
}

/* ---- watches ---- */

/* Hang-up and error are readiness for whatever is wanted, as libevent has it. */
static void call_watch(struct lws_watch *w, uint32_t events)
{
	unsigned ready = 0;

	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		ready |= LOOP_READ;
	if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
		ready |= LOOP_WRITE;
	ready &= w->want;
	if (ready != 0)
		w->fn(w->arg, ready);
}

/* One event at a time: a callback may unwatch any other, and the kernel takes turns itself. */
static void serve_watches(struct lws_loop *w)
{
	for (int i = 0; i < EVENTS_PER_TURN && !w->stopped; i++) {
		struct epoll_event event;

		if (epoll_wait(w->epoll, &event, 1, 0) != 1)
			return;
		call_watch(event.data.ptr, event.events);
	}
}

static int on_lws(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length)
{
	const struct lws_protocols *protocol = lws_get_protocol(wsi);

	(void)user;
	(void)in;
	(void)length;
	if (reason == LWS_CALLBACK_RAW_RX_FILE)
		serve_watches(protocol->user);
	return 0;
}

/* Out of the set when nothing is wanted: epoll tells of a hang-up always. */
static cc_err watch_arm(struct lws_watch *w, unsigned want)
{
	struct epoll_event event = {.data.ptr = w};
	int op = w->want == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (want == w->want)
		return CC_OK;
	if (want == 0)
		op = EPOLL_CTL_DEL;
	if ((want & LOOP_READ) != 0)
		event.events |= EPOLLIN;
	if ((want & LOOP_WRITE) != 0)
		event.events |= EPOLLOUT;
	if (epoll_ctl(lws_of(w->head.loop)->epoll, op, w->fd, &event) != 0)
		return cc_fail_errno("watching a descriptor");
	w->want = want;
	return CC_OK;
}

static cc_err driver_watch(
	struct loop *l, int fd, unsigned want, loop_fd_fn fn, void *arg, struct loop_watch **ret)
{
	struct lws_watch *w = cc_alloc(sizeof(*w));
	cc_err err = CC_OK;

	w->head.loop = l;
	w->fd = fd;
	w->fn = fn;
	w->arg = arg;
	TRY(watch_arm(w, want));
	*ret = (struct loop_watch *)w;
	w = NULL;
out:
	free(w);
	return err;
}

static void driver_want(struct loop_watch *watch, unsigned want)
{
	cc_err err = watch_arm((struct lws_watch *)watch, want);

	/* Its descriptor is open and was watched before, so only a lack of memory is left. */
	if (err != CC_OK)
		cc_die("cannot watch a descriptor: %s", cc_err_detail(err));
}

static void driver_unwatch(struct loop_watch *watch)
{
	driver_want(watch, 0);
	free(watch);
}

/* ---- timers ---- */

static void timer_due(lws_sorted_usec_list_t *sul)
{
	struct lws_timer *t = lws_container_of(sul, struct lws_timer, sul);

	t->fn(t->arg);
}

static struct loop_timer *driver_timer_new(struct loop *l, loop_fn fn, void *arg)
{
	struct lws_timer *t = cc_alloc(sizeof(*t));

	t->head.loop = l;
	t->fn = fn;
	t->arg = arg;
	return (struct loop_timer *)t;
}

static void driver_timer_set(struct loop_timer *timer, int64_t in_ms)
{
	struct lws_timer *t = (struct lws_timer *)timer;
	lws_usec_t in_us = in_ms < 0 ? LWS_SET_TIMER_USEC_CANCEL : in_ms * LWS_US_PER_MS;

	lws_sul_schedule(lws_of(t->head.loop)->context, 0, &t->sul, timer_due, in_us);
}

static void driver_timer_free(struct loop_timer *timer)
{
	driver_timer_set(timer, -1);
	free(timer);
}

/* ---- the loop ---- */

static void driver_run(struct loop *l)
{
	struct lws_loop *w = lws_of(l);

	while (!w->stopped) {
		if (lws_service(w->context, 0) < 0)
			cc_die("libwebsockets cannot go on");
	}
	w->stopped = false;
}

static void driver_stop(struct loop *l)
{
	struct lws_loop *w = lws_of(l);

	w->stopped = true;
	/* lws runs timers before it waits: from inside one the wait is still to come. */
	lws_cancel_service(w->context);
}

static void driver_free(struct loop *l)
{
	struct lws_loop *w = lws_of(l);

	if (w->context != NULL)
		lws_context_destroy(w->context);
	if (w->epoll >= 0)
		close(w->epoll);
	free(w);
}

static const struct loop_driver driver = {
	.watch = driver_watch,
	.want = driver_want,
	.unwatch = driver_unwatch,
	.timer_new = driver_timer_new,
	.timer_set = driver_timer_set,
	.timer_free = driver_timer_free,
	.run = driver_run,
	.stop = driver_stop,
	.free = driver_free,
};

static void on_lws_log(int level, const char *line)
{
	size_t length = strlen(line);

	while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ' '))
		length--;
	if ((level & (LLL_ERR | LLL_WARN)) != 0)
		log_event(EV_LIBRARY_WARNING, LV_VIEW("text", cc_view_of(line, length)));
	else
		log_event(EV_LIBRARY_NOTICE, LV_VIEW("text", cc_view_of(line, length)));
}

/* lws would send connections through a proxy that only the environment names. */
static void forget_proxies(void)
{
	static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy",
		"HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "socks_proxy",
		"SOCKS_PROXY"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
}

/* The vhost without a listener whose one connection is the epoll set. */
static cc_err adopt_epoll(struct lws_loop *w)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN, .vhost_name = "watches", .protocols = w->protocols};
	struct lws_vhost *vhost = NULL;
	lws_sock_file_fd_type fd = {.filefd = -1};
	cc_err err = CC_OK;

	w->protocols[0] = (struct lws_protocols){.name = "watches", .callback = on_lws, .user = w};
	vhost = lws_create_vhost(w->context, &info);
	ENSURE(vhost != NULL, cc_fail(CC_INTERNAL, "libwebsockets: no vhost"));
	/* lws closes what it adopts, also when it fails. */
	fd.filefd = fcntl(w->epoll, F_DUPFD_CLOEXEC, 0);
	ENSURE(fd.filefd >= 0, cc_fail_errno("epoll"));
	ENSURE(lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, fd, "watches", NULL) !=
			NULL,
		cc_fail(CC_INTERNAL, "libwebsockets: cannot adopt a descriptor"));
out:
	return err;
}

cc_err lws_loop_new(unsigned max_fds, struct loop **ret)
{
	struct lws_context_creation_info info = {.uid = -1,
		.gid = -1,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.fd_limit_per_thread = max_fds,
		.pt_serv_buf_size = SERVICE_BUFFER};
	struct lws_loop *w = cc_alloc(sizeof(*w));
	cc_err err = CC_OK;

	forget_proxies();
	lws_set_log_level(LLL_ERR | LLL_WARN | LLL_NOTICE, on_lws_log);
	w->loop.driver = &driver;
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	ENSURE(w->epoll >= 0, cc_fail_errno("epoll"));
	w->context = lws_create_context(&info);
	ENSURE(w->context != NULL, cc_fail(CC_INTERNAL, "libwebsockets: no context"));
	TRY(adopt_epoll(w));
	*ret = &w->loop;
	w = NULL;
out:
	if (w != NULL)
		driver_free(&w->loop);
	return err;
}

struct lws_context *lws_loop_context(struct loop *l)
{
	return lws_of(l)->context;
}

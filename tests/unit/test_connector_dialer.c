/*
 * The dialer against proxies that keep to the rules, that refuse, and that misbehave: each failure has
 * its own name, nothing lasts longer than it may, and no thread or descriptor is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "connector/dial_judge.h"
#include "connector/dial_relay.h"
#include "connector/dialer.h"
#include "tests/support/script_peer.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 20000, SHORT_MS = 400, ATTEMPTS = 10000 };

#define OK_ANSWER "HTTP/1.1 200 Connection established\r\nVia: 1.1 someone\r\n\r\n"

struct rig {
	struct loop *loop;
	struct loop_timer *limit;
	struct dialer *dialer;
	struct script_peer *peer;
	struct proxy *proxy;
	int cancel_fd;
	/* what the dialer told */
	unsigned told;
	cc_err why;
	char name[DIAL_NAME_SIZE], detail[512];
};

static void on_found(void *arg, const char *name)
{
	struct rig *r = arg;
	r->told++;
	r->why = CC_OK;
	snprintf(r->name, sizeof(r->name), "%s", name);
	loop_stop(r->loop);
}

static void on_failed(void *arg, cc_err why)
{
	struct rig *r = arg;
	r->told++;
	r->why = why;
	snprintf(r->detail, sizeof(r->detail), "%s", cc_err_detail(why));
	loop_stop(r->loop);
}

static const struct dialer_events events = {.found = on_found, .failed = on_failed};

static void on_limit(void *arg)
{
	(void)arg;
	fail_msg("nothing was told within %d ms", LIMIT_MS);
}

static int setup(void **state)
{
	struct rig *r = cc_alloc(sizeof(*r));
	assert_int_equal(loop_new(&r->loop), CC_OK);
	r->limit = loop_timer_new(r->loop, on_limit, r);
	r->cancel_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(proxy_new(NULL, -1, -1, &r->proxy), CC_OK);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;
	dialer_free(r->dialer);
	script_peer_free(r->peer);
	proxy_free(r->proxy);
	loop_timer_free(r->limit);
	loop_free(r->loop);
	close(r->cancel_fd);
	free(r);
	return 0;
}

static void use_proxy(struct rig *r, enum proxy_kind kind, const struct script_step *script)
{
	r->peer = script_peer_new(script);
	r->proxy->kind = kind;
	free(r->proxy->host);
	r->proxy->host = cc_strdup("127.0.0.1");
	r->proxy->port = script_peer_port(r->peer);
}

static void authenticate(struct rig *r, enum proxy_auth auth)
{
	r->proxy->auth = auth;
	free(r->proxy->user);
	r->proxy->user = cc_strdup("me");
	r->proxy->password = cc_secret_copy(cc_view_of("p:@ss", 6));
	r->proxy->password.size--;
}

/* One blocking attempt for queue.example; its error. */
static cc_err try_for(struct rig *r, const char *host, uint16_t port, int limit_ms)
{
	struct dial_tunnel *t = NULL;
	cc_err err = dial_tunnel_open(r->proxy, host, port, limit_ms, r->cancel_fd, &t);
	dial_tunnel_close(t);
	return err;
}

static void fails(struct rig *r, cc_err code, event_id event, const char *words)
{
	cc_err err = try_for(r, "queue.example", 8443, 10000);
	if (err != code || strstr(cc_err_detail(err), words) == NULL)
		fail_msg("%s: %s", cc_err_name(err), cc_err_detail(err));
	assert_int_equal(dial_event_of(err), event);
	assert_non_null(event_find(event));
}

static void start(struct rig *r)
{
	assert_int_equal(dialer_new(r->loop, &r->proxy, &events, r, &r->dialer), CC_OK);
}

static void dial(struct rig *r, const char *host, uint16_t port)
{
	unsigned before = r->told;
	loop_timer_set(r->limit, LIMIT_MS);
	dialer_dial(r->dialer, host, port);
	assert_int_equal(r->told, before);
	loop_run(r->loop);
	assert_int_equal(r->told, before + 1);
}

static int join_relay(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = strlen(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(address.sun_path + 1, name, n);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	if (connect(fd, (const struct sockaddr *)&address, size) == 0)
		return fd;
	close(fd);
	return -1;
}

static void pass_through(int fd, size_t size)
{
	uint8_t *sent = cc_alloc(size), *got = cc_alloc(size);
	size_t out = 0, in = 0;
	for (size_t i = 0; i < size; i++)
		sent[i] = (uint8_t)(i * 7);
	while (in < size) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (out < size)
			p.events |= POLLOUT;
		assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
		if ((p.revents & POLLOUT) != 0) {
			ssize_t n = send(fd, sent + out, size - out, MSG_DONTWAIT | MSG_NOSIGNAL);
			assert_true(n > 0);
			out += (size_t)n;
		}
		if ((p.revents & (POLLIN | POLLHUP)) != 0) {
			ssize_t n = recv(fd, got + in, size - in, MSG_DONTWAIT);
			assert_true(n > 0);
			in += (size_t)n;
		}
	}
	assert_memory_equal(sent, got, size);
	free(sent);
	free(got);
}

/* The other side has ended. */
static void is_cut(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;
	assert_int_equal(poll(&p, 1, LIMIT_MS), 1);
	assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0);
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;
	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* ---- what works ---- */

static const struct script_step echoes[] = {{SCRIPT_ECHO, NULL, 0}};

static void a_direct_connection_carries_bytes_both_ways(void **state)
{
	struct rig *r = *state;
	r->peer = script_peer_new(echoes);
	start(r);
	dial(r, "127.0.0.1", script_peer_port(r->peer));
	assert_int_equal(r->why, CC_OK);
	int fd = join_relay(r->name);
	assert_true(fd >= 0);
	pass_through(fd, 3 * 1024 * 1024 + 17);
	assert_int_equal(join_relay(r->name), -1);
	close(fd);
}

static void an_answer_that_comes_byte_by_byte_is_understood(void **state)
{
	static const struct script_step script[] = {{SCRIPT_READ_HEAD, NULL, 0},
		{SCRIPT_SEND_SLOW, OK_ANSWER, 0}, {SCRIPT_ECHO, NULL, 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_HTTP, script);
	start(r);
	dial(r, "queue.example", 8443);
	assert_int_equal(r->why, CC_OK);
	int fd = join_relay(r->name);
	pass_through(fd, 100000);
	close(fd);
	assert_non_null(strstr(script_peer_head(r->peer), "CONNECT queue.example:8443 HTTP/1.1"));
	assert_null(strstr(script_peer_head(r->peer), "Authorization"));
}

static void a_number_of_ipv6_is_asked_for_in_brackets(void **state)
{
	static const struct script_step script[] = {
		{SCRIPT_READ_HEAD, NULL, 0}, {SCRIPT_SEND, OK_ANSWER, 0}, {SCRIPT_ECHO, NULL, 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_HTTP, script);
	assert_int_equal(try_for(r, "2001:db8::1", 443, 5000), CC_OK);
	assert_non_null(strstr(script_peer_head(r->peer), "CONNECT [2001:db8::1]:443 HTTP/1.1"));
}

static void basic_credentials_are_sent_as_they_are(void **state)
{
	static const struct script_step script[] = {
		{SCRIPT_READ_HEAD, NULL, 0}, {SCRIPT_SEND, OK_ANSWER, 0}, {SCRIPT_ECHO, NULL, 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_HTTP, script);
	authenticate(r, PROXY_AUTH_BASIC);
	assert_int_equal(try_for(r, "queue.example", 8443, 5000), CC_OK);
	assert_non_null(/* me:p:@ss */
		strstr(script_peer_head(r->peer), "Proxy-Authorization: Basic bWU6cDpAc3M=\r\n"));
}

static void a_socks_proxy_resolves_the_name_itself(void **state)
{
	static const struct script_step script[] = {{SCRIPT_READ, NULL, 3},
		{SCRIPT_SEND, "\5\0", 2}, {SCRIPT_READ, NULL, 5 + 13 + 2},
		{SCRIPT_SEND, "\5\0\0\1\177\0\0\1\0\0", 10}, {SCRIPT_ECHO, NULL, 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_SOCKS5H, script);
	assert_int_equal(try_for(r, "queue.example", 8443, 5000), CC_OK);
}

static void the_environment_names_no_proxy(void **state)
{
	struct rig *r = *state;
	r->peer = script_peer_new(echoes);
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "socks5://127.0.0.1:1", 1);
	cc_err err = try_for(r, "127.0.0.1", script_peer_port(r->peer), 5000);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	assert_int_equal(err, CC_OK);
}

/* ---- what fails, and how it is called ---- */

static void a_proxy_that_wants_authentication_says_which(void **state)
{
	static const struct script_step script[] = {{SCRIPT_READ_HEAD, NULL, 0},
		{SCRIPT_SEND,
			"HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic realm=\"x\"\r\n"
			"Proxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
			0},
		{SCRIPT_END, NULL, 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_HTTP, script);
	fails(r, CC_PROXY_AUTH, EV_PROXY_AUTHENTICATION, "offers Basic, NTLM; none is configured");
	authenticate(r, PROXY_AUTH_BASIC);
	fails(r, CC_PROXY_AUTH, EV_PROXY_AUTHENTICATION, "did not take basic authentication as me");
	assert_null(strstr(cc_err_detail(CC_PROXY_AUTH), "p:@ss"));
}

static void refuses_with(
	struct rig *r, const char *answer, cc_err code, event_id event, const char *words)
{
	const struct script_step script[] = {
		{SCRIPT_READ_HEAD, NULL, 0}, {SCRIPT_SEND, answer, 0}, {SCRIPT_END, NULL, 0}};
	use_proxy(r, PROXY_HTTP, script);
	fails(r, code, event, words);
	script_peer_free(r->peer);
	r->peer = NULL;
}

static void refusals_of_a_proxy_are_told_apart(void **state)
{
	struct rig *r = *state;
	refuses_with(r, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", CC_PROXY_DENIED,
		EV_PROXY_DENIED, "does not allow a connection to queue.example port 8443 (403)");
	refuses_with(r, "HTTP/1.0 502 Bad Gateway\r\n\r\n", CC_PROXY_GATEWAY, EV_PROXY_CANNOT_REACH,
		"cannot reach queue.example port 8443 (502)");
	refuses_with(r, "HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n", CC_PROXY_GATEWAY,
		EV_PROXY_CANNOT_REACH, "(504)");
	refuses_with(r, "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
		CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD, "status 302");
}

static void what_is_no_proxy_is_told_at_once(void **state)
{
	struct rig *r = *state;
	static const struct script_step talks[] = {
		{SCRIPT_SEND, "SSH-2.0-Something\r\n", 0}, {SCRIPT_SILENT, NULL, 0}};
	static const struct script_step closes[] = {{SCRIPT_END, NULL, 0}};
	static const struct script_step reads_and_closes[] = {
		{SCRIPT_READ_HEAD, NULL, 0}, {SCRIPT_END, NULL, 0}};
	const struct script_step *const all[] = {talks, closes, reads_and_closes};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		use_proxy(r, PROXY_HTTP, all[i]);
		fails(r, CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD,
			i == 0 ? "does not answer as a proxy does" : "gave no answer: ");
		script_peer_free(r->peer);
		r->peer = NULL;
	}
}

static void a_header_without_an_end_is_cut_off(void **state)
{
	static const struct script_step lines[] = {{SCRIPT_READ_HEAD, NULL, 0},
		{SCRIPT_SEND, "HTTP/1.1 200 OK\r\n", 0},
		{SCRIPT_SEND_AGAIN, "X-More: more\r\n", 0}};
	static const struct script_step line[] = {{SCRIPT_READ_HEAD, NULL, 0},
		{SCRIPT_SEND, "HTTP/1.1 200 ", 0}, {SCRIPT_SEND_AGAIN, "OOOOOOOOOOOOOOOO", 0}};
	struct rig *r = *state;
	use_proxy(r, PROXY_HTTP, lines);
	fails(r, CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD, "a header without an end");
	script_peer_free(r->peer);
	use_proxy(r, PROXY_HTTP, line);
	fails(r, CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD,
		"gave no answer: CONNECT response too large");
}

static void a_proxy_that_never_answers_has_a_limit(void **state)
{
	static const struct script_step script[] = {{SCRIPT_SILENT, NULL, 0}};
	struct rig *r = *state;
	int64_t begun = clock_boottime_ms();
	use_proxy(r, PROXY_HTTP, script);
	cc_err err = try_for(r, "queue.example", 8443, SHORT_MS);
	assert_int_equal(err, CC_PROXY_UNREACHABLE);
	assert_non_null(strstr(cc_err_detail(err), "did not answer in time"));
	assert_in_range(clock_boottime_ms() - begun, SHORT_MS - 50, SHORT_MS + 3000);
}

static void answers_of_socks_are_told_apart(void **state)
{
	static const struct {
		const char *answers[2];
		size_t sizes[2];
		cc_err code;
		event_id event;
	} cases[] = {
		{{"\5\377", ""}, {2, 0}, CC_PROXY_AUTH, EV_PROXY_AUTHENTICATION},
		{{"\5\0", "\5\2\0\1\0\0\0\0\0\0"}, {2, 10}, CC_PROXY_DENIED, EV_PROXY_DENIED},
		{{"\5\0", "\5\4\0\1\0\0\0\0\0\0"}, {2, 10}, CC_PROXY_GATEWAY,
			EV_PROXY_CANNOT_REACH},
		{{"\5\0", "\5\5\0\1\0\0\0\0\0\0"}, {2, 10}, CC_PROXY_GATEWAY,
			EV_PROXY_CANNOT_REACH},
		{{"HTTP/1.1 400 no\r\n", ""}, {17, 0}, CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD},
	};
	struct rig *r = *state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct script_step script[] = {{SCRIPT_READ, NULL, 3},
			{SCRIPT_SEND, cases[i].answers[0], cases[i].sizes[0]},
			{cases[i].sizes[1] > 0 ? SCRIPT_READ : SCRIPT_END, NULL, 5 + 13 + 2},
			{SCRIPT_SEND, cases[i].answers[1], cases[i].sizes[1]},
			{SCRIPT_END, NULL, 0}};
		use_proxy(r, PROXY_SOCKS5H, script);
		fails(r, cases[i].code, cases[i].event, "127.0.0.1");
		script_peer_free(r->peer);
		r->peer = NULL;
	}
}

static void ports_that_nobody_listens_on_are_told_apart(void **state)
{
	static const struct script_step script[] = {{SCRIPT_END, NULL, 0}};
	struct rig *r = *state;
	cc_err err = try_for(r, "127.0.0.1", 1, 5000);
	assert_int_equal(err, CC_UNREACHABLE);
	assert_non_null(strstr(cc_err_detail(err), "127.0.0.1 port 1: Connection refused"));
	use_proxy(r, PROXY_HTTP, script);
	r->proxy->port = 1;
	fails(r, CC_PROXY_UNREACHABLE, EV_PROXY_UNREACHABLE,
		"127.0.0.1 port 1: Connection refused");
}

static void a_name_that_is_not_known_is_told_by_name(void **state)
{
	struct rig *r = *state;
	cc_err err = try_for(r, "no-such-host.invalid", 443, 2000);
	assert_int_equal(err, CC_NO_NAME);
	assert_non_null(strstr(cc_err_detail(err), "no-such-host.invalid cannot be resolved"));
	r->proxy->kind = PROXY_HTTP;
	r->proxy->host = cc_strdup("no-such-proxy.invalid");
	r->proxy->port = 3128;
	err = try_for(r, "queue.example", 443, 2000);
	assert_int_equal(err, CC_NO_NAME);
	assert_non_null(strstr(cc_err_detail(err), "the proxy, no-such-proxy.invalid"));
}

/* ---- giving up, and what is left behind ---- */

static void an_attempt_that_is_given_up_tells_nothing_and_ends(void **state)
{
	static const struct script_step script[] = {{SCRIPT_SILENT, NULL, 0}};
	struct rig *r = *state;
	int64_t begun = clock_boottime_ms();
	use_proxy(r, PROXY_HTTP, script);
	start(r);
	dialer_dial(r->dialer, "queue.example", 8443);
	assert_int_equal(dialer_thread_count(r->dialer), 1);
	dialer_give_up(r->dialer);
	while (dialer_thread_count(r->dialer) > 0)
		assert_in_range(clock_boottime_ms() - begun, 0, LIMIT_MS);
	assert_int_equal(r->told, 0);
	assert_in_range(clock_boottime_ms() - begun, 0, 5000);
}

static void a_connection_that_is_given_up_is_cut(void **state)
{
	struct rig *r = *state;
	r->peer = script_peer_new(echoes);
	start(r);
	dial(r, "127.0.0.1", script_peer_port(r->peer));
	int fd = join_relay(r->name);
	pass_through(fd, 1000);
	dialer_give_up(r->dialer);
	is_cut(fd);
	close(fd);
}

static void what_was_said_before_the_end_is_delivered(void **state)
{
	static const struct script_step script[] = {
		{SCRIPT_READ, NULL, 4}, {SCRIPT_SEND, "last words", 10}, {SCRIPT_END, NULL, 0}};
	struct rig *r = *state;
	char got[16] = "";
	size_t n = 0;
	r->peer = script_peer_new(script);
	start(r);
	dial(r, "127.0.0.1", script_peer_port(r->peer));
	int fd = join_relay(r->name);
	assert_int_equal(send(fd, "ping", 4, 0), 4);
	for (ssize_t more = 1; more > 0 && n < sizeof(got) - 1; n += (size_t)more)
		more = recv(fd, got + n, sizeof(got) - 1 - n, 0);
	assert_string_equal(got, "last words");
	close(fd);
}

static void what_was_said_before_it_is_freed_is_delivered(void **state)
{
	struct rig *r = *state;
	enum { SIZE = 300 * 1024 };
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	char room[4096] = "";
	size_t sent = 0, got = 0;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&address, &size);
	start(r);
	dial(r, "127.0.0.1", ntohs(address.sin_port));
	int fd = join_relay(r->name), server = accept(listener, NULL, NULL);
	while (sent < SIZE) {
		ssize_t n = send(fd, room, sizeof(room), MSG_NOSIGNAL);
		assert_true(n > 0);
		sent += (size_t)n;
	}
	dialer_free(r->dialer);
	r->dialer = NULL;
	close(fd);
	for (ssize_t n = 1; n > 0; got += (size_t)n)
		n = recv(server, room, sizeof(room), 0);
	assert_int_equal(got, sent);
	close(server);
	close(listener);
}

static bool put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	bool good = f != NULL && fputs(text, f) >= 0;
	return f != NULL && fclose(f) == 0 && good;
}

/* Without root it takes a user namespace, in which we are root and own what we make. */
static bool own_namespace(void)
{
	char user[32], group[32];
	snprintf(user, sizeof(user), "0 %u 1\n", geteuid());
	snprintf(group, sizeof(group), "0 %u 1\n", getegid());
	return unshare(CLONE_NEWNS) == 0 ||
	       (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put("/proc/self/uid_map", user) &&
		       put("/proc/self/setgroups", "deny") && put("/proc/self/gid_map", group));
}

/* For this process alone: an /etc with nothing in it but these names. */
static bool name_hosts(const char *hosts)
{
	if (!own_namespace())
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/etc", "tmpfs", 0, NULL) == 0 &&
	       put("/etc/nsswitch.conf", "hosts: files\n") && put("/etc/hosts", hosts);
}

static bool is_first(const char *name, const char *number)
{
	struct addrinfo *list = NULL, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	char first[INET_ADDRSTRLEN] = "";
	if (getaddrinfo(name, NULL, &hints, &list) == 0) {
		(void)getnameinfo(list->ai_addr, list->ai_addrlen, first, sizeof(first), NULL, 0,
			NI_NUMERICHOST);
		freeaddrinfo(list);
	}
	return strcmp(first, number) == 0;
}

/* In a process of its own, since the names are the process's.  Of loopback's addresses the resolver
 * has 127.0.0.1 first, whatever the order in its file. */
static int try_each_address(struct rig *r, uint16_t port)
{
	enum { DONE, FAILED, NOT_HERE };
	static const char hosts[] = "127.0.0.1 several.test none.test\n127.0.0.2 several.test\n"
				    "127.0.0.3 none.test\n";
	if (!name_hosts(hosts))
		return NOT_HERE;
	if (!is_first("several.test", "127.0.0.1")) {
		print_message("the address that answers is not the last\n");
		return FAILED;
	}
	cc_err some = try_for(r, "several.test", port, 5000);
	if (some != CC_OK) {
		print_message("several.test: %s\n", cc_err_detail(some));
		return FAILED;
	}
	return try_for(r, "none.test", port, 5000) == CC_UNREACHABLE ? DONE : FAILED;
}

static void each_address_of_a_name_is_tried(void **state)
{
	struct rig *r = *state;
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int status = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(inet_pton(AF_INET, "127.0.0.2", &address.sin_addr), 1);
	assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&address, &size);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(try_each_address(r, ntohs(address.sin_port)));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(listener);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
		print_message("SKIPPED: no mount namespace for names of its own\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void another_process_cannot_take_the_connection(void **state)
{
	struct rig *r = *state;
	char byte;
	int status = 1;
	r->peer = script_peer_new(echoes);
	start(r);
	dial(r, "127.0.0.1", script_peer_port(r->peer));
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = join_relay(r->name);
		bool refused = fd >= 0 && recv(fd, &byte, 1, 0) <= 0;
		_exit(refused ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	int fd = join_relay(r->name);
	assert_true(fd >= 0);
	pass_through(fd, 1000);
	close(fd);
}

static void forget_threads(struct rig *r)
{
	int64_t begun = clock_boottime_ms();
	dialer_give_up(r->dialer);
	while (dialer_thread_count(r->dialer) > 0)
		assert_in_range(clock_boottime_ms() - begun, 0, LIMIT_MS);
}

static void an_attempt_at_each_turn_leaves_nothing_behind(void **state)
{
	struct rig *r = *state;
	r->peer = script_peer_new(echoes);
	size_t tasks = count_entries("/proc/self/task");
	start(r);
	dial(r, "127.0.0.1", 1);
	forget_threads(r);
	size_t fds = count_entries("/proc/self/fd");
	for (int i = 0; i < ATTEMPTS; i++) {
		/* one fails, one is given up while it dials, one while it is connected */
		if (i % 3 == 0) {
			dial(r, "127.0.0.1", 1);
			assert_int_equal(r->why, CC_UNREACHABLE);
		} else if (i % 3 == 1) {
			dialer_dial(r->dialer, "127.0.0.1", script_peer_port(r->peer));
			dialer_give_up(r->dialer);
		} else {
			dial(r, "127.0.0.1", script_peer_port(r->peer));
		}
		while (dialer_thread_count(r->dialer) >= DIALER_THREADS_MAX)
			sched_yield();
	}
	forget_threads(r);
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	/* a thread has left the count a moment before it has left the process */
	int64_t begun = clock_boottime_ms();
	while (count_entries("/proc/self/task") > tasks)
		assert_in_range(clock_boottime_ms() - begun, 0, LIMIT_MS);
}

static void more_threads_than_may_be_are_refused(void **state)
{
	/* none of them is heard of: 192.0.2.1 is nobody's (RFC 5737), or refused at once */
	struct rig *r = *state;
	start(r);
	for (int i = 0; i < 3 * DIALER_THREADS_MAX; i++)
		dialer_dial(r->dialer, "192.0.2.1", 443);
	assert_in_range(dialer_thread_count(r->dialer), 0, DIALER_THREADS_MAX);
	forget_threads(r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_direct_connection_carries_bytes_both_ways),
		TEST(an_answer_that_comes_byte_by_byte_is_understood),
		TEST(a_number_of_ipv6_is_asked_for_in_brackets),
		TEST(basic_credentials_are_sent_as_they_are),
		TEST(a_socks_proxy_resolves_the_name_itself),
		TEST(the_environment_names_no_proxy),
		TEST(a_proxy_that_wants_authentication_says_which),
		TEST(refusals_of_a_proxy_are_told_apart),
		TEST(what_is_no_proxy_is_told_at_once),
		TEST(a_header_without_an_end_is_cut_off),
		TEST(a_proxy_that_never_answers_has_a_limit),
		TEST(answers_of_socks_are_told_apart),
		TEST(ports_that_nobody_listens_on_are_told_apart),
		TEST(a_name_that_is_not_known_is_told_by_name),
		TEST(an_attempt_that_is_given_up_tells_nothing_and_ends),
		TEST(a_connection_that_is_given_up_is_cut),
		TEST(what_was_said_before_the_end_is_delivered),
		TEST(what_was_said_before_it_is_freed_is_delivered),
		TEST(each_address_of_a_name_is_tried),
		TEST(another_process_cannot_take_the_connection),
		TEST(an_attempt_at_each_turn_leaves_nothing_behind),
		TEST(more_threads_than_may_be_are_refused),
	};
	if (dialer_start_library() != CC_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

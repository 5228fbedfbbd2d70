/*
 * libcurl with CONNECT_ONLY: it makes the connection and leaves it to us.
 *
 * The multi interface is used for one transfer because its wait can be broken off by a descriptor.
 * libcurl reads a proxy's answer line by line; each line passes take_line, which ends an answer that is
 * not HTTP or has no end before the time limit would.
 */
#include "connector/dial_tunnel.h"

#include "base/clock.h"
#include "connector/dial_judge.h"
#include <curl/curl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER_MAX = 32 * 1024 };

struct dial_tunnel {
	const struct proxy *proxy;
	const char *host;
	uint16_t port;
	CURLM *multi;
	CURL *easy;
	char *url, *proxy_url;
	curl_socket_t fd;
	char words[CURL_ERROR_SIZE];
	/* of the proxy's answers */
	size_t header_size;
	bool between_answers, answered, garbage, endless, met;
};

static size_t take_line(char *line, size_t size, size_t count, void *arg)
{
	static const char protocol[] = "HTTP/1.";
	struct dial_tunnel *t = arg;
	size_t n = size * count;
	cc_view begin = cc_view_part(cc_view_of(line, n), 0, sizeof(protocol) - 1);

	t->answered = true;
	t->header_size += n;
	t->endless = t->header_size > HEADER_MAX;
	t->garbage = t->between_answers && !cc_view_equal(begin, cc_view_text(protocol));
	t->between_answers = n <= 2; /* the empty line; a 407 is followed by the next answer */
	return t->endless || t->garbage ? 0 : n;
}

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
	(void)data;
	(void)arg;
	return size * count;
}

/* libcurl does not tell whether there was a connection when what came after it took too long. */
static int close_socket(void *arg, curl_socket_t fd)
{
	struct dial_tunnel *t = arg;
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	t->met |= getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
	return close(fd);
}

/* ---- setting up ---- */

/* "http://host:port", with brackets around a number of IPv6. */
static char *make_url(const char *scheme, const char *host, uint16_t port)
{
	bool number = strchr(host, ':') != NULL;

	return cc_asprintf("%s://%s%s%s:%u", scheme, number ? "[" : "", host, number ? "]" : "",
		(unsigned)port);
}

static void set_authentication(CURL *curl, const struct proxy *p)
{
	static const unsigned long methods[] = {[PROXY_AUTH_NONE] = CURLAUTH_NONE,
		[PROXY_AUTH_BASIC] = CURLAUTH_BASIC,
		[PROXY_AUTH_DIGEST] = CURLAUTH_DIGEST,
		[PROXY_AUTH_NTLM] = CURLAUTH_NTLM,
		[PROXY_AUTH_NEGOTIATE] = CURLAUTH_NEGOTIATE};

	curl_easy_setopt(curl, CURLOPT_SOCKS5_AUTH, CURLAUTH_BASIC); /* no GSS-API in SOCKS */
	if (p->auth == PROXY_AUTH_NONE)
		return;
	curl_easy_setopt(curl, CURLOPT_PROXYAUTH, methods[p->auth]);
	curl_easy_setopt(curl, CURLOPT_PROXYUSERNAME, p->user);
	curl_easy_setopt(curl, CURLOPT_PROXYPASSWORD,
		p->password.size > 0 ? (const char *)p->password.data : "");
}

static void set_proxy(struct dial_tunnel *t)
{
	static const char *const schemes[] = {[PROXY_HTTP] = "http",
		[PROXY_HTTPS] = "https",
		[PROXY_SOCKS5] = "socks5",
		[PROXY_SOCKS5H] = "socks5h"};
	const struct proxy *p = t->proxy;
	CURL *curl = t->easy;

	curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
	if (p->kind == PROXY_NONE) {
		curl_easy_setopt(curl, CURLOPT_PROXY, "");
		return;
	}
	t->proxy_url = make_url(schemes[p->kind], p->host, p->port);
	curl_easy_setopt(curl, CURLOPT_PROXY, t->proxy_url);
	set_authentication(curl, p);
	if (p->kind == PROXY_HTTP || p->kind == PROXY_HTTPS)
		curl_easy_setopt(curl, CURLOPT_HTTPPROXYTUNNEL, 1L);
	if (p->kind == PROXY_HTTPS) {
		struct curl_blob ca = {p->ca_pem.data, p->ca_pem.size, CURL_BLOB_NOCOPY};
		curl_easy_setopt(curl, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
		curl_easy_setopt(curl, CURLOPT_PROXY_SSL_VERIFYPEER, 1L);
		curl_easy_setopt(curl, CURLOPT_PROXY_SSL_VERIFYHOST, 2L);
		curl_easy_setopt(curl, CURLOPT_PROXY_CAPATH, NULL);
		curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO, NULL);
		curl_easy_setopt(curl, CURLOPT_PROXY_CAINFO_BLOB, &ca);
	}
}

static void set_options(struct dial_tunnel *t, int limit_ms)
{
	CURL *curl = t->easy;

	t->url = make_url("http", t->host, t->port);
	curl_easy_setopt(curl, CURLOPT_URL, t->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L); /* a resolver that hangs is left alone */
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)limit_ms);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)limit_ms);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "certconnector/" CC_RELEASE);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->words);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_line);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, t);
	set_proxy(t);
}

/* ---- the attempt ---- */

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static cc_err wait_done(struct dial_tunnel *t, int limit_ms, int cancel_fd, CURLcode *ret)
{
	int64_t end = clock_boottime_ms() + limit_ms + 1000; /* libcurl keeps the limit itself */
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};

	for (;;) {
		int running = 0, left = 0;
		if (curl_multi_perform(t->multi, &running) != CURLM_OK)
			return cc_fail(CC_INTERNAL, "libcurl cannot go on");
		CURLMsg *m = curl_multi_info_read(t->multi, &left);
		if (m != NULL && m->msg == CURLMSG_DONE) {
			*ret = m->data.result;
			return CC_OK;
		}
		if (is_readable(cancel_fd))
			return cc_fail(CC_CLOSED, "the attempt was given up");
		if (clock_boottime_ms() >= end) {
			*ret = CURLE_OPERATION_TIMEDOUT;
			return CC_OK;
		}
		curl_multi_poll(t->multi, &cancel, 1, 1000, NULL);
	}
}

static cc_err judge(struct dial_tunnel *t, CURLcode rc)
{
	struct dial_trace trace = {.proxy = t->proxy,
		.host = t->host,
		.port = t->port,
		.rc = (int)rc,
		.answered = t->answered,
		.garbage = t->garbage,
		.words = t->words[0] != '\0' ? t->words : curl_easy_strerror(rc)};
	curl_off_t name_us = 0;
	long offered = 0;

	curl_easy_getinfo(t->easy, CURLINFO_HTTP_CONNECTCODE, &trace.connect_status);
	curl_easy_getinfo(t->easy, CURLINFO_PROXY_ERROR, &trace.proxy_error);
	curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &trace.os_errno);
	curl_easy_getinfo(t->easy, CURLINFO_PROXYAUTH_AVAIL, &offered);
	curl_easy_getinfo(t->easy, CURLINFO_NAMELOOKUP_TIME_T, &name_us);
	trace.offered = (unsigned long)offered;
	trace.resolved = name_us > 0 && rc != CURLE_COULDNT_RESOLVE_HOST &&
			 rc != CURLE_COULDNT_RESOLVE_PROXY;
	trace.connected = t->met || t->answered ||
			  (rc != CURLE_COULDNT_CONNECT && rc != CURLE_OPERATION_TIMEDOUT);
	trace.endless = t->endless;
	return dial_judge(&trace);
}

cc_err dial_tunnel_open(const struct proxy *proxy, const char *host, uint16_t port, int limit_ms,
	int cancel_fd, struct dial_tunnel **ret)
{
	struct dial_tunnel *t = cc_alloc(sizeof(*t));
	CURLcode rc = CURLE_OK;
	cc_err err = CC_OK;

	t->proxy = proxy;
	t->host = host;
	t->port = port;
	t->fd = CURL_SOCKET_BAD;
	t->between_answers = true;
	t->easy = curl_easy_init();
	t->multi = curl_multi_init();
	ENSURE(t->easy != NULL && t->multi != NULL,
		cc_fail(CC_INTERNAL, "libcurl could not be started"));
	set_options(t, limit_ms);
	ENSURE(curl_multi_add_handle(t->multi, t->easy) == CURLM_OK,
		cc_fail(CC_INTERNAL, "libcurl could not be started"));
	TRY(wait_done(t, limit_ms, cancel_fd, &rc));
	if (rc != CURLE_OK)
		TRY(judge(t, rc));
	ENSURE(curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &t->fd) == CURLE_OK &&
			t->fd != CURL_SOCKET_BAD,
		cc_fail(CC_CLOSED, "%s port %u: the connection ended at once", host, port));
	*ret = t;
	t = NULL;
out:
	dial_tunnel_close(t);
	return err;
}

void dial_tunnel_close(struct dial_tunnel *t)
{
	if (t == NULL)
		return;
	if (t->multi != NULL && t->easy != NULL)
		curl_multi_remove_handle(t->multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_multi_cleanup(t->multi);
	free(t->url);
	free(t->proxy_url);
	free(t);
}

/* ---- what goes through ---- */

int dial_tunnel_fd(const struct dial_tunnel *t)
{
	return t->fd;
}

cc_err dial_tunnel_read(struct dial_tunnel *t, uint8_t *to, size_t room, size_t *ret_size)
{
	size_t n = 0;
	CURLcode rc = curl_easy_recv(t->easy, to, room, &n);

	if (rc == CURLE_AGAIN)
		return CC_AGAIN;
	if (rc != CURLE_OK || n == 0)
		return CC_CLOSED;
	*ret_size = n;
	return CC_OK;
}

cc_err dial_tunnel_write(struct dial_tunnel *t, cc_view bytes, size_t *ret_size)
{
	size_t n = 0;
	CURLcode rc = curl_easy_send(t->easy, bytes.data, bytes.size, &n);

	if (rc == CURLE_AGAIN)
		return CC_AGAIN;
	if (rc != CURLE_OK)
		return CC_CLOSED;
	*ret_size = n;
	return CC_OK;
}

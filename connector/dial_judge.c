/*
 * One failure, one name.  libcurl gives a code that is coarse and words that are its own; which side
 * failed follows from how far the attempt came: name, connection, TLS to the proxy, its answer.
 */
#include "connector/dial_judge.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

event_id dial_event_of(cc_err why)
{
	static const struct {
		cc_err code;
		event_id event;
	} events[] = {
		{CC_NO_NAME, EV_NAME_NOT_RESOLVED},
		{CC_UNREACHABLE, EV_QUEUE_UNREACHABLE},
		{CC_TIMEOUT, EV_QUEUE_TIMED_OUT},
		{CC_PROXY_UNREACHABLE, EV_PROXY_UNREACHABLE},
		{CC_PROXY_AUTH, EV_PROXY_AUTHENTICATION},
		{CC_PROXY_DENIED, EV_PROXY_DENIED},
		{CC_PROXY_GATEWAY, EV_PROXY_CANNOT_REACH},
		{CC_PROXY_PROTOCOL, EV_PROXY_NOT_UNDERSTOOD},
		{CC_PROXY_TLS, EV_PROXY_NOT_BELIEVED},
		{CC_TLS_INTERCEPTED, EV_TLS_INTERCEPTED},
		{CC_TLS_NAME, EV_TLS_NAME_MISMATCH},
		{CC_TLS_EXPIRED, EV_TLS_OUT_OF_TIME},
		{CC_CLIENT_CERTIFICATE, EV_CLIENT_CERTIFICATE_REFUSED},
	};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (events[i].code == why)
			return events[i].event;
	}
	return EV_CONNECTION_FAILED;
}

/* "Basic, NTLM"; caller frees. */
static char *offered_text(unsigned long offered)
{
	static const struct {
		unsigned long bit;
		const char *name;
	} methods[] = {{CURLAUTH_BASIC, "Basic"}, {CURLAUTH_DIGEST, "Digest"},
		{CURLAUTH_NTLM, "NTLM"}, {CURLAUTH_NEGOTIATE, "Negotiate"},
		{CURLAUTH_BEARER, "Bearer"}};
	cc_blob list = CC_BLOB_NONE;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if ((offered & methods[i].bit) != 0)
			cc_blob_printf(&list, "%s%s", list.size > 0 ? ", " : "", methods[i].name);
	}
	char *text = cc_strdup(list.size > 0 ? cc_blob_text(&list) : "no method that is known");
	cc_blob_free(&list);
	return text;
}

static cc_err fail_authentication(const struct dial_trace *t)
{
	const struct proxy *p = t->proxy;
	char *offered = offered_text(t->offered);
	cc_err err;

	if (p->auth == PROXY_AUTH_NONE)
		err = cc_fail(CC_PROXY_AUTH,
			"the proxy %s port %u wants authentication (407) and offers %s; none is "
			"configured",
			p->host, p->port, offered);
	else
		err = cc_fail(CC_PROXY_AUTH,
			"the proxy %s port %u did not take %s authentication%s%s (407); it offers "
			"%s",
			p->host, p->port, proxy_auth_name(p->auth),
			p->user[0] != '\0' ? " as " : "", p->user, offered);
	free(offered);
	return err;
}

/* The proxy's answer to CONNECT (RFC 9110 section 9.3.6) was not 2xx. */
static cc_err fail_status(const struct dial_trace *t)
{
	const struct proxy *p = t->proxy;
	long status = t->connect_status;

	if (status == 407)
		return fail_authentication(t);
	if (status >= 500)
		return cc_fail(CC_PROXY_GATEWAY,
			"the proxy %s port %u cannot reach %s port %u (%ld)", p->host, p->port,
			t->host, t->port, status);
	if (status >= 400)
		return cc_fail(CC_PROXY_DENIED,
			"the proxy %s port %u does not allow a connection to %s port %u (%ld)",
			p->host, p->port, t->host, t->port, status);
	return cc_fail(CC_PROXY_PROTOCOL, "the proxy %s port %u answered CONNECT with status %ld",
		p->host, p->port, status);
}

/* RFC 1928 section 6, RFC 1929. */
static cc_err fail_socks(const struct dial_trace *t)
{
	const struct proxy *p = t->proxy;

	switch (t->proxy_error) {
	case CURLPX_USER_REJECTED:
	case CURLPX_NO_AUTH:
		return cc_fail(CC_PROXY_AUTH, "the SOCKS proxy %s port %u did not take %s", p->host,
			p->port,
			p->auth == PROXY_AUTH_NONE ? "a client without user and password"
						   : "user and password");
	case CURLPX_REPLY_NOT_ALLOWED:
		return cc_fail(CC_PROXY_DENIED,
			"the SOCKS proxy %s port %u does not allow a connection to %s port %u",
			p->host, p->port, t->host, t->port);
	case CURLPX_RESOLVE_HOST:
		return cc_fail(CC_NO_NAME, "the name %s cannot be resolved", t->host);
	case CURLPX_REPLY_GENERAL_SERVER_FAILURE:
	case CURLPX_REPLY_NETWORK_UNREACHABLE:
	case CURLPX_REPLY_HOST_UNREACHABLE:
	case CURLPX_REPLY_CONNECTION_REFUSED:
	case CURLPX_REPLY_TTL_EXPIRED:
		return cc_fail(CC_PROXY_GATEWAY,
			"the SOCKS proxy %s port %u cannot reach %s port %u: %s", p->host, p->port,
			t->host, t->port, t->words);
	default:
		return cc_fail(CC_PROXY_PROTOCOL, "%s port %u does not speak SOCKS 5: %s", p->host,
			p->port, t->words);
	}
}

static bool is_tls_failure(int rc)
{
	return rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CONNECT_ERROR ||
	       rc == CURLE_SSL_ISSUER_ERROR || rc == CURLE_SSL_CACERT_BADFILE ||
	       rc == CURLE_SSL_CERTPROBLEM;
}

/* Nothing usable came from a proxy that was there. */
static cc_err fail_answer(const struct dial_trace *t)
{
	const struct proxy *p = t->proxy;

	if (t->endless)
		return cc_fail(CC_PROXY_PROTOCOL,
			"the answer of the proxy %s port %u has a header without an end", p->host,
			p->port);
	if (t->garbage)
		return cc_fail(CC_PROXY_PROTOCOL, "%s port %u does not answer as a proxy does",
			p->host, p->port);
	if (t->rc == CURLE_OPERATION_TIMEDOUT)
		return cc_fail(CC_PROXY_UNREACHABLE,
			"the proxy %s port %u took the connection and then did not answer in time",
			p->host, p->port);
	if (is_tls_failure(t->rc))
		return cc_fail(CC_PROXY_TLS, "TLS to the proxy %s port %u: %s", p->host, p->port,
			t->words);
	if (!t->answered)
		return cc_fail(CC_PROXY_PROTOCOL, "the proxy %s port %u gave no answer: %s",
			p->host, p->port, t->words);
	return cc_fail(CC_PROXY_PROTOCOL, "the proxy %s port %u: %s", p->host, p->port, t->words);
}

/* Name or connection failed, of the queue or of the proxy. */
static cc_err fail_connection(const struct dial_trace *t)
{
	bool direct = t->proxy->kind == PROXY_NONE;
	const char *host = direct ? t->host : t->proxy->host;
	unsigned port = direct ? t->port : t->proxy->port;
	bool late = t->rc == CURLE_OPERATION_TIMEDOUT;
	const char *why = late ? "no answer in time" : t->words;

	if (!t->resolved)
		return cc_fail(CC_NO_NAME, "the name %s%s cannot be resolved%s",
			direct ? "" : "of the proxy, ", host, late ? " in time" : "");
	if (!late && t->os_errno != 0)
		why = strerrordesc_np((int)t->os_errno);
	if (!direct)
		return cc_fail(CC_PROXY_UNREACHABLE, "the proxy %s port %u: %s", host, port, why);
	return cc_fail(late ? CC_TIMEOUT : CC_UNREACHABLE, "%s port %u: %s", host, port, why);
}

cc_err dial_judge(const struct dial_trace *t)
{
	if (t->connect_status != 0 && t->connect_status / 100 != 2 && !t->endless)
		return fail_status(t);
	if (!t->resolved || !t->connected)
		return fail_connection(t);
	if (t->proxy->kind == PROXY_NONE)
		return cc_fail(CC_UNREACHABLE, "%s port %u: %s", t->host, t->port, t->words);
	if (t->rc == CURLE_PROXY)
		return fail_socks(t);
	return fail_answer(t);
}

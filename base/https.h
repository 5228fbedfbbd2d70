/*
 * HTTPS client of the tools, by libcurl.
 *
 * One request at a time, blocking: never in a daemon's loop.  Any thread.  HTTP/1.1, TLS 1.2 or later,
 * no proxy from the environment, answers of at most 4 MiB, a minute in all.
 */
#pragma once

#include "base/blob.h"

/* What stands between here and the server; kinds and methods as in connector.yaml. */
struct https_proxy {
	const char *url;           /* http://host:port; or https, socks5, socks5h */
	const char *auth;          /* none, basic, digest, ntlm, negotiate */
	const char *user;          /* NULL: none */
	const cc_secret *password; /* terminated; NULL: none */
	const char *ca_file;       /* of an https proxy */
};

/* HTTPS by libcurl.  The server is believed by the pin (SHA-256 of the SPKI of a CA in the chain that
 * it sends) or by the file, never by the system's list; its name is checked in any case. */
struct https_request {
	const char *url;
	cc_view ca_pin; /* or */
	const char *ca_file;
	const char *client_certificate, *client_key; /* optional */
	const cc_secret *bearer;                     /* optional */
	const char *method;                          /* NULL: GET, or POST with a body */
	const char *body;                            /* JSON */
	const char *idempotency_key;     /* optional: the same request sent again is done once */
	const struct https_proxy *proxy; /* NULL: none */
};
/* Fails only when nothing was sent or no answer came; what the status means is the caller's to judge. */
cc_err https_ask(const struct https_request *ask, long *ret_status, cc_blob *ret_body) CC_MUST_USE;
/* The words of a problem document, or of the status.  Caller frees. */
char *https_problem(long status, cc_view body);

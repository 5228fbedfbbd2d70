/*
 * Judge of a dial: what libcurl tells of a failed attempt, as one error with words for an operator.
 *
 * Connector process, any thread; no state.  The error's code says what has to be mended (DNS, firewall,
 * the proxy's password, its rules, ...); dial_event_of gives the event under which it is logged.
 */
#pragma once

#include "base/log.h"
#include "connector/proxy.h"

/* What was seen of one attempt that failed. */
struct dial_trace {
	const struct proxy *proxy;
	const char *host; /* what was to be reached */
	uint16_t port;
	int rc;              /* CURLcode */
	long connect_status; /* of the proxy's last answer; 0: none */
	long proxy_error;    /* CURLproxycode */
	long os_errno;
	unsigned long offered; /* CURLAUTH_ bits of a 407 */
	bool resolved, connected;
	bool answered;         /* at least one line came from the proxy */
	bool garbage, endless; /* that line was none of HTTP; the header had no end */
	const char *words;     /* libcurl's own */
};

cc_err dial_judge(const struct dial_trace *t) CC_MUST_USE;

/* The event of a failure to reach the queue; EV_CONNECTION_FAILED when it has none of its own. */
event_id dial_event_of(cc_err why);

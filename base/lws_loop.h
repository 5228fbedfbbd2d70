/*
 * The loop of base/loop.h run by libwebsockets 4.1, which must own its loop.
 *
 * Connector and queue only.  Watched descriptors live in an epoll set which lws polls as one raw
 * file, timers are lws's sorted list, so lws_service serves sockets and conversations alike.  One
 * descriptor can be watched once.  The vhosts that own WebSockets are made by the caller on
 * lws_loop_context.
 */
#pragma once

#include "base/loop.h"

struct lws_context;

/* `max_fds` bounds the sockets that lws will serve; watches do not count.  lws's own log goes to our
 * log at notice and worse.  Removes http_proxy and the like from the environment: lws would use them unasked. */
cc_err lws_loop_new(unsigned max_fds, struct loop **ret) CC_MUST_USE;
struct lws_context *lws_loop_context(struct loop *l);

/*
 * The parts of a queue, for the files of this room that serve its sockets.  Loop's thread.
 */
#pragma once

#include "base/loop.h"
#include "cloud-queue/queue.h"
#include "cloud-queue/queue_ca.h"
#include "cloud-queue/store.h"

struct control;
struct gateway;
struct http_server;
struct http_waiters;

struct queue {
	const struct queue_config *config;
	struct loop *loop;
	struct store *store;
	struct queue_ca *ca;
	struct gateway *gateway;
	struct http_server *http;
	struct http_waiters *waiters;
	struct control *control;
	struct loop_timer *sweep_timer;
	struct loop_timer *drain_timer;
	bool sweeping;
	bool store_failed; /* told; the next sweep that succeeds is told too */
	bool draining;
	int64_t drain_until_ms; /* boottime */
	cc_err failure;         /* why the loop ended, when the store failed */
	char *connector_url;    /* wss://..., what an enrolled connector dials */
	char *producer_url;     /* https://..., what an enrolment token names */
};

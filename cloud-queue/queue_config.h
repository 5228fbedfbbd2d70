/*
 * The queue's configuration: queue.yaml, read once at start.
 *
 *   state_dir: /var/lib/certqueue
 *   run_dir: /run/certqueue
 *   connectors: {listen: 127.0.0.1, port: 9443, certificate: connectors.pem, key: connectors.key,
 *                client_ca: queue-ca.pem, url: "wss://queue.example.com:9443"}
 *   producers: {listen: 127.0.0.1, port: 9444, certificate: producers.pem, key: producers.key,
 *               url: "https://queue.example.com:9444"}
 *   ca: {certificate: queue-ca.pem, key: queue-ca.key}
 *   lease: 120s            reconnect_grace: 5s      takeover_after: 15m
 *   deadline_grace: 1h     crash_delay: 30s         exclude: 15m             retention: 168h
 *   restored_wait: 15m
 *   ping: 15s              hangup: 25s              drain_grace: 20s
 *   quotas: {open_jobs: 100000, store_max: 64GiB}
 *   log: {format: logfmt, level: info}
 *
 * Paths are relative to the file.  Port 0 takes a free one (the start event and the control socket
 * tell which).  `certificate` files hold the chain, leaf first; a connector that enrols checks that
 * the queue's CA is in the producers' chain, so the chain ends with it.  `client_ca` left out:
 * the queue's own CA.  `url` left out: made of listen and port.
 */
#pragma once

#include "base/conf.h"
#include "base/log.h"

struct queue_listen {
	const char *listen; /* an IPv4 or IPv6 literal */
	uint32_t port;
	const char *certificate;
	const char *key;
	const char *client_ca; /* connectors only */
	const char *url;       /* NULL: made of the bound address */
};

struct queue_config {
	const char *state_dir;
	const char *run_dir;
	struct queue_listen connectors;
	struct queue_listen producers;
	const char *ca_certificate;
	const char *ca_key;
	uint64_t lease_s;
	uint64_t reconnect_grace_s;
	uint64_t takeover_after_s;
	uint64_t restored_wait_s;
	uint64_t deadline_grace_s;
	uint64_t crash_delay_s;
	uint64_t exclude_s;
	uint64_t ping_s;
	uint64_t hangup_s;
	uint64_t retention_s;
	uint64_t drain_grace_s;
	uint32_t quota_open_jobs; /* of one tenant */
	uint64_t store_max;       /* bytes */
	enum log_format log_format;
	enum log_level log_level;
	struct conf *document; /* owns every text above */
};

/* Read and judge the file.  On failure nothing is left behind. */
cc_err queue_config_read(const char *path, struct queue_config *ret) CC_MUST_USE;
void queue_config_clear(struct queue_config *c); /* accepts a zeroed one */
/* The reference page of all keys, appended. */
void queue_config_reference(cc_blob *out);

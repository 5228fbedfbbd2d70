/*
 * Identity: who this connector is to the queue, as enrolment wrote it into STATE/identity.
 *
 * Connector process; read once at start (a reload starts the connector anew).  Only paths and public
 * data: the transport key is read by the TLS library itself.
 */
#pragma once

#include "base/blob.h"

struct identity {
	char *tenant;
	char *connector_id;
	char *queue_url; /* wss://host:port */
	char *host;      /* without brackets */
	uint16_t port;
	char *key_path, *chain_path, *queue_ca_path;
	int64_t not_after_s; /* of the transport certificate */
	int64_t queue_ca_not_after_s;
};

/* CC_NOT_FOUND: not enrolled.  CC_CONFIG, CC_PERMISSION: enrolled, but not usable, and why. */
cc_err identity_load(const char *state_dir, struct identity **ret) CC_MUST_USE;
void identity_free(struct identity *id); /* accepts NULL */

/* "host:port", or with a bracketed IPv6 address; the host is allocated. */
cc_err identity_parse_address(cc_view text, char **ret_host, uint16_t *ret_port) CC_MUST_USE;
/* "wss://host:port", or with a bracketed IPv6 address; the host is allocated. */
cc_err identity_parse_url(cc_view url, char **ret_host, uint16_t *ret_port) CC_MUST_USE;

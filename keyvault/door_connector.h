/*
 * The connector's door: the conversation with the connector process, and nothing else.
 *
 * Keyvault; the loop's thread.  The supervisor passes the end of a conversation, and a new one whenever
 * either side was restarted.  Decision records ride on the answers; what the connector has not
 * confirmed is sent again at the start of each conversation, in order.
 */
#pragma once

#include "keyvault/vault.h"

struct door_connector *door_connector_new(struct vault *v);
void door_connector_free(struct door_connector *d); /* accepts NULL */

/* Takes over `fd`; an older conversation ends. */
void door_connector_open(struct door_connector *d, int fd, const char *peer_name);
/* A decision that was made at the other door. */
void door_connector_tell(struct door_connector *d, uint64_t counter, cc_view record);

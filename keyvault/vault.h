/*
 * Vault: what all requests of the keyvault share.
 *
 * Keyvault.  Made by the role before its walls go up, given to every call.  Worker threads use the key
 * store, the state's reads, the ticket ring and the pool, each of which has its own locking; everything
 * else belongs to the loop's thread.
 */
#pragma once

#include "keyvault/keystore.h"
#include "keyvault/pool.h"
#include "keyvault/rules.h"
#include "keyvault/state.h"
#include "keyvault/ticket.h"
#include "keyvault/workers.h"
#include "role/v1/role.pb-c.h"

struct door_connector;
struct door_admin;
struct role_link;

#define VAULT_FINISH_MARGIN_S (48 * 3600) /* a ticket outlives the waiting for a CA by this */

struct vault {
	struct loop *loop;
	struct keystore *keys;
	struct state *state;
	struct ticket_ring *tickets;
	struct pool *pool;
	struct workers *workers;
	struct rules *rules;
	struct door_connector *connector;
	struct door_admin *admin;
	const Role__Setup *setup;
	struct role_link *link;
	uint64_t ticket_life_s; /* pending limit, watch time and margin */
	size_t calls;           /* requests without an answer */
	bool stopping;
	void (*on_quiet)(struct vault *v); /* the last call has ended */
	void *role;                        /* the role's own */
};

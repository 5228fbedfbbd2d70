/*
 * Between the store's public calls and its drivers.  Only store*.c includes it.
 *
 * A public call makes a struct store_op: its input copied, its sizes checked.  The driver applies it
 * in its own thread (it may have to apply it more than once: store_op_begin each time) and hands it
 * back in the loop (store_op_finish), which calls `done`, then the listeners, and frees it.
 */
#pragma once

#include "cloud-queue/store.h"
#include "cloud-queue/store_mem.h"

#define STORE_OPS(X)                                                                               \
	X(enqueue)                                                                                 \
	X(enqueue_all)                                                                             \
	X(fetch)                                                                                   \
	X(result_ack)                                                                              \
	X(list)                                                                                    \
	X(events)                                                                                  \
	X(cancel)                                                                                  \
	X(bury)                                                                                    \
	X(replay)                                                                                  \
	X(takeover)                                                                                \
	X(session_open)                                                                            \
	X(session_resume)                                                                          \
	X(offer)                                                                                   \
	X(set_capabilities)                                                                        \
	X(session_close)                                                                           \
	X(lease)                                                                                   \
	X(extend)                                                                                  \
	X(claim)                                                                                   \
	X(park)                                                                                    \
	X(complete)                                                                                \
	X(nack)                                                                                    \
	X(settle)                                                                                  \
	X(sweep)                                                                                   \
	X(stats)                                                                                   \
	X(check)                                                                                   \
	X(tenant_put)                                                                              \
	X(tenant_get)                                                                              \
	X(tenant_list)                                                                             \
	X(signer_put)                                                                              \
	X(signer_get)                                                                              \
	X(token_put)                                                                               \
	X(token_get)                                                                               \
	X(token_delete)                                                                            \
	X(enrol_put)                                                                               \
	X(enrol_get)                                                                               \
	X(enrol_use)                                                                               \
	X(connector_put)                                                                           \
	X(connector_get)                                                                           \
	X(connector_list)                                                                          \
	X(connector_set)                                                                           \
	X(pfx_put)                                                                                 \
	X(pfx_get)                                                                                 \
	X(pfx_delete)                                                                              \
	X(pfx_list)

enum store_op_id {
#define X(name) STORE_OP_##name,
	STORE_OPS(X)
#undef X
		STORE_OP_COUNT
};

struct store_op_hint {
	struct store_op_hint *next;
	struct store_hint hint;
};

struct store_op {
	struct store *store;
	struct store_op *newer, *older; /* all that are in flight */
	enum store_op_id id;
	const void *in;
	void *out;      /* begins with its cc_err */
	cc_err refused; /* a size is wrong: answered in turn, not applied */
	bool fail_for_test;
	struct store_mem in_mem, out_mem;
	struct store_op_hint *hints, *last_hint;
	void (*done)(void); /* of the operation's own type */
	void *arg;
};

struct store_driver {
	void (*submit)(struct store *s, struct store_op *op);
	size_t (*waiting)(const struct store *s);
	int64_t (*now_ms)(struct store *s);
	void (*stop)(struct store *s); /* nothing is applied or finished after it */
	void (*free)(struct store *s);
};

#define STORE_LISTENERS_MAX 8
struct store { /* first member of a driver's own struct */
	const struct store_driver *driver;
	struct store_config config; /* filled */
	uint64_t generation;
	bool went_back; /* found out, or said, when it was opened */
	struct store_op *newest;
	bool fail_next;
	struct store_listener {
		unsigned kinds;
		store_hint_fn fn;
		void *arg;
	} listeners[STORE_LISTENERS_MAX];
};

void store_config_fill(const struct store_config *given, struct store_config *ret);

/* Driver's thread: empties what a former try left. */
void store_op_begin(struct store_op *op);
/* Driver's thread: `hint` is copied. */
void store_op_hint(struct store_op *op, const struct store_hint *hint);
/* Loop's thread; `op` is gone afterwards. */
void store_op_finish(struct store_op *op, cc_err err);

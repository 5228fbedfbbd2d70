/*
 * The queue: store, gateway, producers' server and control socket around one loop.
 *
 * One process, one loop's thread (and the store's committer).  certqueued's main makes one of these;
 * so do tests.  Ownership: the queue owns its parts; the configuration must outlive it.
 */
#pragma once

#include "cloud-queue/queue_config.h"

struct queue; /* opaque here; queue_int.h for its parts */

/* Opens everything and listens.  CC_CONFIG, CC_LOCKED and the like say what is wrong. */
cc_err queue_open(const struct queue_config *config, struct queue **ret) CC_MUST_USE;
/* Serves until queue_stop has drained, or the store failed (CC_IO: the process has to end). */
cc_err queue_run(struct queue *q) CC_MUST_USE;
/* Stop in an orderly way: connectors are told to finish, producers get 503.  A second call stops at
 * once.  Loop's thread. */
void queue_stop(struct queue *q);
void queue_free(struct queue *q); /* accepts NULL */

/* What an operator says of a store whose queue is stopped (CC_LOCKED otherwise); certqueued(8) tells the
 * consequences. */
enum queue_mend {
	QUEUE_MEND_NOTHING,
	QUEUE_RESTORED,    /* it is an older copy: a new generation */
	QUEUE_RESET_CLOCK, /* its clock was ahead: start from realtime again */
};
cc_err queue_mend(const struct queue_config *config, enum queue_mend what) CC_MUST_USE;

/* SIGTERM and SIGINT call queue_stop from now on. */
cc_err queue_take_signals(struct queue *q) CC_MUST_USE;

uint32_t queue_connector_port(const struct queue *q); /* the bound ones */
uint32_t queue_producer_port(const struct queue *q);

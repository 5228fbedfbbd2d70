/*
 * Child: one role's process, as the supervisor sees it.
 *
 * Supervisor only; called from its loop.  A child is forked, re-executed from /proc/self/exe with
 * `--role`, and has one descriptor above stderr: 3, the link.  It is `starting` until it says Ready,
 * then `ready`; when it ends it is `backing-off` and started again after 0.1 s, doubling to 30 s, and
 * from 0.1 s again once it has lived for a minute.  A child that does not say Ready, or is silent on
 * its link, for a minute is killed and so started anew.
 */
#pragma once

#include "base/link.h"
#include "base/loop.h"
#include "role/v1/role.pb-c.h"
#include <sys/types.h>

#define CHILD_BACKOFF_MIN_MS 100
#define CHILD_BACKOFF_MAX_MS 30000
#define CHILD_HEALTHY_MS     60000
#define CHILD_SILENT_MS      60000

enum child_state {
	CHILD_STOPPED,  /* not wanted, or not yet */
	CHILD_STARTING, /* running, has not said Ready */
	CHILD_READY,
	CHILD_STOPPING,    /* told to stop */
	CHILD_BACKING_OFF, /* ended; a timer runs */
};

struct child; /* opaque */

/* What goes to a child as its Setup: the packed LinkMessage and the descriptors beside it. */
struct child_setup {
	cc_blob packet;
	int fds[LINK_FDS_MAX]; /* owned; closed after they are sent */
	size_t fd_count;
};

struct child_events {
	/* Make the Setup of this start; descriptors are opened anew each time.  An error counts as a
	 * start that failed: logged, tried again after the back-off. */
	cc_err (*setup)(void *arg, struct child *c, struct child_setup *ret);
	/* A message other than Ready and Alive; the view is valid during the call. */
	void (*message)(void *arg, struct child *c, const Role__LinkMessage *m);
	/* It said Ready.  An error kills it. */
	cc_err (*ready)(void *arg, struct child *c, const Role__Ready *r);
	/* The state changed; see child_state. */
	void (*changed)(void *arg, struct child *c);
};

/* `events` and `arg` must outlive the child; `name` is copied. */
struct child *child_new(struct loop *l, Role__RoleKind role, const char *name,
	const struct child_events *events, void *arg);
void child_free(struct child *c); /* accepts NULL; kills what still runs */

void child_start(struct child *c);
/* Tell it to end and do not start it again; killed after `grace_ms`. */
void child_stop(struct child *c, uint32_t grace_ms);
/* The same, and start it again at once when it has ended. */
void child_restart(struct child *c, uint32_t grace_ms);
void child_kill(struct child *c, const char *why);
/* waitpid gave this status for its pid. */
void child_ended(struct child *c, int status);

/* One packet; the descriptors stay the caller's.  A child that cannot take it is killed. */
void child_send(struct child *c, const Role__LinkMessage *m, const int *fds, size_t fd_count);

Role__RoleKind child_role(const struct child *c);
const char *child_name(const struct child *c);
enum child_state child_state(const struct child *c);
const char *child_state_name(
	const struct child *c);         /* starting, ready, stopping, backing-off, stopped */
pid_t child_pid(const struct child *c); /* 0: none */
uint32_t child_restarts(const struct child *c);
const char *child_last_exit(const struct child *c); /* empty: none yet */
cc_view child_sent_setup(const struct child *c);    /* the packet of its last start */
int64_t child_alive_ms(const struct child *c);      /* boottime of its last sign of life */

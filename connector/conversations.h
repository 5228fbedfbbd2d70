/*
 * Conversations: which roles may talk to which, and the socketpairs that carry it.
 *
 * Supervisor only.  The permitted ones are a short list made at start: connector with keyvault, and
 * connector with each runner.  When both sides are ready a fresh pair is made and one end passed to
 * each; when a side dies, or says that its end broke, the old ends are void (their holders close them
 * when the new ones come or the other side is gone) and new ones are passed.  One renewal a second at
 * most, so that a peer that breaks every conversation costs nothing.
 */
#pragma once

#include "connector/child.h"

struct conversations; /* opaque */

struct conversations *conversations_new(struct loop *l);
void conversations_free(struct conversations *c); /* accepts NULL */

/* Permit one; passed as soon as both are ready.  The children must outlive it, or be dropped. */
void conversations_permit(struct conversations *c, struct child *a, struct child *b);
/* This child will be freed: forget all that it takes part in. */
void conversations_drop(struct conversations *c, const struct child *child);

/* Call on every change of a child's state. */
void conversations_child_changed(struct conversations *c, const struct child *child);
/* `child` says that its end broke.  Unknown peers and old serials are ignored. */
void conversations_lost(
	struct conversations *c, const struct child *child, const Role__ConversationLost *lost);

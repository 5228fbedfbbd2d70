/*
 * Status: what the connector knows of itself, as the operator's report.
 *
 * Connector process; the loop's thread only.  It reads the other modules and changes none.
 */
#pragma once

#include "connector/flow.h"
#include "connector/identity.h"
#include "control/v1/control.pb-c.h"
#include "role/v1/role.pb-c.h"

struct status; /* opaque */

/* `id` NULL: not enrolled, and `id_problem` why, when it is more than that.  Both outlive it. */
struct status *status_new(const struct identity *id, const char *id_problem, bool walls_full);
void status_free(struct status *s); /* accepts NULL */
/* What the supervisor says of a role; the newest counts. */
void status_take_child(struct status *s, const Role__ChildState *child);
/* The events of what comes to its end; to be called once an hour. */
void status_tell_expiries(const struct status *s, const struct flow *f);
/* A packed ControlAnswer with the report. */
cc_blob status_answer(struct status *s, const struct flow *f, uint64_t request_id);

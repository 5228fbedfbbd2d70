/*
 * Walls: whether each role can have a user of its own.
 *
 * Supervisor only.  Full: every role and every runner is given a user, all different from each other
 * and from the supervisor's, the supervisor may change users (root, or CAP_SETUID, CAP_SETGID,
 * CAP_KILL), and the kernel has Landlock.  Everything else is reduced.
 */
#pragma once

#include "connector/config.h"

struct walls {
	bool full;
	bool can_change_user;
	char why[200]; /* reduced: the reason, for people */
};

void walls_judge(const struct config *c, struct walls *ret);

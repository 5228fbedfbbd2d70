/*
 * Crash points: numbered places (base/crashpoints.def) at which a process of a test build ends itself by
 * SIGKILL, so that a test can show what is found after the restart.
 *
 * Any process; passing is for any thread, arming and offering for one, before others are started.  Only a
 * build with -DCC_CRASH_POINTS=ON has any of it: in every other one the three inline functions are
 * empty, the setting is never looked at, and base/crashpoint.c is not linked.
 *
 * The setting is the environment variable CC_CRASH.  A process reads it as WORD:COUNT, before its walls:
 * it dies at the COUNTth pass of that place.  The supervisor reads CHILD:WORD:COUNT, CHILD being a role
 * (connector, keyvault, ca-runner) or the name of a CA, and gives WORD:COUNT to the first start of that
 * child alone: the one that is started in its place lives.
 */
#pragma once

#include "base/err.h"
#include <stdint.h>

#define CRASHPOINT_VARIABLE "CC_CRASH"

enum crashpoint {
	CRASH_NONE,
#define CRASH_POINT(name, word, room, text) name,
#include "base/crashpoints.def"
#undef CRASH_POINT
	CRASH_COUNT
};

/* What the inline functions below call; tests may too. */
cc_err crashpoint_set(const char *setting) CC_MUST_USE; /* WORD:COUNT; CC_USAGE */
void crashpoint_read_setting(
	void); /* from the environment, and out of it; a wrong one ends the process */
void crashpoint_write_offer(const char *role, const char *name, bool first_start);
void crashpoint_count(enum crashpoint at);
const char *crashpoint_word(enum crashpoint at);

/* A process begins. */
static inline void crashpoint_arm(void)
{
	if (CC_CRASH_POINTS)
		crashpoint_read_setting();
}

/* The supervisor is about to start this child: leave in the environment what is meant for it. */
static inline void crashpoint_offer(const char *role, const char *name, bool first_start)
{
	if (CC_CRASH_POINTS)
		crashpoint_write_offer(role, name, first_start);
}

static inline void crashpoint_pass(enum crashpoint at)
{
	if (CC_CRASH_POINTS)
		crashpoint_count(at);
}

/*
 * Daemon rig: a directory with a configuration, a daemon run on it as a process, and the lines that it
 * and its roles write.
 *
 * Any test; single-threaded, blocking with a time limit.  Every function ends the test program when
 * the harness fails or the time is over.
 */
#pragma once

#include "base/blob.h"
#include <sys/types.h>

struct daemon_rig {
	char dir[256]; /* temporary, mode 0755, with ca.d in it */
	char *config_path;
	pid_t pid; /* set by the test; cleared by daemon_rig_await_end */
	int lines; /* what the process and its children write */
	cc_blob text;
	size_t mark; /* only what comes after it counts */
};

/* `name` begins the directory's name.  ca.d/corp-ca.yaml (backend local) is there. */
void daemon_rig_make(struct daemon_rig *r, const char *name);
/* SIGTERM where a process is left, which has to end with status 0; removes the directory. */
void daemon_rig_clear(struct daemon_rig *r);
void daemon_rig_put(const struct daemon_rig *r, const char *name, const char *text, mode_t mode);
/* connector.yaml: the directories, then these lines. */
void daemon_rig_configure(const struct daemon_rig *r, const char *more);

/* Start `program` with its output read here; earlier output stays. */
pid_t daemon_rig_run(struct daemon_rig *r, const char *program, char *const argv[]);
/* Wait for a line with these words after the mark; the place just behind them. */
const char *daemon_rig_await(struct daemon_rig *r, const char *words);
/* Wait for the supervisor's event `name` about `child`; the pid in it. */
pid_t daemon_rig_await_pid(struct daemon_rig *r, const char *name, const char *child);
/* From here on only what comes counts. */
void daemon_rig_mark(struct daemon_rig *r);
/* Read until everybody who writes is gone; the exit status, 128 when it was a signal. */
int daemon_rig_await_exit(struct daemon_rig *r, pid_t pid);
/* The same for r->pid, which is 0 then. */
int daemon_rig_await_end(struct daemon_rig *r);

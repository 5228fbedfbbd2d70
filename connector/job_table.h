/*
 * Job table: what is done in each state, and what becomes of it.
 *
 * One static table (job_table.c), the whole plan of a job: which step is begun, what a restart does, how
 * a step that could not be done is retried, what the deadline means.  Connector process; read only.
 */
#pragma once

#include "connector/job.h"

struct flow;

/* After a restart, with what the journal has. */
enum job_restart {
	RESTART_NEVER, /* it is in no journal: the queue gives the job again */
	RESTART_LIST,  /* listed at Hello; goes on after KEEP */
	RESTART_AGAIN, /* the step is done again at once: it asks no CA */
};

/* How long a step that could not be done waits. */
enum job_retry { RETRY_NONE, RETRY_VAULT, RETRY_QUEUE, RETRY_CA };

/* When the deadline of the state has passed. */
enum job_deadline {
	DEADLINE_NONE,
	DEADLINE_GIVE_BACK, /* Nack: another connector may do better */
	DEADLINE_FAIL,      /* the CA could not be asked */
	DEADLINE_TELL,      /* an operator has to look; it is tried on */
	DEADLINE_WITHDRAW,  /* the request is taken back at the CA */
	DEADLINE_DOUBT,     /* nobody can tell what became of the claim */
};

struct job_rule {
	const char *name;
	void (*step)(struct flow *f, struct job *job);
	enum job_restart on_restart;
	enum job_retry retry;
	int64_t deadline_ms; /* from entering the state; 0: none, or one of the settings (flow_set_deadline) */
	enum job_deadline at_deadline;
	bool takes_place; /* counts against max_inflight */
};

/* Never NULL; a state that is none ends the process. */
const struct job_rule *job_rule(Journal__JobState state);

/* Full jitter, growing with the attempts. */
int64_t job_retry_delay(enum job_retry retry, unsigned attempts);

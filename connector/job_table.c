/*
 * The heart of the connector: one row for each state.
 *
 * ARCHITECTURE.md ("States and restarts") says the same in words.  CLAIMED is INTENT on the disk: the claim is
 * the queue's record.  What waits for a CA's operator, or only clears up, takes no place.
 */
#include "connector/job_table.h"

#include "base/hash.h"
#include "connector/steps.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define STATE(name) [JOURNAL__JOB_STATE__STATE_##name]

/* clang-format off */
static const struct job_rule rules[] = {
	/*                       name             step          on_restart      retry        deadline                         place */
	STATE(RECEIVED)      = { "received",      step_begin,   RESTART_NEVER,  RETRY_VAULT, 30 * MINUTE, DEADLINE_GIVE_BACK, true  },
	STATE(INTENT)        = { "intent",        step_claim,   RESTART_LIST,   RETRY_QUEUE,  2 * HOUR,   DEADLINE_NONE,      true  },
	STATE(CLAIMED)       = { "claimed",       step_submit,  RESTART_LIST,   RETRY_CA,     2 * HOUR,   DEADLINE_FAIL,      true  },
	STATE(PENDING)       = { "pending",       step_pending, RESTART_LIST,   RETRY_CA,     0,          DEADLINE_WITHDRAW,  false },
	STATE(ISSUED)        = { "issued",        step_finish,  RESTART_AGAIN,  RETRY_VAULT, 30 * MINUTE, DEADLINE_TELL,      true  },
	STATE(RESULT)        = { "result",        step_send,    RESTART_AGAIN,  RETRY_QUEUE,  7 * DAY,    DEADLINE_TELL,      true  },
	STATE(SETTLING)      = { "settling",      step_settle,  RESTART_AGAIN,  RETRY_QUEUE,  0,          DEADLINE_DOUBT,     false },
	STATE(WATCH)         = { "watch",         step_watch,   RESTART_AGAIN,  RETRY_CA,     0,          DEADLINE_DOUBT,     false },
	STATE(ORPHAN)        = { "orphan",        step_orphan,  RESTART_AGAIN,  RETRY_CA,     0,          DEADLINE_NONE,      false },
	STATE(DONE)          = { "done",          step_none,    RESTART_NEVER,  RETRY_NONE,   0,          DEADLINE_NONE,      true  },
	STATE(FAILED)        = { "failed",        step_none,    RESTART_NEVER,  RETRY_NONE,   0,          DEADLINE_NONE,      true  },
	STATE(READY_TO_SEND) = { "ready-to-send", step_send,    RESTART_NEVER,  RETRY_QUEUE,  7 * DAY,    DEADLINE_TELL,      true  },
};

static const struct { uint64_t first_ms, most_ms; } delays[] = {
	[RETRY_NONE]  = { 60 * SECOND, 60 * SECOND },
	[RETRY_VAULT] = { SECOND / 5,  10 * SECOND },
	[RETRY_QUEUE] = { SECOND / 2,  60 * SECOND },
	[RETRY_CA]    = { SECOND,       5 * MINUTE },
};
/* clang-format on */

const struct job_rule *job_rule(Journal__JobState state)
{
	if (state <= JOURNAL__JOB_STATE__STATE_UNSPECIFIED ||
		(size_t)state >= sizeof rules / sizeof rules[0])
		cc_die("a job in state %d", (int)state);
	return &rules[state];
}

int64_t job_retry_delay(enum job_retry retry, unsigned attempts)
{
	uint64_t most = delays[retry].first_ms;
	for (unsigned i = 0; i < attempts && most < delays[retry].most_ms; i++)
		most *= 2;
	if (most > delays[retry].most_ms)
		most = delays[retry].most_ms;
	return (int64_t)(most / 4 + random_below(most - most / 4));
}

/*
 * Journal: the only place where a job's progress is made durable.
 *
 * Lives in the connector process; call from the loop's thread only.  What one turn wants to record is
 * gathered in a change and committed as one part of a batch (base/committer.h); `done` is called in
 * the loop when it is on disk, and nothing that the change is about may be said or done earlier.
 * A commit that the disk has no room for waits for it; only the first INTENT of a job is refused, with
 * CC_FULL, unless the file system gives all that the open jobs will still need.  A commit whose outcome
 * is unknown is looked into by the committer, and fatal where that fails: the process ends, the restart
 * replays.
 *
 * Secrets are in it only inside tickets, which the keyvault sealed; the journal never sees a key or
 * a password.  Times are milliseconds of realtime.
 */
#pragma once

#include "base/committer.h"
#include "base/text.h"
#include "journal/v1/journal.pb-c.h"

#define JOURNAL_FORMAT     2
#define JOURNAL_ID_SIZE    16
#define JOURNAL_COOKIE_MAX 4096
/* What a job may still write after its INTENT: at most chain (48 KiB), cookie (4 KiB), result
 * (256 KiB) and records; measured are 12 KiB with a chain of three.  Not all that wait write the most. */
#define JOURNAL_FUTURE_MOST  (UINT64_C(384) * 1024)
#define JOURNAL_FUTURE       (UINT64_C(48) * 1024)
#define JOURNAL_FUTURE_MOSTS 64u /* so many count with the most, each beyond them with the usual */

/* What of a job is kept beside its record. */
enum journal_part {
	JOURNAL_JOB = 1, /* packed SignedDocument */
	JOURNAL_CSR,
	JOURNAL_TICKET,
	JOURNAL_CHAIN,  /* packed CertificateList */
	JOURNAL_COOKIE, /* sealed by the runner */
	JOURNAL_RESULT, /* packed certq.v1.Result, the exact bytes */
};
#define JOURNAL_PART_LAST JOURNAL_RESULT

/* How much room is left: intake ends before the end, and what is under way may use the rest. */
enum journal_room {
	JOURNAL_ROOM_FREE,
	JOURNAL_ROOM_NO_INTAKE, /* 80 % of the budget: no new jobs */
	JOURNAL_ROOM_RESERVE,   /* 90 %, or the disk is nearly full: no new INTENT either */
};

struct journal_settings {
	const char *dir;
	uint64_t max_bytes;          /* the budget */
	int64_t result_retention_ms; /* payload of a finished job */
};

struct journal;        /* opaque */
struct journal_change; /* opaque */

/* CC_LOCKED when another process has it, CC_VERSION for a format of a later release; one of an earlier
 * release is brought up to this one. */
cc_err journal_open(
	const struct journal_settings *settings, struct loop *l, struct journal **ret) CC_MUST_USE;
/* Called in the loop when a commit's outcome is unknown: the process has to end. */
void journal_on_fatal(struct journal *j, commit_fatal fatal, void *arg);
/* Finishes what was committed; each `done` that is still to come gets CC_CLOSED, only so that its owner
 * can free what belongs to it.  Accepts NULL. */
void journal_close(struct journal *j);
/* Called in the loop after the `done`s of each batch. */
void journal_on_batch(struct journal *j, loop_fn fn, void *arg);
bool journal_is_busy(const struct journal *j); /* a `done` is still to come */

/* As of the last commit that came back.  Views are valid until the next turn of the loop. */
cc_view journal_id(const struct journal *j);
cc_view journal_nonce(const struct journal *j); /* empty: this journal never had a session */
uint64_t journal_generation(const struct journal *j);
/* The generation of the queue's store that everything in `done` was offered to; 0: there was none yet. */
uint64_t journal_offered_generation(const struct journal *j);
bool journal_is_suspended(const struct journal *j, cc_view ca);
/* How many orphans were given up to be revoked in the present hour, those on their way to the disk included;
 * *ret_left_ms: until the next hour. */
uint32_t journal_orphans(const struct journal *j, int64_t *ret_left_ms);
uint64_t journal_audit_head(const struct journal *j);
uint64_t journal_used_bytes(const struct journal *j); /* with what the open jobs will still need */
uint64_t journal_max_bytes(const struct journal *j);
uint64_t journal_disk_free(const struct journal *j); /* bytes; UINT64_MAX: not known */
enum journal_room journal_room(const struct journal *j);

/* ---- changes; everything handed in is copied ---- */

struct journal_change *journal_change_new(struct journal *j);
void journal_change_free(struct journal_change *c); /* one that was not committed; accepts NULL */
bool journal_change_is_empty(const struct journal_change *c);

void journal_change_open(struct journal_change *c, cc_view job_id, const Journal__OpenJob *record);
void journal_change_blob(
	struct journal_change *c, cc_view job_id, enum journal_part part, cc_view bytes);
/* The job is over: out of `open`, its header into `done`.  Of its blobs only the result stays, for
 * the retention time. */
void journal_change_done(struct journal_change *c, cc_view job_id, const Journal__DoneJob *record);
/* The job is given back: no trace stays. */
void journal_change_forget(struct journal_change *c, cc_view job_id);
void journal_change_doubt(struct journal_change *c, cc_view job_id, const Journal__Doubt *record);
/* What was in doubt at this CA is known. */
void journal_change_no_doubt(struct journal_change *c, cc_view job_id, cc_view ca);
/* Nothing new is asked of this CA, until an operator lifts it. */
void journal_change_suspend(struct journal_change *c, cc_view ca, bool suspended);
/* Another id and no nonce: the journal of a connector that the queue is told to know anew. */
void journal_change_orphan(struct journal_change *c); /* one more of this hour */
void journal_change_adopt(struct journal_change *c);
/* A decision record, packed.  `resent`: it came unasked after a restart, and what was before it had
 * been confirmed, so that the head may move up to it. */
void journal_change_audit(struct journal_change *c, uint64_t counter, cc_view record, bool resent);
/* A HelloAck.  `offer`: to this generation of the store everything that is done has yet to be offered. */
void journal_change_session(struct journal_change *c, cc_view nonce, uint64_t session_epoch,
	uint64_t generation, bool offer);
/* The offer was answered to its end. */
void journal_change_offered(struct journal_change *c);
/* A job that is done is open again: its result is to be sent once more. */
void journal_change_reopen(
	struct journal_change *c, cc_view job_id, const Journal__OpenJob *record);
/* The result of a job that is done is kept until then, if it is not kept for such a reason already. */
void journal_change_hold(struct journal_change *c, cc_view job_id, int64_t until_ms);

/* Takes over the change.  `done` may be NULL. */
void journal_commit(struct journal_change *c, commit_done done, void *arg);

/* ---- reading ---- */

/* Every job in `open`; ends at the first error of `fn`. */
typedef cc_err (*journal_job_fn)(void *arg, cc_view job_id, const Journal__OpenJob *record);
cc_err journal_each_open(const struct journal *j, journal_job_fn fn, void *arg) CC_MUST_USE;
/* CC_NOT_FOUND when it is not there (any more). */
cc_err journal_get_blob(
	const struct journal *j, cc_view job_id, enum journal_part part, cc_blob *ret) CC_MUST_USE;
cc_err journal_get_done(
	const struct journal *j, cc_view job_id, Journal__DoneJob **ret) CC_MUST_USE;
cc_err journal_get_audit(const struct journal *j, uint64_t counter, cc_blob *ret) CC_MUST_USE;

/* Where a walk over the jobs that are done has come to; begins zeroed. */
struct journal_place {
	uint8_t key[8 + JOB_ID_SIZE];
	bool begun, over;
};
/* Takes over the record, or frees it.  False: no more in this call. */
typedef bool (*journal_done_fn)(void *arg, cc_view job_id, Journal__DoneJob *record);
/* The next jobs that are done, at most `limit` entries, in the order of `done_at`.  A sweep between two calls
 * moves entries forward only: a job may be met twice, none is missed. */
cc_err journal_next_done(const struct journal *j, struct journal_place *place, size_t limit,
	journal_done_fn fn, void *arg) CC_MUST_USE;

/* How many doubts are recorded. */
cc_err journal_count_doubts(const struct journal *j, size_t *ret) CC_MUST_USE;

/* Remove what is past its retention time; also runs by itself once an hour. */
void journal_sweep(struct journal *j);

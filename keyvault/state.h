/*
 * State: what the keyvault remembers, in an LMDB environment of its own.
 *
 * Keyvault only.  Reads (state_find_*, state_list_*) from any thread; state_submit, state_open and
 * state_close from the loop's.  A change describes all that one decision does: the job's row, the device's
 * key, counters, the issued list, the decision record.  It is applied as one transaction by the
 * committer, which may find that it must not be (another job has the id, the device has another key, a
 * limit is reached, an operator has to be asked): then only the refusal, or the question, is recorded.
 * Nothing may leave the process before `done`.
 *
 * Times are seconds of the real clock, given by the caller.  No row holds a key or a password in clear.
 */
#pragma once

#include "base/committer.h"
#include "base/hash.h"
#include "base/text.h"
#include "keyvault/reason.h"
#include "vault/v1/state.pb-c.h"
#include "vault/v1/vault.pb-c.h"

#define STATE_DECISIONS_MAX 10000       /* unconfirmed records; beyond it nothing is decided */
#define STATE_CLOCK_BACK_S  300         /* so far the clock may be behind the latest time seen */
#define STATE_KEEP_S        (7 * 86400) /* a job's row outlives its not_after by this */
#define STATE_SALT_AGE_S    (7 * 86400)
#define STATE_SALT_SIZE     32

/* Jobs that wait for an operator, and with those that did until their time was over; a further one is
 * refused. */
#define STATE_WAITING_PER_TENANT 500
#define STATE_WAITING_MAX        1000

struct state; /* opaque */

/* `audit_key` is copied: the decisions' MACs.  Makes the first ticket salt. */
cc_err state_open(
	const char *dir, const cc_secret *audit_key, int64_t now_s, struct state **ret) CC_MUST_USE;
/* The committer's thread starts here: after the walls are up. */
cc_err state_start(struct state *s, struct loop *l, commit_fatal fatal, void *arg) CC_MUST_USE;
/* Finishes what was submitted; each `done` that is still to come gets CC_CLOSED, only so that its owner
 * can free what belongs to it.  Accepts NULL. */
void state_close(struct state *s);

/* ---- changes ---- */

enum state_take {
	STATE_TAKE_NONE,
	STATE_TAKE_NEW,  /* no row may be there: REASON_AGAIN when one with the same bytes is */
	STATE_TAKE_SAME, /* a row with the same bytes is fine */
};

struct state_device {
	cc_blob user_id, device_id;
	uint8_t spki_sha256[SHA256_SIZE];
	const char *source; /* of a key that is recorded: static text */
	bool pinned;        /* first key wins; limits below */
	bool asks_first;    /* with `pinned`: not even the first one without an operator */
	bool imported;      /* the job delivers an imported key of this user */
	bool may_wait;      /* what an operator may allow waits for it; else it is refused */
	uint32_t per_user_per_day, per_tenant_per_day;
};

enum state_ruling { STATE_RULES_NOT, STATE_RULES_APPROVE, STATE_RULES_DENY };

struct state_decision {
	const char *operation; /* static text */
	/* the record of a question has the device's key in its place */
	uint8_t spki_sha256[SHA256_SIZE];
	uint8_t certificate_sha256[SHA256_SIZE];
	bool has_spki, has_certificate;
	enum reason reason; /* REASON_NONE: done */
	uint32_t uid;
	cc_blob subject;
};

struct state_change {
	int64_t now_s;
	cc_blob tenant;
	uint8_t job_id[JOB_ID_SIZE];
	uint8_t job_sha256[SHA256_SIZE];
	bool has_job;
	int64_t not_after_s; /* the job's */
	cc_blob what;        /* for an operator: the CA profile, or the record's id */

	bool judges_clock; /* refuse when the clock is behind */
	bool has_signer;   /* the statement's revision must not go back; remember it */
	uint8_t signer[SHA256_SIZE];
	uint64_t signer_revision;
	enum state_take take;
	Vault__TakenJob taken; /* STATE_TAKE_*: the row; its bytes are borrowed */
	bool has_device;
	bool checks_block; /* of `device` only whether it or its key is blocked */
	struct state_device device;
	const char *rate;           /* "issue", "rewrap", "revoke", or NULL; counted once a job */
	uint32_t per_hour, per_day; /* 0: no limit */
	bool has_issued;
	Vault__IssuedRow issued; /* bytes are borrowed */
	uint32_t ticket_number;  /* 0: none */
	int64_t finish_by_s;
	uint64_t confirm;        /* decision records up to this are the connector's now; 0: none */
	bool accepts_clock;      /* now_s is right, whatever later time was seen */
	enum state_ruling rules; /* an operator's word on the job `job_id` of `tenant` */
	uint8_t rules_question[SHA256_SIZE]; /* approve: of what the operator was shown */
	uint32_t rules_uid;
	cc_blob rules_reason;
	bool blocks;  /* block device.device_id of `tenant` and its key */
	bool tends;   /* house-keeping: old rows go, a salt is made or destroyed */
	bool decides; /* make a decision record */
	struct state_decision decision;

	/* results, valid in `done` */
	enum reason verdict;
	const char *words; /* of the verdict, for the local log; NULL: none of its own */
	cc_blob said;      /* the same, where it is an operator's */
	bool device_is_new;
	Vault__WaitReason waits;         /* why an operator is asked, or was */
	bool asked;                      /* the question is new */
	bool approved;                   /* it was answered so, and the job is served for it */
	bool has_question;               /* there was one of this job */
	uint8_t known_spki[SHA256_SIZE]; /* asked: the key that is known for the device */
	bool has_known;
	uint64_t counter; /* of the decision record; 0: none was made */
	cc_blob record;   /* packed DecisionRecord */

	/* the state's own */
	struct state *state;
	void (*done)(void *arg, cc_err err);
	void *arg;
};

/* Loop's thread.  `done` is called in the loop; the change stays the caller's and must live until
 * then.  Never fails: failures arrive at `done`. */
void state_submit(struct state *s, struct state_change *change, void (*done)(void *arg, cc_err err),
	void *arg);
void state_change_clear(struct state_change *change);

/* ---- reads, any thread ---- */

/* NULL in *ret when there is none; free with codec_free. */
cc_err state_find_taken(
	const struct state *s, cc_view tenant, cc_view job_id, Vault__TakenJob **ret) CC_MUST_USE;
cc_err state_find_issued(
	const struct state *s, cc_view issuer, cc_view serial, Vault__IssuedRow **ret) CC_MUST_USE;

/* `each` gets borrowed values; an error ends the walk and is returned. */
typedef cc_err (*state_each_fn)(void *arg, uint64_t number, cc_view row);
/* Packed Device rows; device_id empty: all.  A page: from `after` (empty: the first), at most `limit`.
 * *ret_next goes on there; empty: that was all. */
cc_err state_list_devices(const struct state *s, cc_view device_id, cc_view after, size_t limit,
	state_each_fn each, void *arg, cc_blob *ret_next) CC_MUST_USE;
/* Packed WaitingJob rows that are not past `now_s`, by their end; pages as above. */
cc_err state_list_waiting(const struct state *s, cc_view after, int64_t now_s, size_t limit,
	state_each_fn each, void *arg, cc_blob *ret_next) CC_MUST_USE;
/* Those of them that are not decided. */
cc_err state_count_waiting(const struct state *s, int64_t now_s, size_t *ret) CC_MUST_USE;
/* Packed DecisionRecords that nobody has confirmed, in order. */
cc_err state_list_decisions(const struct state *s, state_each_fn each, void *arg) CC_MUST_USE;
/* Packed TicketSalt rows by their number. */
cc_err state_list_salts(const struct state *s, state_each_fn each, void *arg) CC_MUST_USE;

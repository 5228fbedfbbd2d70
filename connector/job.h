/*
 * Jobs: what the connector knows of each job that it holds, and the table of them by id.
 *
 * Lives in the connector process; the loop's thread only.  A job that the journal knows (`durable`)
 * is the same job after a restart: job_record makes its journal record, job_from_record its twin.
 * The struct is a plain value record of the connector's own modules; strings and blobs in it belong
 * to it.
 *
 * A call or commit that will come back holds its job (`holds`): no step is begun meanwhile, and a job
 * that is dropped is freed when the last of them has come back.  Times are milliseconds; `..._due` is boottime,
 * everything that goes to the journal is realtime.
 */
#pragma once

#include "base/text.h"
#include "certq/v1/envelope.pb-c.h"
#include "journal/v1/journal.pb-c.h"

/* As long as the queue takes it. */
#define JOB_REFERENCE_MAX 128

enum job_kind { JOB_KIND_ISSUE, JOB_KIND_REWRAP, JOB_KIND_REVOKE, JOB_KIND_CHAIN };

/* What is known of a certificate, in clear beside every result that has one. */
struct job_certificate {
	cc_blob sha256; /* empty: there is none */
	cc_blob issuer; /* DER Name */
	cc_blob serial; /* INTEGER content octets */
};

/* A claim of an epoch before this one: kept until the queue has its settlement. */
struct job_claim {
	uint32_t epoch;
	Certq__Settlement outcome; /* UNSPECIFIED: nobody knows yet */
	bool told;                 /* in this session */
	char *ca;
};
#define JOB_EARLIER_MAX 32

struct job {
	uint8_t id[JOB_ID_SIZE];
	enum job_kind kind;
	Journal__JobState state;
	uint32_t epoch, run;
	char *correlation; /* never NULL */
	int64_t not_after_s;

	/* where it stands in this process */
	bool durable;      /* the journal has it in `open` */
	bool replayed;     /* it came from the journal: a CA may have been asked before */
	bool kept;         /* delivered to this process, or KEEP after a resume */
	bool sent;         /* claim, result, nack or settlement went out in this session */
	bool doubtful;     /* a CA may have made a certificate that nobody told us of */
	bool was_doubtful; /* before the submit that is under way */
	bool risked;    /* durable: the CA was asked anew although an earlier request is in doubt */
	bool risk_told; /* the queue has that doubt */
	bool cannot_find; /* the CA has said that it cannot tell what became of the request */
	unsigned cookies_refused; /* in a row */
	unsigned withdrawals;     /* asked for */
	bool parked;              /* the queue has the Park of this session */
	unsigned orders_refused;
	bool dropped;   /* out of the table; freed when `holds` is 0 */
	bool keep_told; /* EV_JOB_KEPT was logged */
	unsigned holds;
	unsigned attempts;     /* of the present state */
	unsigned vault_deaths; /* keyvaults that died while they had it */
	unsigned not_sent;     /* in a row, at the present CA */
	int64_t deadline_due;  /* of the present state, boottime; 0: none */
	int64_t deadline_ms;   /* the same in realtime, where the journal has it; 0: nowhere */
	int64_t created_ms;
	int64_t lease_ms;  /* 0: no lease (claimed, or not leased) */
	int64_t lease_due; /* when to extend */

	/* as delivered; gone once the keyvault has answered for good */
	Certq__Job *delivery;
	bool asks_prior; /* the keyvault has answered; earlier claims are asked about */
	size_t prior_at; /* which of them */
	unsigned
		prior_rank; /* what was heard of our own: 0 nothing, 1 it is not clear, 2 there is a request */

	/* what the keyvault and the CA gave */
	cc_blob csr, ticket, order; /* the order is a packed SignedDocument, for the submit */
	int64_t order_due;          /* boottime after which the order is not used */
	uint8_t csr_sha256[32], spki_sha256[32], txid[16];
	cc_blob body_sha256; /* of the signed job; empty: an earlier release has recorded it */
	char **cas;          /* names, in order of failover */
	size_t ca_count, ca_at;
	char *settle_ca; /* an earlier CA whose claim has to be settled NOT_ISSUED first */
	int64_t finish_by_s;
	cc_blob chain;          /* packed CertificateList */
	cc_blob cookie;         /* of a request that is pending at the CA */
	char *reference;        /* the CA's id of that request, for people; never NULL */
	int64_t next_due_ms;    /* realtime, when to ask that CA again */
	int64_t poll_due;       /* the same in boottime */
	int64_t watch_until_ms; /* realtime; 0: what is told of the claim is the end */
	struct job_certificate certificate;
	struct job_claim *earlier; /* at most JOB_EARLIER_MAX */
	size_t earlier_count;

	/* how it ends */
	cc_blob result; /* packed certq.v1.Result: the exact bytes */
	bool success;
	char *code;          /* never NULL */
	const char *outcome; /* it is over but for earlier claims; static text; NULL: it is not */
	uint32_t event;
	Certq__Nack nack;         /* reason != 0: it is being given back */
	Certq__Settlement settle; /* SETTLING: what is told; UNSPECIFIED: nobody knows yet */
	cc_blob winner_sha256;
	int64_t winner_told_ms;
	bool orphan_counted; /* against orphan_max_per_hour */
	bool revoking; /* durable: it was decided, and the CA may have done it: nobody gets it any more */
	int64_t orphan_due; /* boottime, when the queue is asked again about the winner */
	uint64_t winner_generation;
	int64_t hold_until_ms; /* RESULT that the queue does not know: offered again until then */
	uint64_t hold_generation; /* plus one, which did not know it: held there; 0: none */
	bool stored; /* durable: the queue had its result once; its certificate is nobody's orphan */

	/* the scheduler's and the table's own */
	int64_t due;
	size_t heap_index; /* 1-based; 0: no timer */
	struct job *next;
};

struct jobs; /* the table; opaque */

struct jobs *jobs_new(void);
void jobs_free(struct jobs *t);                              /* frees every job; accepts NULL */
struct job *jobs_find(const struct jobs *t, cc_view job_id); /* NULL: not there */
/* A new job of this id in the table; the id must be free. */
struct job *jobs_add(struct jobs *t, cc_view job_id);
/* Out of the table; freed at once, or when its last hold ends. */
void jobs_drop(struct jobs *t, struct job *job);
size_t jobs_count(const struct jobs *t);
/* Every job once, in no order; `fn` may drop the job that it is given, no other. */
typedef void (*jobs_fn)(void *arg, struct job *job);
void jobs_each(struct jobs *t, jobs_fn fn, void *arg);

/* A call or commit that will come back.  job_release: true when the job is still wanted. */
void job_hold(struct job *job);
bool job_release(struct job *job);

#define JOB_CAS_MAX 16
struct job_record_room { /* the caller's, for what a record points to */
	ProtobufCBinaryData cas[JOB_CAS_MAX];
	Journal__EarlierClaim claims[JOB_EARLIER_MAX], *earlier[JOB_EARLIER_MAX];
};
/* The journal record of the job; borrows from it and from `room`. */
void job_record(const struct job *job, struct job_record_room *room, Journal__OpenJob *ret);
/* Fill a fresh job from its record.  CC_CORRUPT when the record makes no sense. */
cc_err job_from_record(struct job *job, const Journal__OpenJob *record) CC_MUST_USE;

cc_view job_id_view(const struct job *job);
cc_view job_ca(const struct job *job); /* the present CA; empty: none */
const char *job_kind_text(enum job_kind kind);
/* Choose the CA at this index, and the transaction id that goes with it. */
void job_choose_ca(struct job *job, size_t index, cc_view tenant);
/* A job without a claim is for one CA. */
void job_set_only_ca(struct job *job, cc_view name);
void job_set_code(struct job *job, cc_view code, uint32_t event);
void job_set_certificate(struct job *job, cc_view sha256, cc_view issuer, cc_view serial);
/* What the keyvault has seen and nothing needs any more. */
void job_forget_delivery(struct job *job);
/* What the journal has too, of a job that waits long: it is read again when it is needed. */
void job_forget_blobs(struct job *job);
/* The claim that the job has now becomes an earlier one: a new epoch begins. */
void job_keep_claim(struct job *job);
/* The present claim has made nothing; the last earlier one, if there is one, is the job's again. */
void job_return_claim(struct job *job);
void job_drop_earlier(struct job *job, size_t at);
/* What was told in the last session is told again in the next. */
void job_forget_told(struct job *job);

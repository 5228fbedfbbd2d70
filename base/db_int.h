/*
 * An environment's own: what db.c (opening, reading, writing) and db_commit.c (what became of a commit,
 * and room ahead) share.  Only base/db*.c includes it.
 */
#pragma once

#include "base/db.h"
#include <pthread.h>

/* Between readers and the opening anew.  A commit that failed at its end leaves an environment in which
 * nothing can be begun; who comes then waits until it is open again, or lost. */
struct db_gate {
	pthread_rwlock_t lock; /* shared: a read transaction; exclusive: it is being opened */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint64_t opened; /* how often anew; written under both */
	bool lost;       /* under the mutex */
};

struct db {
	MDB_env *env; /* NULL: it could not be opened anew */
	MDB_dbi *dbis;
	const char *const *names;
	size_t count;
	char *dir;
	int lock;
	uint64_t map_bytes;
	struct db_gate *gate;
	/* the writer's */
	uint64_t allocated; /* the file system has given the data file blocks up to here */
	uint64_t growth;    /* of the transaction under way, by what it admitted */
};

/* Environment and databases, under d->gate or before anybody else knows of it. */
cc_err db_open_env(struct db *d) CC_MUST_USE;
void db_close_env(struct db *d);
/* A transaction could not be begun in what was opened `before`: false when it is lost. */
bool db_await_opened(const struct db *d, uint64_t before);
/* Why there was no room, in words; NULL: that was not it. */
const char *db_no_room(const struct db *d, int rc);

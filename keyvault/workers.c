/*
 * Worker threads, and the fair choice between kinds of work: each kind has a virtual time that moves by
 * the thread time it used, divided by its weight; the kind that is furthest behind is next.
 */
#include "keyvault/workers.h"
#include "base/blob.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static const uint32_t weights[WORK_KIND_COUNT] = {
	[WORK_ISSUE] = 4, [WORK_FINISH] = 4, [WORK_REWRAP] = 4, [WORK_OTHER] = 2, [WORK_ADMIN] = 2};

struct queue {
	struct work *first, *last;
	size_t count;
	uint64_t used; /* virtual time, nanoseconds over weight */
};

struct worker {
	struct workers *owner;
	pthread_t thread;
	OSSL_LIB_CTX *library;
	bool runs;
};

struct workers {
	struct loop_wake *wake;
	bool (*idle)(void *arg);
	void *idle_arg;
	struct worker *threads;
	size_t thread_count;

	pthread_mutex_t mutex;
	pthread_cond_t changed;
	/* under the mutex */
	struct queue queues[WORK_KIND_COUNT];
	struct queue finished;
	uint64_t now;    /* virtual time of the kind that was served last */
	size_t idling;   /* threads at idle work */
	size_t pending;  /* submitted, `done` not yet called */
	unsigned rounds; /* of idle work: raised by workers_wake */
	bool stopping;
};

static void append(struct queue *q, struct work *piece)
{
	piece->next = NULL;
	if (q->last != NULL)
		q->last->next = piece;
	else
		q->first = piece;
	q->last = piece;
	q->count++;
}

static struct work *take(struct queue *q)
{
	struct work *piece = q->first;

	if (piece == NULL)
		return NULL;
	q->first = piece->next;
	if (q->first == NULL)
		q->last = NULL;
	q->count--;
	return piece;
}

/* Under the mutex. */
static struct work *take_fairly(struct workers *w)
{
	struct queue *best = NULL;

	for (size_t k = 0; k < WORK_KIND_COUNT; k++) {
		struct queue *q = &w->queues[k];

		if (q->first != NULL && (best == NULL || q->used < best->used))
			best = q;
	}
	if (best == NULL)
		return NULL;
	w->now = best->used;
	return take(best);
}

static uint64_t thread_time_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Called and returns with the mutex held. */
static void run_piece(struct workers *w, struct work *piece)
{
	uint64_t before = thread_time_ns();

	pthread_mutex_unlock(&w->mutex);
	piece->run(piece);
	pthread_mutex_lock(&w->mutex);
	w->queues[piece->kind].used += (thread_time_ns() - before) / weights[piece->kind] + 1;
	append(&w->finished, piece);
	loop_wake_up(w->wake);
}

/* One round of idle work; true when there may be more.  Called and returns with the mutex held. */
static bool run_idle(struct workers *w)
{
	size_t most = w->thread_count > 1 ? w->thread_count - 1 : 1;
	bool more;

	if (w->idle == NULL || w->idling >= most)
		return false;
	w->idling++;
	pthread_mutex_unlock(&w->mutex);
	more = w->idle(w->idle_arg);
	pthread_mutex_lock(&w->mutex);
	w->idling--;
	return more;
}

static void *worker_thread(void *arg)
{
	struct worker *me = arg;
	struct workers *w = me->owner;
	unsigned seen = 0;

	OSSL_LIB_CTX_set0_default(me->library);
	pthread_mutex_lock(&w->mutex);
	while (!w->stopping) {
		struct work *piece = take_fairly(w);

		if (piece != NULL) {
			run_piece(w, piece);
			seen = w->rounds - 1; /* a key may have left the pool */
		} else if (seen != w->rounds) {
			unsigned round = w->rounds;
			if (!run_idle(w))
				seen = round;
		} else {
			pthread_cond_wait(&w->changed, &w->mutex);
		}
	}
	pthread_mutex_unlock(&w->mutex);
	OPENSSL_thread_stop_ex(me->library);
	return NULL;
}

static void on_finished(void *arg)
{
	struct workers *w = arg;
	struct queue finished;
	struct work *piece;

	pthread_mutex_lock(&w->mutex);
	finished = w->finished;
	w->finished = (struct queue){0};
	w->pending -= finished.count;
	pthread_mutex_unlock(&w->mutex);
	while ((piece = take(&finished)) != NULL)
		piece->done(piece);
}

bool workers_submit(struct workers *w, struct work *piece)
{
	struct queue *q = &w->queues[piece->kind];
	bool taken;

	pthread_mutex_lock(&w->mutex);
	taken = q->count < WORK_QUEUED_MAX && !w->stopping;
	if (taken) {
		/* A kind that was away does not save up time. */
		if (q->first == NULL && q->used < w->now)
			q->used = w->now;
		append(q, piece);
		w->pending++;
		pthread_cond_signal(&w->changed);
	}
	pthread_mutex_unlock(&w->mutex);
	return taken;
}

void workers_wake(struct workers *w)
{
	pthread_mutex_lock(&w->mutex);
	w->rounds++;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
}

size_t workers_busy(struct workers *w)
{
	size_t busy;

	pthread_mutex_lock(&w->mutex);
	busy = w->pending;
	pthread_mutex_unlock(&w->mutex);
	return busy;
}

static void drop_nothing(struct work *piece)
{
	(void)piece;
}

/* Signals belong to the loop: threads start with all of them blocked. */
static cc_err start_threads(struct workers *w)
{
	sigset_t all, before;
	cc_err err = CC_OK;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (size_t i = 0; err == CC_OK && i < w->thread_count; i++) {
		struct worker *me = &w->threads[i];

		me->owner = w;
		me->library = OSSL_LIB_CTX_new();
		if (me->library == NULL) {
			err = cc_fail_openssl("a library context");
			break;
		}
		errno = pthread_create(&me->thread, NULL, worker_thread, me);
		me->runs = errno == 0;
		if (!me->runs)
			err = cc_fail_errno("a worker's thread");
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

cc_err workers_start(struct loop *l, size_t threads, bool (*idle)(void *arg), void *idle_arg,
	struct workers **ret)
{
	struct workers *w = cc_alloc(sizeof(*w));
	cc_err err = CC_OK;

	w->idle = idle;
	w->idle_arg = idle_arg;
	w->rounds = 1;
	w->thread_count = threads;
	w->threads = cc_alloc(threads * sizeof(*w->threads));
	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	TRY(loop_wake_new(l, on_finished, w, &w->wake));
	TRY(start_threads(w));
	*ret = w;
	w = NULL;
out:
	workers_stop(w, drop_nothing);
	workers_free(w);
	return err;
}

static void drop_all(struct queue *q, void (*drop)(struct work *piece))
{
	struct work *piece;

	while ((piece = take(q)) != NULL)
		drop(piece);
}

void workers_stop(struct workers *w, void (*drop)(struct work *piece))
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->mutex);
	w->stopping = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	for (size_t i = 0; i < w->thread_count; i++) {
		if (w->threads[i].runs)
			pthread_join(w->threads[i].thread, NULL);
		w->threads[i].runs = false;
	}
	for (size_t k = 0; k < WORK_KIND_COUNT; k++)
		drop_all(&w->queues[k], drop);
	drop_all(&w->finished, drop);
	loop_wake_free(w->wake);
	w->wake = NULL;
}

void workers_free(struct workers *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < w->thread_count; i++)
		OSSL_LIB_CTX_free(w->threads[i].library);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	free(w->threads);
	free(w);
}

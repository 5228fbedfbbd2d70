/*
 * Worker: two lists under one mutex, a condition variable one way and loop_wake the other.
 */
#include "ca-backends/worker.h"
#include "base/blob.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct item {
	struct ca_task task;
	struct item *next;
};

struct list {
	struct item *first, *last;
};

struct ca_worker {
	struct loop_wake *wake;
	pthread_t thread;
	size_t waiting; /* loop's thread only */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	/* under the mutex */
	struct list todo, finished;
	bool stopping;
};

static void append(struct list *l, struct item *i)
{
	i->next = NULL;
	if (l->last != NULL)
		l->last->next = i;
	else
		l->first = i;
	l->last = i;
}

static struct item *take(struct list *l)
{
	struct item *i = l->first;

	if (i == NULL)
		return NULL;
	l->first = i->next;
	if (l->first == NULL)
		l->last = NULL;
	return i;
}

static struct item *next_task(struct ca_worker *w)
{
	struct item *i = NULL;

	pthread_mutex_lock(&w->mutex);
	while (!w->stopping && w->todo.first == NULL)
		pthread_cond_wait(&w->changed, &w->mutex);
	if (!w->stopping)
		i = take(&w->todo);
	pthread_mutex_unlock(&w->mutex);
	return i;
}

static void *work(void *arg)
{
	struct ca_worker *w = arg;
	struct item *i;

	while ((i = next_task(w)) != NULL) {
		i->task.run(i->task.arg);
		pthread_mutex_lock(&w->mutex);
		append(&w->finished, i);
		pthread_mutex_unlock(&w->mutex);
		loop_wake_up(w->wake);
	}
	return NULL;
}

static void on_wake(void *arg)
{
	struct ca_worker *w = arg;
	struct list done;
	struct item *i;

	pthread_mutex_lock(&w->mutex);
	done = w->finished;
	w->finished = (struct list){0};
	pthread_mutex_unlock(&w->mutex);
	while ((i = take(&done)) != NULL) {
		struct ca_task task = i->task;
		free(i);
		w->waiting--;
		if (task.done != NULL)
			task.done(task.arg);
	}
}

cc_err ca_worker_start(struct loop *l, struct ca_worker **ret)
{
	struct ca_worker *w = cc_alloc(sizeof(*w));
	sigset_t all, before;
	int rc;
	cc_err err = CC_OK;

	pthread_mutex_init(&w->mutex, NULL);
	pthread_cond_init(&w->changed, NULL);
	TRY(loop_wake_new(l, on_wake, w, &w->wake));
	sigfillset(&all); /* signals are the loop's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	ENSURE(rc == 0, cc_fail(CC_INTERNAL, "worker: no thread: %s", strerror(rc)));
	*ret = w;
	w = NULL;
out:
	if (w != NULL) {
		loop_wake_free(w->wake);
		pthread_cond_destroy(&w->changed);
		pthread_mutex_destroy(&w->mutex);
		free(w);
	}
	return err;
}

static void drop_list(struct list *l, void (*drop)(void *arg))
{
	struct item *i;

	while ((i = take(l)) != NULL) {
		if (drop != NULL)
			drop(i->task.arg);
		free(i);
	}
}

void ca_worker_stop(struct ca_worker *w, void (*drop)(void *arg))
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->mutex);
	w->stopping = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	loop_wake_free(w->wake);
	drop_list(&w->todo, drop);
	drop_list(&w->finished, drop);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

void ca_worker_submit(struct ca_worker *w, struct ca_task task)
{
	struct item *i = cc_alloc(sizeof(*i));

	i->task = task;
	w->waiting++;
	pthread_mutex_lock(&w->mutex);
	append(&w->todo, i);
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->mutex);
}

size_t ca_worker_waiting(const struct ca_worker *w)
{
	return w->waiting;
}

/*
 * A binary heap of jobs by due time.  heap[1] is the earliest; a job knows its place in it, so that a
 * timer can be moved or removed in log n.
 */
#include "connector/scheduler.h"

#include "base/clock.h"
#include <stdlib.h>

struct scheduler {
	struct loop_timer *timer;
	scheduler_fn fire;
	void *arg;
	struct job **heap; /* 1-based */
	size_t count, room;
};

static void on_timer(void *arg)
{
	scheduler_run(arg);
}

struct scheduler *scheduler_new(struct loop *l, scheduler_fn fire, void *arg)
{
	struct scheduler *s = cc_alloc(sizeof *s);
	s->fire = fire;
	s->arg = arg;
	s->timer = loop_timer_new(l, on_timer, s);
	return s;
}

void scheduler_free(struct scheduler *s)
{
	if (s == NULL)
		return;
	loop_timer_free(s->timer);
	free(s->heap);
	free(s);
}

static void place(struct scheduler *s, size_t at, struct job *job)
{
	s->heap[at] = job;
	job->heap_index = at;
}

static void sift_up(struct scheduler *s, size_t at)
{
	struct job *job = s->heap[at];
	while (at > 1 && s->heap[at / 2]->due > job->due) {
		place(s, at, s->heap[at / 2]);
		at /= 2;
	}
	place(s, at, job);
}

static void sift_down(struct scheduler *s, size_t at)
{
	struct job *job = s->heap[at];
	while (2 * at <= s->count) {
		size_t child = 2 * at;
		if (child < s->count && s->heap[child + 1]->due < s->heap[child]->due)
			child++;
		if (s->heap[child]->due >= job->due)
			break;
		place(s, at, s->heap[child]);
		at = child;
	}
	place(s, at, job);
}

static void arm(struct scheduler *s)
{
	if (s->count == 0) {
		loop_timer_stop(s->timer);
		return;
	}
	int64_t in_ms = s->heap[1]->due - clock_boottime_ms();
	loop_timer_set(s->timer, in_ms > 0 ? in_ms : 0);
}

static void take_out(struct scheduler *s, struct job *job)
{
	size_t at = job->heap_index;
	struct job *last = s->heap[s->count--];
	job->heap_index = 0;
	if (last == job)
		return;
	place(s, at, last);
	sift_up(s, at);
	sift_down(s, last->heap_index);
}

void scheduler_clear(struct scheduler *s, struct job *job)
{
	if (job->heap_index == 0)
		return;
	take_out(s, job);
	arm(s);
}

void scheduler_set(struct scheduler *s, struct job *job, int64_t in_ms)
{
	if (job->heap_index != 0)
		take_out(s, job);
	if (s->count + 2 > s->room) {
		s->room = s->room == 0 ? 64 : 2 * s->room;
		s->heap = cc_realloc(s->heap, s->room * sizeof(struct job *));
	}
	job->due = clock_boottime_ms() + in_ms;
	place(s, ++s->count, job);
	sift_up(s, s->count);
	arm(s);
}

void scheduler_run(struct scheduler *s)
{
	int64_t now = clock_boottime_ms();
	while (s->count > 0 && s->heap[1]->due <= now) {
		struct job *job = s->heap[1];
		take_out(s, job);
		s->fire(s->arg, job);
	}
	arm(s);
}

/*
 * Workers and pool: every kind gets its share, idle work comes last, a ready key is given once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/blob.h"
#include "base/clock.h"
#include "keyvault/pool.h"
#include "keyvault/workers.h"
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct rig {
	struct loop *loop;
	struct workers *workers;
	pthread_mutex_t gate; /* held by the test: pieces wait in `run` */
	enum work_kind order[64];
	size_t ran, done, expected, dropped;
};

struct piece {
	struct work work;
	struct rig *rig;
	bool spins;
};

static void burn(void)
{
	struct timespec from, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < 2000000);
}

static void run(struct work *w)
{
	struct piece *p = (struct piece *)w;

	pthread_mutex_lock(&p->rig->gate);
	p->rig->order[p->rig->ran++ % 64] = w->kind;
	pthread_mutex_unlock(&p->rig->gate);
	if (p->spins)
		burn();
}

static void done(struct work *w)
{
	struct rig *rig = ((struct piece *)w)->rig;

	free(w);
	if (++rig->done == rig->expected)
		loop_stop(rig->loop);
}

static void drop(struct work *w)
{
	((struct piece *)w)->rig->dropped++;
	free(w);
}

static bool submit(struct rig *rig, enum work_kind kind, bool spins)
{
	struct piece *p = cc_alloc(sizeof(*p));

	p->work = (struct work){.kind = kind, .run = run, .done = done};
	p->rig = rig;
	p->spins = spins;
	if (workers_submit(rig->workers, &p->work))
		return true;
	free(p);
	return false;
}

static void start(struct rig *rig, size_t threads, bool (*idle)(void *arg), void *arg)
{
	*rig = (struct rig){0};
	pthread_mutex_init(&rig->gate, NULL);
	assert_int_equal(loop_new(&rig->loop), CC_OK);
	assert_int_equal(workers_start(rig->loop, threads, idle, arg, &rig->workers), CC_OK);
}

static void stop(struct rig *rig)
{
	workers_stop(rig->workers, drop);
	workers_free(rig->workers);
	loop_free(rig->loop);
	pthread_mutex_destroy(&rig->gate);
}

static void all_work_is_done_and_comes_back(void **state)
{
	struct rig rig;
	(void)state;

	start(&rig, 3, NULL, NULL);
	rig.expected = 30;
	for (size_t i = 0; i < rig.expected; i++)
		assert_true(submit(&rig, i % WORK_KIND_COUNT, false));
	loop_run(rig.loop);
	assert_int_equal(rig.done, 30);
	assert_int_equal(workers_busy(rig.workers), 0);
	stop(&rig);
}

static void a_flood_of_one_kind_does_not_starve_another(void **state)
{
	struct rig rig;
	size_t last = 0;
	(void)state;

	start(&rig, 1, NULL, NULL);
	pthread_mutex_lock(&rig.gate); /* until all is queued */
	rig.expected = 40;
	for (size_t i = 0; i < 36; i++)
		assert_true(submit(&rig, WORK_ISSUE, true));
	for (size_t i = 0; i < 4; i++)
		assert_true(submit(&rig, WORK_REWRAP, true));
	pthread_mutex_unlock(&rig.gate);
	loop_run(rig.loop);
	for (size_t i = 0; i < rig.ran; i++)
		if (rig.order[i] == WORK_REWRAP)
			last = i;
	assert_true(last < 20); /* behind the flood it would be 39 */
	stop(&rig);
}

static void a_full_queue_says_so_and_the_rest_is_dropped_at_the_end(void **state)
{
	struct rig rig;
	size_t taken = 0;
	(void)state;

	start(&rig, 1, NULL, NULL);
	pthread_mutex_lock(&rig.gate);
	while (taken <= WORK_QUEUED_MAX + 1 && submit(&rig, WORK_ISSUE, false))
		taken++;
	assert_true(taken >= WORK_QUEUED_MAX && taken <= WORK_QUEUED_MAX + 1);
	assert_true(submit(&rig, WORK_ADMIN, false)); /* a kind has its own queue */
	pthread_mutex_unlock(&rig.gate);
	stop(&rig); /* whatever has run or not: nobody called `done` */
	assert_int_equal(rig.dropped, taken + 1);
}

static bool fill(void *arg)
{
	return pool_fill_one(arg);
}

static void on_time(void *arg)
{
	loop_stop(arg);
}

static void idle_workers_fill_the_pool(void **state)
{
	struct pool *pool = pool_new(3);
	struct rig rig;
	(void)state;

	start(&rig, 2, fill, pool);
	struct loop_timer *timer = loop_timer_new(rig.loop, on_time, rig.loop);
	for (int i = 0; i < 600 && pool_count(pool) < 3; i++) {
		loop_timer_set(timer, 50);
		loop_run(rig.loop);
	}
	assert_int_equal(pool_count(pool), 3);
	assert_false(pool_fill_one(pool));
	loop_timer_free(timer);
	workers_stop(rig.workers, drop);
	pool_free(pool);
	workers_free(rig.workers);
	loop_free(rig.loop);
	pthread_mutex_destroy(&rig.gate);
}

static void a_ready_key_is_given_once_and_not_for_long(void **state)
{
	struct pool *pool = pool_new(2);
	(void)state;

	assert_null(pool_take(pool));
	assert_true(pool_fill_one(pool));
	assert_true(pool_fill_one(pool));
	EVP_PKEY *first = pool_take(pool);
	assert_int_equal(EVP_PKEY_get_bits(first), 2048);
	assert_int_equal(pool_count(pool), 1);
	clock_shift_for_test(POOL_AGE_MS + 1000, POOL_AGE_MS + 1000);
	assert_null(pool_take(pool));
	assert_true(pool_fill_one(pool));
	clock_shift_for_test(POOL_AGE_MS + 1000 + POOL_JUMP_MS + 1000, POOL_AGE_MS + 1000);
	assert_null(pool_take(pool)); /* the real clock jumped */
	clock_shift_for_test(0, 0);
	EVP_PKEY_free(first);
	pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_work_is_done_and_comes_back),
		cmocka_unit_test(a_flood_of_one_kind_does_not_starve_another),
		cmocka_unit_test(a_full_queue_says_so_and_the_rest_is_dropped_at_the_end),
		cmocka_unit_test(idle_workers_fill_the_pool),
		cmocka_unit_test(a_ready_key_is_given_once_and_not_for_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

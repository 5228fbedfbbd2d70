/*
 * The store's clock.  See the header for the rule; the only state is the last answer and what
 * realtime and boottime said then.
 */
#include "cloud-queue/store_clock.h"

#include "base/clock.h"

enum { JUMP_MS = 5000 };

void store_clock_start(struct store_clock *c, int64_t hold_ms)
{
	*c = (struct store_clock){.hold_ms = hold_ms};
	pthread_mutex_init(&c->lock, NULL);
	c->now = clock_realtime_ms();
	c->boottime = clock_boottime_ms();
	c->offset = c->now - c->boottime;
	c->hold_until = c->boottime + hold_ms;
}

void store_clock_raise(struct store_clock *c, int64_t high_water)
{
	pthread_mutex_lock(&c->lock);
	if (c->now < high_water)
		c->now = high_water;
	pthread_mutex_unlock(&c->lock);
}

void store_clock_end(struct store_clock *c)
{
	pthread_mutex_destroy(&c->lock);
}

static void advance(struct store_clock *c)
{
	int64_t realtime = clock_realtime_ms();
	int64_t boottime = clock_boottime_ms();
	int64_t jump = realtime - boottime - c->offset;

	if (boottime > c->boottime)
		c->now += boottime - c->boottime;
	if (realtime > c->now)
		c->now = realtime;
	c->boottime = boottime;
	if (jump > JUMP_MS || jump < -JUMP_MS) {
		c->offset += jump;
		c->hold_until = boottime + c->hold_ms;
	}
}

int64_t store_clock_now(struct store_clock *c)
{
	pthread_mutex_lock(&c->lock);
	advance(c);
	int64_t now = c->now;
	pthread_mutex_unlock(&c->lock);
	return now;
}

bool store_clock_on_hold(struct store_clock *c)
{
	pthread_mutex_lock(&c->lock);
	advance(c);
	bool hold = c->boottime < c->hold_until;
	pthread_mutex_unlock(&c->lock);
	return hold;
}

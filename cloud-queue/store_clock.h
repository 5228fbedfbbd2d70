/*
 * The store's clock: realtime that never goes backwards, and the hold after it jumped.
 *
 * Any thread; locked inside.  It follows realtime; when realtime falls behind (set back, or the store
 * was last open later than now) it goes on at boottime's pace.  When realtime and boottime disagree
 * by more than 5 s, and when it is started, nothing may expire for `hold_ms`: connectors get the
 * time to extend what they hold.
 */
#pragma once

#include "base/err.h"
#include <pthread.h>
#include <stdint.h>

struct store_clock {
	pthread_mutex_t lock;
	int64_t now;      /* last answer */
	int64_t boottime; /* at that answer */
	int64_t offset;   /* realtime - boottime, to notice a jump */
	int64_t hold_ms;
	int64_t hold_until; /* boottime */
};

void store_clock_start(struct store_clock *c, int64_t hold_ms);
/* `high_water`: the latest time that a former run stored; 0: none. */
void store_clock_raise(struct store_clock *c, int64_t high_water);
void store_clock_end(struct store_clock *c);
int64_t store_clock_now(struct store_clock *c);
bool store_clock_on_hold(struct store_clock *c);

/*
 * Clocks: the two that the project uses, each with a shift that is zero except in tests.
 */
#include "base/clock.h"
#include "base/err.h"
#include <openssl/asn1.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t realtime_shift;
static _Atomic int64_t boottime_shift;

static int64_t read_clock_ms(clockid_t id)
{
	struct timespec now;

	if (clock_gettime(id, &now) != 0)
		cc_die("the system has no clock %d", (int)id);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_realtime_ms(void)
{
	return read_clock_ms(CLOCK_REALTIME) + atomic_load(&realtime_shift);
}

int64_t clock_boottime_ms(void)
{
	return read_clock_ms(CLOCK_BOOTTIME) + atomic_load(&boottime_shift);
}

int64_t clock_realtime_s(void)
{
	return clock_realtime_ms() / 1000;
}

int64_t clock_asn1_s(const ASN1_TIME *time)
{
	struct tm parts;

	return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : -1;
}

void clock_shift_for_test(int64_t realtime_ms, int64_t boottime_ms)
{
	atomic_store(&realtime_shift, realtime_ms);
	atomic_store(&boottime_shift, boottime_ms);
}

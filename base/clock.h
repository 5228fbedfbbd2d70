/*
 * Clocks.  Everything that depends on time takes it from here, so that a test can set it.
 *
 * Any process, any thread.  Milliseconds in int64_t.  Realtime is for documents and records that
 * outlive the process; boottime (it counts suspend) is for everything that waits.
 */
#pragma once

#include <openssl/types.h>
#include <stdint.h>

int64_t clock_realtime_ms(void);
int64_t clock_boottime_ms(void);
int64_t clock_realtime_s(void);
/* A certificate's time in seconds; -1 when it cannot be told. */
int64_t clock_asn1_s(const ASN1_TIME *time);

/* For tests: both clocks are shifted by this much from now on. */
void clock_shift_for_test(int64_t realtime_ms, int64_t boottime_ms);

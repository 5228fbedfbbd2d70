/*
 * Log: one structured line per event on stderr, from one table of events (base/events.def).
 *
 * Any process, any thread; a line is one write.  logfmt by default, JSON by option:
 *   time=2026-11-21T05:00:00.123Z level=info event=1050 name=certificate_issued role=connector
 *   job=job_5k2... correlation=... ca=corp-ca
 * Levels mean operator action: error (act now), warning (look), notice (worth keeping), info, debug.
 * Library code does not log; the boundary that decides does, once.  Values are escaped; secrets
 * have no field.
 */
#pragma once

#include "base/blob.h"

enum log_level { LOG_DEBUG_, LOG_INFO_, LOG_NOTICE_, LOG_WARNING_, LOG_ERROR_ };
enum log_format { LOG_LOGFMT, LOG_JSON };

typedef enum event_id {
#define EVENT(number, name, level, meaning, next_step) EV_##name = number,
#include "base/events.def"
#undef EVENT
} event_id;

struct event_info {
	uint32_t number;
	const char *name; /* lower case */
	enum log_level level;
	const char *meaning;
	const char *next_step;
};

/* NULL when no event has this number. */
const struct event_info *event_find(uint32_t number);
const struct event_info *event_at(size_t index); /* in order; NULL after the last */

/* Once at start, before threads; `role` is copied.  Where stderr is systemd's journal
 * (JOURNAL_STREAM), events go there as native fields: base/log_journal.h. */
void log_init(const char *role, enum log_format format, enum log_level least);

/* A value: LV_TEXT("ca", name), LV_VIEW("reason", view), LV_U64("n", 3), LV_HEX("spki", view),
 * LV_JOB(view), LV_ERR(err) (its name and detail).  Empty values are left out. */
enum log_kind {
	LOG_V_END,
	LOG_V_TEXT,
	LOG_V_VIEW,
	LOG_V_U64,
	LOG_V_I64,
	LOG_V_HEX,
	LOG_V_JOB,
	LOG_V_ERR
};
struct log_value {
	enum log_kind kind;
	const char *key;
	const char *text;
	cc_view view;
	uint64_t u64;
	int64_t i64;
	cc_err err;
};
#define LV_TEXT(k, v) ((struct log_value){.kind = LOG_V_TEXT, .key = (k), .text = (v)})
#define LV_VIEW(k, v) ((struct log_value){.kind = LOG_V_VIEW, .key = (k), .view = (v)})
#define LV_U64(k, v)  ((struct log_value){.kind = LOG_V_U64, .key = (k), .u64 = (v)})
#define LV_I64(k, v)  ((struct log_value){.kind = LOG_V_I64, .key = (k), .i64 = (v)})
#define LV_HEX(k, v)  ((struct log_value){.kind = LOG_V_HEX, .key = (k), .view = (v)})
#define LV_JOB(v)     ((struct log_value){.kind = LOG_V_JOB, .key = "job", .view = (v)})
#define LV_ERR(e)     ((struct log_value){.kind = LOG_V_ERR, .key = "error", .err = (e)})

void log_write(event_id event, const struct log_value *values, size_t count);

/* log_event(EV_CERTIFICATE_ISSUED, LV_JOB(id), LV_TEXT("ca", ca)); at least one value. */
#define log_event(event, ...)                                                                      \
	log_write((event), (const struct log_value[]){__VA_ARGS__},                                \
		sizeof((const struct log_value[]){__VA_ARGS__}) / sizeof(struct log_value))

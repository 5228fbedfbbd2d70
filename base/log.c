/*
 * Log: makes the line in a buffer on the stack and hands it over in one write, so that lines of
 * several processes and threads do not mix; where stderr is systemd's journal, journald gets it with
 * its values as fields instead (base/log_journal.h).  It allocates nothing: it has to work when memory is
 * what has run out.
 *
 * What comes from outside cannot forge a line or a field, or steer a terminal: control characters,
 * characters that turn the direction of text, and bytes that are not UTF-8 are written as escapes.
 */
#include "base/log.h"
#include "base/clock.h"
#include "base/log_journal.h"
#include "base/text.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE    4096
#define LINE_TAIL    32 /* kept free: closing quote, mark of a cut, newline */
#define NAME_SIZE    48
#define ROLE_SIZE    64
#define ESCAPED_SIZE 12 /* of one character */

/* ---- the table of events ---- */

static struct event_info events[] = {
#define EVENT(number, name, level, meaning, next_step) {number, #name, level, meaning, next_step},
#include "base/events.def"
#undef EVENT
};
#define EVENT_COUNT (sizeof(events) / sizeof(events[0]))

static char event_names[EVENT_COUNT][NAME_SIZE];
static pthread_once_t events_once = PTHREAD_ONCE_INIT;

static void make_event_names(void)
{
	for (size_t e = 0; e < EVENT_COUNT; e++) {
		const char *from = events[e].name;
		for (size_t i = 0; from[i] != '\0' && i < NAME_SIZE - 1; i++)
			event_names[e][i] = (char)tolower((unsigned char)from[i]);
		events[e].name = event_names[e];
	}
}

const struct event_info *event_at(size_t index)
{
	(void)pthread_once(&events_once, make_event_names);
	return index < EVENT_COUNT ? &events[index] : NULL;
}

const struct event_info *event_find(uint32_t number)
{
	for (size_t i = 0; event_at(i) != NULL; i++)
		if (events[i].number == number)
			return &events[i];
	return NULL;
}

/* ---- the line ---- */

static char log_role[ROLE_SIZE];
static enum log_format log_format = LOG_LOGFMT;
static enum log_level log_least = LOG_INFO_;

void log_init(const char *role, enum log_format format, enum log_level least)
{
	(void)snprintf(log_role, sizeof(log_role), "%s", role != NULL ? role : "");
	log_format = format;
	log_least = least;
	(void)log_journal_open(STDERR_FILENO, getenv("JOURNAL_STREAM"), LOG_JOURNAL_SOCKET);
}

struct line {
	bool json;
	bool cut; /* something did not fit; nothing more is added */
	size_t used;
	char text[LINE_SIZE];
	struct log_journal_entry *journal; /* NULL: stderr is not the journal */
};

/* All of it or nothing. */
static void put(struct line *l, const char *text, size_t size)
{
	if (l->cut || l->used + size > LINE_SIZE - LINE_TAIL) {
		l->cut = true;
		return;
	}
	memcpy(l->text + l->used, text, size);
	l->used += size;
}

static void put_text(struct line *l, const char *text)
{
	put(l, text, strlen(text));
}

static void put_key(struct line *l, const char *key)
{
	if (l->used > (l->json ? 1u : 0u))
		put(l, l->json ? "," : " ", 1);
	if (l->json)
		put(l, "\"", 1);
	put_text(l, key);
	put_text(l, l->json ? "\":" : "=");
}

static bool is_plain(uint32_t point)
{
	return point > 0x20 && point < 0x7f && point != '"' && point != '=' && point != '\\';
}

/* Write the first character of `text`, escaped, to `out`; returns how many bytes it took. */
static size_t escape_character(cc_view text, bool json, char out[ESCAPED_SIZE])
{
	uint32_t point = 0;
	size_t size = text_utf8_char(text, &point);

	if (size == 0) /* JSON has no escape for a byte: it reads as the text \xNN */
		(void)snprintf(out, ESCAPED_SIZE, json ? "\\\\x%02x" : "\\x%02x", text.data[0]);
	else if (point == '"' || point == '\\')
		(void)snprintf(out, ESCAPED_SIZE, "\\%c", (char)point);
	else if (point == '\n' || point == '\r' || point == '\t')
		(void)snprintf(out, ESCAPED_SIZE, "\\%c",
			point == '\n'   ? 'n'
			: point == '\r' ? 'r'
					: 't');
	else if (text_is_deceptive(point))
		(void)snprintf(out, ESCAPED_SIZE, "\\u%04x", (unsigned)point);
	else
		(void)snprintf(out, ESCAPED_SIZE, "%.*s", (int)size, (const char *)text.data);
	return size == 0 ? 1 : size;
}

static bool needs_quotes(cc_view value)
{
	for (size_t i = 0; i < value.size; i++)
		if (!is_plain(value.data[i]))
			return true;
	return false;
}

static void put_string(struct line *l, const char *key, cc_view value)
{
	char escaped[ESCAPED_SIZE];

	if (value.size == 0)
		return;
	if (l->journal != NULL)
		log_journal_field(l->journal, key, value);
	bool quoted = l->json || needs_quotes(value);
	size_t before = l->used;
	put_key(l, key);
	if (quoted)
		put(l, "\"", 1);
	if (l->cut) {
		l->used = before; /* a key without its value would not parse */
		return;
	}
	while (value.size > 0 && !l->cut) {
		size_t size = escape_character(value, l->json, escaped);
		put_text(l, escaped);
		value = cc_view_part(value, size, value.size);
	}
	if (quoted)
		l->text[l->used++] = '"'; /* its room is part of LINE_TAIL */
}

static void put_number(struct line *l, const char *key, const char *digits)
{
	size_t before = l->used;

	if (l->journal != NULL)
		log_journal_field(l->journal, key, cc_view_text(digits));
	put_key(l, key);
	put_text(l, digits);
	if (l->cut)
		l->used = before;
}

static void put_hex(struct line *l, const char *key, cc_view bytes)
{
	char digits[2 * 128 + 1];
	size_t count = bytes.size < 128 ? bytes.size : 128;

	for (size_t i = 0; i < count; i++)
		(void)snprintf(digits + 2 * i, 3, "%02x", bytes.data[i]);
	put_string(l, key, cc_view_of(digits, 2 * count));
}

static void put_value(struct line *l, const struct log_value *v)
{
	char buffer[JOB_TEXT_SIZE];

	switch (v->kind) {
	case LOG_V_END:
		break;
	case LOG_V_TEXT:
		put_string(l, v->key, cc_view_text(v->text));
		break;
	case LOG_V_VIEW:
		put_string(l, v->key, v->view);
		break;
	case LOG_V_U64:
		(void)snprintf(buffer, sizeof(buffer), "%llu", (unsigned long long)v->u64);
		put_number(l, v->key, buffer);
		break;
	case LOG_V_I64:
		(void)snprintf(buffer, sizeof(buffer), "%lld", (long long)v->i64);
		put_number(l, v->key, buffer);
		break;
	case LOG_V_HEX:
		put_hex(l, v->key, v->view);
		break;
	case LOG_V_JOB:
		if (v->view.size != JOB_ID_SIZE) {
			put_hex(l, v->key, v->view);
			break;
		}
		text_job_id(v->view, buffer);
		put_string(l, v->key, cc_view_text(buffer));
		break;
	case LOG_V_ERR:
		if (v->err == CC_OK)
			break;
		put_string(l, v->key, cc_view_text(cc_err_name(v->err)));
		put_string(l, "detail", cc_view_text(cc_err_detail(v->err)));
		break;
	}
}

static void put_time(struct line *l)
{
	int64_t now = clock_realtime_ms();
	char time[RFC3339_SIZE];
	char with_ms[RFC3339_SIZE + 8];

	text_rfc3339(now / 1000, time);
	(void)snprintf(with_ms, sizeof(with_ms), "%.19s.%03uZ", time, (unsigned)(now % 1000));
	put_string(l, "time", cc_view_text(with_ms));
}

static void put_head(
	struct line *l, const struct event_info *info, struct log_journal_entry *journal)
{
	static const char *const levels[] = {"debug", "info", "notice", "warning", "error"};
	char number[16];

	if (l->json)
		put(l, "{", 1);
	l->journal = NULL; /* it has a clock of its own */
	put_time(l);
	l->journal = journal;
	put_string(l, "level", cc_view_text(levels[info->level]));
	(void)snprintf(number, sizeof(number), "%u", (unsigned)info->number);
	put_number(l, "event", number);
	put_string(l, "name", cc_view_text(info->name));
	put_string(l, "role", cc_view_text(log_role));
}

static void put_end(struct line *l)
{
	const char *mark = l->json ? ",\"cut\":true" : " cut=true";
	size_t size = l->cut ? strlen(mark) : 0;

	memcpy(l->text + l->used, mark, size);
	l->used += size;
	if (l->json)
		l->text[l->used++] = '}';
	l->text[l->used++] = '\n';
}

void log_write(event_id event, const struct log_value *values, size_t count)
{
	const struct event_info *info = event_find((uint32_t)event);
	int saved = errno;
	struct log_journal_entry entry;
	struct line l;

	assert(info != NULL);
	if (info->level < log_least)
		return;
	l.json = log_format == LOG_JSON;
	l.cut = false;
	l.used = 0;
	if (log_journal_is_open())
		log_journal_begin(&entry, info->level);
	put_head(&l, info, log_journal_is_open() ? &entry : NULL);
	for (size_t i = 0; i < count; i++)
		put_value(&l, &values[i]);
	put_end(&l);
	if (l.journal != NULL && log_journal_send(&entry, cc_view_of(l.text, l.used - 1)))
		goto out;
	while (write(STDERR_FILENO, l.text, l.used) < 0 && errno == EINTR)
		; /* nobody is left to tell of any other failure */
out:
	errno = saved;
}

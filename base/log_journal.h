/*
 * Journal: an event as native fields of systemd-journald (systemd.io/JOURNAL_NATIVE_PROTOCOL).
 *
 * Only where stderr is the journal's own stream: then `journalctl CC_EVENT=1050 CC_CA=corp-ca` finds
 * what is a word in a line elsewhere.  MESSAGE is the line as stderr would have it; each of its keys
 * but the time is a field, in upper case behind CC_; PRIORITY is the level, SYSLOG_IDENTIFIER the
 * program.  The socket is opened once, before the walls, and from then on only sent to: no library,
 * no memory, no file, no waiting.  Any thread may send; opening and closing is for before threads.
 */
#pragma once

#include "base/log.h"

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"
#define LOG_JOURNAL_FIELDS 4096

struct log_journal_entry {
	size_t used;
	char fields[LOG_JOURNAL_FIELDS];
};

/* Connect to journald's socket at `path` when `where` (the value of JOURNAL_STREAM, or NULL) names
 * the file that descriptor `stream` is.  Otherwise, and when the socket is not there, false; what was
 * open before is closed. */
bool log_journal_open(int stream, const char *where, const char *path);
void log_journal_close(void);
bool log_journal_is_open(void);

void log_journal_begin(struct log_journal_entry *e, enum log_level level);
/* Any bytes; a value that has no room is left out, whole. */
void log_journal_field(struct log_journal_entry *e, const char *key, cc_view value);
/* With `line` as MESSAGE; false when journald did not take it, and the line has to go elsewhere. */
bool log_journal_send(const struct log_journal_entry *e, cc_view line);

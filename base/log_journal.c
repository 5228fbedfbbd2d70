/*
 * Journal: one datagram for each event.
 *
 * Values are sent with their length in front of them, the form in which a value may hold any byte, so
 * that none can pose as another field.  libsystemd is not used: it opens its socket at the first
 * event, which may be behind the walls, and keeps memory and descriptors of its own.
 */
#include "base/log_journal.h"
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PREFIX     "CC_"
#define NAME_SIZE  64 /* of a field; journald takes no longer one */
#define WHERE_SIZE 48

static int journal = -1;

/* ---- the socket ---- */

static bool is_stream(int stream, const char *where)
{
	char text[WHERE_SIZE];
	struct stat st;

	if (where == NULL || fstat(stream, &st) != 0)
		return false;
	(void)snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	return strcmp(text, where) == 0;
}

bool log_journal_open(int stream, const char *where, const char *path)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t size = strlen(path);

	log_journal_close();
	if (!is_stream(stream, where) || size >= sizeof(to.sun_path))
		return false;
	memcpy(to.sun_path, path, size);
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (journal >= 0 && connect(journal, (const struct sockaddr *)&to, sizeof(to)) != 0)
		log_journal_close();
	return journal >= 0;
}

void log_journal_close(void)
{
	if (journal >= 0)
		(void)close(journal);
	journal = -1;
}

bool log_journal_is_open(void)
{
	return journal >= 0;
}

/* ---- an entry ---- */

/* All of it or nothing. */
static void put_field(struct log_journal_entry *e, const char *name, cc_view value)
{
	uint64_t length = htole64(value.size);
	size_t name_size = strlen(name);
	size_t left = sizeof(e->fields) - e->used;
	size_t head = name_size + 1 + sizeof(length);
	char *to = e->fields + e->used;

	if (left < head + 1 || value.size > left - head - 1)
		return;
	memcpy(to, name, name_size);
	to[name_size] = '\n';
	memcpy(to + name_size + 1, &length, sizeof(length));
	if (value.size > 0)
		memcpy(to + head, value.data, value.size);
	to[head + value.size] = '\n';
	e->used += head + value.size + 1;
}

void log_journal_begin(struct log_journal_entry *e, enum log_level level)
{
	static const char priorities[] = {'7', '6', '5', '4', '3'}; /* as syslog counts */

	e->used = 0;
	put_field(e, "PRIORITY", cc_view_of(&priorities[level], 1));
	put_field(e, "SYSLOG_IDENTIFIER", cc_view_text(program_invocation_short_name));
}

void log_journal_field(struct log_journal_entry *e, const char *key, cc_view value)
{
	char name[NAME_SIZE + 1] = PREFIX;
	size_t used = strlen(PREFIX);

	for (; *key != '\0' && used < NAME_SIZE; key++)
		name[used++] =
			isalnum((unsigned char)*key) ? (char)toupper((unsigned char)*key) : '_';
	name[used] = '\0';
	put_field(e, name, value);
}

bool log_journal_send(const struct log_journal_entry *e, cc_view line)
{
	uint64_t length = htole64(line.size);
	struct iovec parts[] = {
		{(void *)(uintptr_t)e->fields, e->used},
		{(void *)(uintptr_t) "MESSAGE\n", strlen("MESSAGE\n")},
		{&length, sizeof(length)},
		{(void *)(uintptr_t)line.data, line.size},
		{(void *)(uintptr_t) "\n", 1},
	};
	const struct msghdr message = {
		.msg_iov = parts, .msg_iovlen = sizeof(parts) / sizeof(parts[0])};
	ssize_t sent;

	do
		sent = sendmsg(journal, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent >= 0;
}

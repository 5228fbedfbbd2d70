/* base/log_journal.c: the test is journald, with a socket of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log_journal.h"
#include "base/sandbox.h"

static char dir[] = "/tmp/cc-journal-XXXXXX";
static char path[sizeof(dir) + 8];
static int journald = -1;
static int stream[2] = {-1, -1}; /* stderr's other end, stderr */
static int real_stderr = -1;
static char where[64];
static uint8_t datagram[65536];
static size_t datagram_size;

/* stderr becomes a stream that a journald could have given */
static int set_up(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;

	(void)state;
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/socket", dir);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	journald = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (journald < 0 ||
		bind(journald, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, stream) != 0)
		return -1;
	real_stderr = dup(STDERR_FILENO);
	(void)dup2(stream[1], STDERR_FILENO);
	if (fstat(STDERR_FILENO, &st) != 0)
		return -1;
	(void)snprintf(where, sizeof(where), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	(void)unsetenv("JOURNAL_STREAM");
	log_init("keyvault", LOG_LOGFMT, LOG_INFO_);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	log_journal_close();
	(void)dup2(real_stderr, STDERR_FILENO);
	(void)close(real_stderr);
	(void)close(stream[0]);
	(void)close(stream[1]);
	(void)close(journald);
	(void)unlink(path);
	return rmdir(dir);
}

static bool receive_entry(void)
{
	ssize_t size = recv(journald, datagram, sizeof(datagram), 0);

	datagram_size = size > 0 ? (size_t)size : 0;
	return size > 0;
}

static bool stderr_has_line(void)
{
	char text[8192];

	return read(stream[0], text, sizeof(text)) > 0;
}

/* Walk the entry as journald does; the value of the only field of this name, "" when it is not there. */
static cc_view field(const char *name)
{
	cc_view found = CC_VIEW_NONE;
	size_t at = 0, times = 0;

	while (at < datagram_size) {
		const uint8_t *end = memchr(datagram + at, '\n', datagram_size - at);
		uint64_t length;

		assert_non_null(end);
		size_t name_size = (size_t)(end - (datagram + at));
		assert_true(datagram_size - at - name_size - 1 >= sizeof(length));
		memcpy(&length, end + 1, sizeof(length));
		length = le64toh(length);
		size_t value = at + name_size + 1 + sizeof(length);
		assert_true(length < datagram_size - value);
		assert_int_equal(datagram[value + length], '\n');
		if (name_size == strlen(name) && memcmp(datagram + at, name, name_size) == 0) {
			found = cc_view_of(datagram + value, (size_t)length);
			times++;
		}
		at = value + (size_t)length + 1;
	}
	assert_int_equal(at, datagram_size);
	assert_true(times <= 1);
	return found;
}

static void assert_field(const char *name, const char *value)
{
	cc_view found = field(name);

	assert_int_equal(found.size, strlen(value));
	assert_memory_equal(found.data, value, found.size);
}

static void an_event_has_native_fields_where_stderr_is_the_journal(void **state)
{
	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	log_event(EV_PKCS_ISSUED_FAILURE, LV_TEXT("ca", "corp-ca"), LV_U64("n", 7),
		LV_TEXT("empty", ""), LV_HEX("spki", cc_view_of("\x01\xff", 2)));
	assert_true(receive_entry());
	assert_field("PRIORITY", "4");
	assert_field("SYSLOG_IDENTIFIER", program_invocation_short_name);
	assert_field("CC_LEVEL", "warning");
	assert_field("CC_EVENT", "1052");
	assert_field("CC_NAME", "pkcs_issued_failure");
	assert_field("CC_ROLE", "keyvault");
	assert_field("CC_CA", "corp-ca");
	assert_field("CC_N", "7");
	assert_field("CC_SPKI", "01ff");
	assert_field("CC_EMPTY", "");
	assert_field("CC_TIME", "");
	assert_false(stderr_has_line());
}

static void the_message_is_the_line_that_stderr_would_have(void **state)
{
	const char rest[] = "Z level=notice event=1 name=started role=keyvault version=1.0";
	cc_view message;

	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	log_event(EV_STARTED, LV_TEXT("version", "1.0"));
	assert_true(receive_entry());
	message = field("MESSAGE");
	assert_true(message.size > sizeof(rest));
	assert_memory_equal(message.data, "time=2", 6);
	assert_memory_equal(message.data + message.size - strlen(rest), rest, strlen(rest));
}

static void a_value_cannot_pose_as_another_field(void **state)
{
	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	log_event(EV_FATAL, LV_TEXT("reason", "a\nCC_EVENT=1\nPRIORITY=0\n"),
		LV_TEXT("odd-key", "b"));
	assert_true(receive_entry());
	assert_field("CC_REASON", "a\nCC_EVENT=1\nPRIORITY=0\n");
	assert_field("CC_EVENT", "3");
	assert_field("PRIORITY", "3");
	assert_field("CC_ODD_KEY", "b");
	assert_null(memchr(field("MESSAGE").data, '\n', field("MESSAGE").size));
}

static void a_value_without_room_is_left_out_and_the_message_says_cut(void **state)
{
	char big[6000];
	cc_view message;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	log_event(EV_FATAL, LV_VIEW("big", cc_view_of(big, sizeof(big))), LV_TEXT("n", "1"));
	assert_true(receive_entry());
	assert_field("CC_BIG", "");
	assert_field("CC_N", "1");
	message = field("MESSAGE");
	assert_memory_equal(message.data + message.size - 9, " cut=true", 9);
}

static void a_stderr_that_is_not_the_journal_stays_as_it_is(void **state)
{
	const char *const others[] = {NULL, "", "1:2", "8:not a number"};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_false(log_journal_open(STDERR_FILENO, others[i], path));
		log_event(EV_STARTED, LV_TEXT("version", "1.0"));
		assert_false(receive_entry());
		assert_true(stderr_has_line());
	}
}

static void the_environment_of_another_process_is_not_believed(void **state)
{
	(void)state;
	(void)setenv("JOURNAL_STREAM", "1:2", 1);
	log_init("keyvault", LOG_LOGFMT, LOG_INFO_);
	assert_false(log_journal_is_open());
	(void)unsetenv("JOURNAL_STREAM");
}

static void without_journald_events_go_to_stderr(void **state)
{
	(void)state;
	assert_false(log_journal_open(STDERR_FILENO, where, "/nonexistent/socket"));
	log_event(EV_STARTED, LV_TEXT("version", "1.0"));
	assert_true(stderr_has_line());
}

static void when_journald_goes_away_no_event_is_lost(void **state)
{
	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	(void)close(journald);
	journald = -1;
	log_event(EV_STARTED, LV_TEXT("version", "1.0"));
	assert_true(stderr_has_line());
}

static void when_journald_is_slow_nobody_waits_and_no_event_is_lost(void **state)
{
	unsigned sent = 0, received = 0, lines = 0;

	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	while (!stderr_has_line() && sent < 100000) {
		log_event(EV_STARTED, LV_U64("n", sent));
		sent++;
	}
	lines = 1;
	while (receive_entry())
		received++;
	assert_true(received > 0);
	assert_int_equal(sent, received + lines);
}

/* The keyvault has no network and no new sockets: what was opened before is enough. */
static void the_keyvault_behind_its_walls_reaches_the_journal(void **state)
{
	pid_t child;
	int status = -1;

	(void)state;
	assert_true(log_journal_open(STDERR_FILENO, where, path));
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		const char *const writable[] = {dir, NULL};
		int abi = 0;
		cc_err err = sandbox_enter(SANDBOX_KEYVAULT, writable, NULL, &abi);

		log_event(EV_CHILD_READY, LV_TEXT("walls", "up"));
		_exit(err == CC_OK || err == CC_NOT_SUPPORTED ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(receive_entry());
	assert_field("CC_WALLS", "up");
	assert_false(stderr_has_line());
}

#define JOURNAL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		JOURNAL_TEST(an_event_has_native_fields_where_stderr_is_the_journal),
		JOURNAL_TEST(the_message_is_the_line_that_stderr_would_have),
		JOURNAL_TEST(a_value_cannot_pose_as_another_field),
		JOURNAL_TEST(a_value_without_room_is_left_out_and_the_message_says_cut),
		JOURNAL_TEST(a_stderr_that_is_not_the_journal_stays_as_it_is),
		JOURNAL_TEST(the_environment_of_another_process_is_not_believed),
		JOURNAL_TEST(without_journald_events_go_to_stderr),
		JOURNAL_TEST(when_journald_goes_away_no_event_is_lost),
		JOURNAL_TEST(when_journald_is_slow_nobody_waits_and_no_event_is_lost),
		JOURNAL_TEST(the_keyvault_behind_its_walls_reaches_the_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Asking for a password.
 *
 * Signals that would end or stop the process are caught while echo is off, and let in only while we
 * wait for a byte, so that none is missed; then the terminal is put back and the signal is raised again
 * with its own action.  After Ctrl-Z and fg the question comes anew.
 */
#include "ctl/password.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

static const int caught_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};

enum { SIGNALS = sizeof(caught_signals) / sizeof(caught_signals[0]) };

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
	caught = number;
}

/* What the caller ignores (nohup) stays ignored. */
static void catch_signals(struct sigaction before[SIGNALS], sigset_t *mask)
{
	const struct sigaction mine = {.sa_handler = on_signal};
	sigset_t blocked;

	caught = 0;
	sigemptyset(&blocked);
	for (size_t i = 0; i < SIGNALS; i++)
		sigaddset(&blocked, caught_signals[i]);
	(void)sigprocmask(SIG_BLOCK, &blocked, mask);
	for (size_t i = 0; i < SIGNALS; i++) {
		(void)sigaction(caught_signals[i], &mine, &before[i]);
		if (before[i].sa_handler == SIG_IGN)
			(void)sigaction(caught_signals[i], &before[i], NULL);
	}
}

static void leave_signals(const struct sigaction before[SIGNALS], const sigset_t *mask)
{
	/* one that came just now still finds our handler */
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	for (size_t i = 0; i < SIGNALS; i++)
		(void)sigaction(caught_signals[i], &before[i], NULL);
}

/* Byte by byte: what stands behind the line is not ours, and no buffer keeps a copy. */
static cc_err read_line(const sigset_t *mask, cc_secret *ret)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	cc_secret line = cc_secret_new(PASSWORD_MAX);
	uint8_t byte = 0;
	size_t size = 0;
	ssize_t got;
	cc_err err = CC_OK;

	for (;;) {
		ENSURE(ppoll(&input, 1, NULL, mask) == 1, cc_fail_errno("reading the password"));
		got = read(STDIN_FILENO, &byte, 1);
		ENSURE(got >= 0, cc_fail_errno("reading the password"));
		if (got == 0 || byte == '\n')
			break;
		ENSURE(size < PASSWORD_MAX,
			cc_fail(CC_TOO_LARGE, "the password is longer than %u bytes",
				PASSWORD_MAX));
		line.data[size++] = byte;
	}
	ENSURE(got > 0 || size > 0, cc_fail(CC_USAGE, "no password given"));
	cc_secret_resize(&line, size);
	*ret = cc_secret_move(&line);
out:
	byte = 0;
	cc_secret_free(&line);
	return err;
}

static cc_err ask_hidden(const char *prompt, const struct termios *shown, cc_secret *ret)
{
	struct sigaction before[SIGNALS];
	struct termios hidden = *shown;
	sigset_t mask;
	cc_err err;

	hidden.c_lflag &= ~(tcflag_t)ECHO;
	catch_signals(before, &mask);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	fprintf(stderr, "%s", prompt);
	err = read_line(&mask, ret);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, shown);
	fprintf(stderr, "\n");
	leave_signals(before, &mask);
	return err;
}

cc_err password_ask(const char *prompt, cc_secret *ret)
{
	struct termios shown;
	cc_err err;

	if (tcgetattr(STDIN_FILENO, &shown) != 0)
		return read_line(NULL, ret);
	do {
		err = ask_hidden(prompt, &shown, ret);
		if (caught != 0)
			(void)raise(caught);
	} while (err != CC_OK && caught == SIGTSTP);
	return err;
}

/*
 * Asking for a password on the terminal.
 *
 * The tool's process, one thread, blocking.  What was typed is in one place only, a cc_secret of the
 * caller's.  The terminal's echo is off while it is typed and on again afterwards, also when the wait
 * ends by Ctrl-C, Ctrl-Z or another signal, which then does what it always does.
 */
#pragma once

#include "base/blob.h"

#define PASSWORD_MAX 1024u

/* One line of standard input without its end.  A terminal is shown `prompt` and echoes nothing; a pipe
 * or file is just read.  CC_USAGE when there is no line, CC_TOO_LARGE when it is longer than
 * PASSWORD_MAX.  Free with cc_secret_free. */
cc_err password_ask(const char *prompt, cc_secret *ret) CC_MUST_USE;

/*
 * Errors: the table of codes, the detail of the last failure of each thread, and the translation of
 * foreign failures (errno, the OpenSSL queue).
 *
 * The detail is formatted into a local buffer first, because a caller may pass the previous detail
 * as an argument of the next one.
 */
#include "base/err.h"
#include "base/log.h"
#include "base/role.h"
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DETAIL_SIZE 512
#define NAME_SIZE   32

struct error_info {
	const char *name; /* as in the table: CC_NOT_FOUND */
	enum cc_category category;
	const char *text;
};

static const struct error_info errors[] = {
#define CC_ERROR(code, cat, words) [code] = {#code, cat, words},
#include "base/errors.def"
#undef CC_ERROR
};

static _Thread_local struct {
	cc_err code;
	char detail[DETAIL_SIZE];
} last;

static const struct error_info *info_of(cc_err code)
{
	if ((unsigned)code >= CC_ERR_COUNT)
		code = CC_INTERNAL;
	return &errors[code];
}

/* A cut must not leave half a character behind. */
static void trim_cut_character(char *text)
{
	size_t size = strlen(text);
	size_t back = 1; /* from the end to the last character's first byte */

	while (back < size && back < 4 && ((unsigned char)text[size - back] & 0xc0) == 0x80)
		back++;
	unsigned char first = (unsigned char)text[size - back];
	size_t needed = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	if (needed > back)
		text[size - back] = '\0';
}

static void set_detail(cc_err code, const char *detail)
{
	int length = snprintf(last.detail, sizeof(last.detail), "%s", detail);

	if (length >= (int)sizeof(last.detail))
		trim_cut_character(last.detail);
	last.code = code;
}

cc_err cc_fail(cc_err code, const char *format, ...)
{
	char words[DETAIL_SIZE + 1];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	set_detail(code, words);
	return code;
}

cc_err cc_fail_in(cc_err code, const char *format, ...)
{
	char words[2 * DETAIL_SIZE];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(words, DETAIL_SIZE, format, args);
	va_end(args);
	size_t used = length < 0 ? 0 : strlen(words);
	const char *separator = used == 0 || words[used - 1] == ' ' ? "" : ": ";
	const char *detail = last.detail[0] != '\0' ? last.detail : cc_err_text(code);
	(void)snprintf(words + used, sizeof(words) - used, "%s%s", separator, detail);
	set_detail(code, words);
	return code;
}

const char *cc_err_detail(cc_err code)
{
	if (last.code == code && last.detail[0] != '\0')
		return last.detail;
	return cc_err_text(code);
}

static char names[CC_ERR_COUNT][NAME_SIZE];

static void make_names(void)
{
	for (size_t code = 0; code < CC_ERR_COUNT; code++) {
		const char *from = errors[code].name + strlen("CC_");
		for (size_t i = 0; from[i] != '\0' && i < NAME_SIZE - 1; i++)
			names[code][i] = (char)tolower((unsigned char)from[i]);
	}
}

const char *cc_err_name(cc_err code)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, make_names);
	return names[info_of(code) - errors];
}

const char *cc_err_text(cc_err code)
{
	return info_of(code)->text;
}

enum cc_category cc_err_category(cc_err code)
{
	return info_of(code)->category;
}

static cc_err code_of_errno(int number)
{
	switch (number) {
	case EAGAIN:
	case EINTR:
	case EINPROGRESS:
		return CC_AGAIN;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
		return CC_BUSY;
	case ETIMEDOUT:
		return CC_TIMEOUT;
	case ECONNREFUSED:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
		return CC_UNREACHABLE;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return CC_CLOSED;
	case ENOENT:
		return CC_NOT_FOUND;
	case EEXIST:
		return CC_CONFLICT;
	case EACCES:
	case EPERM:
	case EROFS:
		return CC_PERMISSION;
	case ENOSPC:
	case EDQUOT:
		return CC_FULL;
	case ENOSYS:
	case EOPNOTSUPP:
		return CC_NOT_SUPPORTED;
	default:
		return CC_IO;
	}
}

cc_err cc_fail_errno(const char *what)
{
	int number = errno;
	char room[128];

	return cc_fail(
		code_of_errno(number), "%s: %s", what, strerror_r(number, room, sizeof(room)));
}

cc_err cc_fail_openssl(const char *what)
{
	char words[DETAIL_SIZE];
	const char *data = NULL;
	int flags = 0;
	unsigned long code;
	size_t used = (size_t)snprintf(words, sizeof(words), "%s", what);

	while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
		const char *reason = ERR_reason_error_string(code);
		char number[32];

		if (used >= sizeof(words))
			continue;
		(void)snprintf(number, sizeof(number), "error %lx", code);
		bool has_data = (flags & ERR_TXT_STRING) != 0 && data != NULL && data[0] != '\0';
		used += (size_t)snprintf(words + used, sizeof(words) - used, "%s%s%s%s%s",
			used == 0 ? "" : ": ", reason != NULL ? reason : number,
			has_data ? " (" : "", has_data ? data : "", has_data ? ")" : "");
	}
	return cc_fail(CC_CRYPTO, "%s", words);
}

void cc_die(const char *format, ...)
{
	char words[DETAIL_SIZE];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	log_event(EV_FATAL, LV_TEXT("reason", words));
	_exit(EXIT_FAILED);
}

/*
 * Exec shim: preloaded into the supervisor, it has each role start under another program.
 *
 * A role is the running file executed again through /proc/self/exe, which under valgrind would be
 * valgrind's own file.  The environment's EXEC_UNDER is that program with its options, words parted by
 * spaces; what is executed is put behind them.  Only what is safe between fork and exec is called.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 40

int execv(const char *path, char *const argv[])
{
	static char words[2048], self[1024];
	char *under[WORDS_MAX + 1], *rest = words;
	const char *wanted = getenv("EXEC_UNDER");
	ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t count = 0;

	if (wanted == NULL || strlen(wanted) >= sizeof(words) || size <= 0 ||
		strcmp(path, "/proc/self/exe") != 0)
		return execve(path, argv, environ);
	memcpy(words, wanted, strlen(wanted) + 1);
	for (char *word; count < WORDS_MAX / 2 && (word = strsep(&rest, " ")) != NULL;)
		under[count++] = word;
	self[size] = '\0';
	under[count++] = self;
	for (size_t i = 1; argv[i] != NULL && count < WORDS_MAX; i++)
		under[count++] = argv[i];
	under[count] = NULL;
	return execve(under[0], under, environ);
}

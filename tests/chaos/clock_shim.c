/*
 * Clock shim: preloaded into a process under test, it moves that process's clocks while it runs.
 *
 * The environment's CHAOS_CLOCK names a file of two 64-bit numbers of nanoseconds, which the harness
 * writes to: what is added to the clock of the wall, and to those that count since the start.  It is
 * mapped at the first look at a clock, which is before a role's walls, so that it needs no file later.
 * One variable a clock, read without a lock; any thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

struct shifts {
	_Atomic int64_t realtime_ns, monotonic_ns;
};

typedef int (*gettime_fn)(clockid_t id, struct timespec *ret);

static struct shifts none;
static struct shifts *shifts = &none;
static gettime_fn real_gettime;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
	const char *path = getenv("CHAOS_CLOCK");
	void *found = dlsym(RTLD_NEXT, "clock_gettime");
	void *map;
	int fd;

	memcpy(&real_gettime, &found, sizeof(real_gettime));
	fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(struct shifts), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		shifts = map;
	close(fd);
}

static int64_t shift_of(clockid_t id)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
		return atomic_load(&shifts->realtime_ns);
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_BOOTTIME:
		return atomic_load(&shifts->monotonic_ns);
	default: /* time of the processor */
		return 0;
	}
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
	int64_t ns;

	pthread_once(&once, set_up);
	if (real_gettime == NULL || real_gettime(id, ret) != 0)
		return -1;
	ns = (int64_t)ret->tv_sec * SECOND_NS + ret->tv_nsec + shift_of(id);
	ret->tv_sec = (time_t)(ns / SECOND_NS);
	ret->tv_nsec = (long)(ns % SECOND_NS);
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret != NULL)
		*ret = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now = {0};

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}

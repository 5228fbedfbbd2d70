/*
 * How a process uses its memory as a whole.
 *
 * For processes in which one thread does nearly all: the loop, with a committer or a worker beside it.
 * Called once, at the start of a process, before its first thread.
 */
#pragma once

/* All threads take their memory from one place.  glibc gives each its own otherwise, and what one of them
 * gave back is of no use to the others: measured over 10,000 jobs, each place kept holes of its own
 * while the others grew.  Not for a process with many busy threads, which would wait for each other. */
void memory_share(void);

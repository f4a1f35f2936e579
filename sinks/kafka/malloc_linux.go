//go:build linux && cgo

package kafka

/*
#include <malloc.h>
#include <stdlib.h>

// librdkafka allocates every event, and the buffer of a request, in one thread and frees them in another. glibc's allocator has an arena
// for nearly every thread, and each keeps up to twice the largest block that it ever freed: with events of 10 MB that is more than the
// queue. So all threads share one arena, which made no difference in CPU that could be measured, and 32 MiB are kept at the end of it.
// Blocks of up to as much come from there: as mappings of their own, which they are by default, every event of 10 MB is 2,500 page
// faults, which cost a fifth of the CPU of sending it. Threads keep their arena, and the Go runtime begins some at once: so this is set
// when the program is loaded. What the environment says instead holds.
__attribute__((constructor)) static void syncd_settle_malloc(void) {
#ifdef __GLIBC__
	if (getenv("GLIBC_TUNABLES") || getenv("MALLOC_ARENA_MAX") || getenv("MALLOC_TRIM_THRESHOLD_") || getenv("MALLOC_MMAP_THRESHOLD_"))
		return;
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
#endif
}
*/
import "C"

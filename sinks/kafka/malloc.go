package kafka

/*
#ifdef __linux__
#include <malloc.h>
#endif

// The C library gives memory back to the system, and takes it anew page by page, each time that a request is done: librdkafka
// allocates every event, and the buffer of a request, in one thread and frees them in another.
static void keep_memory(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
	mallopt(M_ARENA_MAX, 2);
#endif
}
*/
import "C"

// keepMemory has the C library keep some 16 MB for librdkafka to use again, for the rest of the process. Where it is not glibc, nothing
// changes.
func keepMemory() { C.keep_memory() }

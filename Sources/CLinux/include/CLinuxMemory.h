/* The allocator's settings: malloc.h is not in Glibc's module. */
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <malloc.h>

/* Bounds the arenas of malloc; glibc would make eight a processor, each with free memory of its own. */
static inline void portolan_limit_malloc_arenas(int count) {
    mallopt(M_ARENA_MAX, count);
}

/* Gives free memory back to the kernel. */
static inline void portolan_return_free_memory(void) {
    malloc_trim(0);
}

#endif

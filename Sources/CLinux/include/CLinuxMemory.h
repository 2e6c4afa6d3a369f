/* glibc's malloc.h is not part of Swift's Glibc module. Delete this header when it is. */
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <malloc.h>

/* Gives pages that hold nothing any more back to the kernel, in all arenas (malloc_trim(3)). */
static inline int portolan_malloc_trim(void) { return malloc_trim(0); }

/* Bounds the number of arenas (M_ARENA_MAX of mallopt(3)); 1 where it was taken. */
static inline int portolan_malloc_limit_arenas(int count) { return mallopt(M_ARENA_MAX, count); }

#endif

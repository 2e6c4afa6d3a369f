/* Processes and sockets: what the C library has for programs built with _GNU_SOURCE only. */
#ifndef CLINUX_SPAWN_H
#define CLINUX_SPAWN_H

#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Closes every descriptor from `first` on in the child (glibc 2.34). */
extern int posix_spawn_file_actions_addclosefrom_np(
    posix_spawn_file_actions_t *actions, int first);

/* Accepts a connection with flags (SOCK_NONBLOCK, SOCK_CLOEXEC); -1 and errno on failure. */
static inline int portolan_accept4(
    int listener, struct sockaddr *address, socklen_t *length, int flags) {
    return (int)syscall(SYS_accept4, listener, address, length, flags);
}

#endif

/* Processes and sockets: what the C library has for programs built with _GNU_SOURCE only. */
#ifndef CLINUX_SPAWN_H
#define CLINUX_SPAWN_H

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
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

/* Sets the size of a terminal; ioctl is variadic, which Swift cannot call. */
static inline int portolan_set_window_size(
    int terminal, unsigned short rows, unsigned short columns) {
    struct winsize size = {rows, columns, 0, 0};
    return ioctl(terminal, TIOCSWINSZ, &size);
}

/* Opens a terminal: returns the main end and stores the program's end; -1 and errno on failure. */
static inline int portolan_open_terminal(int *side) {
    int unlocked = 0;
    int main_end = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (main_end < 0) return -1;
    if (ioctl(main_end, TIOCSPTLCK, &unlocked) == 0) {
        *side = ioctl(main_end, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (*side >= 0) return main_end;
    }
    close(main_end);
    return -1;
}

#endif

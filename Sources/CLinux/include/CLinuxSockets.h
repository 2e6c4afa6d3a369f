/* Batched datagrams and thread placement, by system call: the C library's own declarations need
 * _GNU_SOURCE, which CLinux.h explains must stay undefined.
 */
#ifndef CLINUX_SOCKETS_H
#define CLINUX_SOCKETS_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* struct mmsghdr of recvmmsg(2); delete when Glibc's module has it. */
struct portolan_mmsghdr {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};

static const int PORTOLAN_IPV6_V6ONLY = 26;
static const int PORTOLAN_IPV6_FREEBIND = 78;
static const int PORTOLAN_TCP_NODELAY = 1;

/* Receives up to `count` datagrams without a timeout; -1 and errno on failure. */
static inline int portolan_recvmmsg(
    int descriptor, struct portolan_mmsghdr *messages, unsigned int count, int flags) {
    return (int)syscall(SYS_recvmmsg, descriptor, messages, count, flags, (void *)0);
}

/* Sends up to `count` datagrams; the number sent, or -1 and errno if none was. */
static inline int portolan_sendmmsg(
    int descriptor, struct portolan_mmsghdr *messages, unsigned int count, int flags) {
    return (int)syscall(SYS_sendmmsg, descriptor, messages, count, flags);
}

/* Binds the calling thread to one processor (0–1023); -1 and errno on failure. */
static inline int portolan_pin_thread(unsigned int processor) {
    unsigned long mask[1024 / (8 * sizeof(unsigned long))] = {0};
    if (processor >= 1024) return -1;
    mask[processor / (8 * sizeof(unsigned long))] |= 1UL << (processor % (8 * sizeof(unsigned long)));
    return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}

/* Makes a descriptor, whose flags are `flags`, blocking; -1 and errno on failure. */
static inline int portolan_set_blocking(int descriptor, int flags) {
    return fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK);
}

/* Makes a descriptor non-blocking and closed on exec; -1 and errno on failure. */
static inline int portolan_set_nonblocking(int descriptor) {
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0) return -1;
    return fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL, 0) | O_NONBLOCK);
}

#endif

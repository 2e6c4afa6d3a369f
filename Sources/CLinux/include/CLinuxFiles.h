/* Descriptors for events: epoll, eventfd, signalfd, timerfd, memfd, inotify; memory given back. */
#ifndef CLINUX_FILES_H
#define CLINUX_FILES_H

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* EPOLL* are enumerators of a named C enumeration; as numbers they can be combined. */
static const uint32_t PORTOLAN_EPOLLIN = 0x001;
static const uint32_t PORTOLAN_EPOLLOUT = 0x004;
static const uint32_t PORTOLAN_EPOLLERR = 0x008;
static const uint32_t PORTOLAN_EPOLLHUP = 0x010;
static const uint32_t PORTOLAN_EPOLLRDHUP = 0x2000;
static const uint32_t PORTOLAN_EPOLLEXCLUSIVE = 1u << 28;
static const uint32_t PORTOLAN_EPOLLONESHOT = 1u << 30;
static const uint32_t PORTOLAN_EPOLLET = 1u << 31;

static const unsigned int PORTOLAN_MFD_CLOEXEC = 1;
static const unsigned int PORTOLAN_MFD_ALLOW_SEALING = 2;

/* An anonymous file in memory; -1 and errno on failure. */
static inline int portolan_memfd_create(const char *name, unsigned int flags) {
    return (int)syscall(SYS_memfd_create, name, flags);
}

#endif

/* Namespaces, mounts, processes: sched.h, sys/mount.h, sys/prctl.h, pidfd. */
#ifndef CLINUX_NAMESPACES_H
#define CLINUX_NAMESPACES_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* linux/sched.h; the header itself clashes with the C library's sched.h. */
static const int PORTOLAN_CLONE_NEWNS = 0x00020000;
static const int PORTOLAN_CLONE_NEWCGROUP = 0x02000000;
static const int PORTOLAN_CLONE_NEWUTS = 0x04000000;
static const int PORTOLAN_CLONE_NEWIPC = 0x08000000;
static const int PORTOLAN_CLONE_NEWUSER = 0x10000000;
static const int PORTOLAN_CLONE_NEWPID = 0x20000000;
static const int PORTOLAN_CLONE_NEWNET = 0x40000000;

/* linux/mount.h and sys/mount.h (MS_RDONLY and its kin are an enumeration there). */
static const unsigned long PORTOLAN_MS_RDONLY = 1;
static const unsigned long PORTOLAN_MS_NOSUID = 2;
static const unsigned long PORTOLAN_MS_NODEV = 4;
static const unsigned long PORTOLAN_MS_NOEXEC = 8;
static const unsigned long PORTOLAN_MS_REMOUNT = 32;
static const unsigned long PORTOLAN_MS_BIND = 4096;
static const unsigned long PORTOLAN_MS_MOVE = 8192;
static const unsigned long PORTOLAN_MS_REC = 16384;
static const unsigned long PORTOLAN_MS_PRIVATE = 1UL << 18;
static const unsigned long PORTOLAN_MS_SLAVE = 1UL << 19;
static const unsigned long PORTOLAN_MS_SHARED = 1UL << 20;
static const int PORTOLAN_MNT_DETACH = 2;
static const int PORTOLAN_UMOUNT_NOFOLLOW = 8;

/* Moves the calling thread into the namespace of `descriptor`; -1 and errno on failure. */
static inline int portolan_setns(int descriptor, int type) {
    return (int)syscall(SYS_setns, descriptor, type);
}

/* Gives the calling thread namespaces of its own; -1 and errno on failure. */
static inline int portolan_unshare(int flags) { return (int)syscall(SYS_unshare, flags); }

static inline int portolan_mount(
    const char *source, const char *target, const char *type, unsigned long flags,
    const void *data) {
    return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int portolan_umount(const char *target, int flags) {
    return (int)syscall(SYS_umount2, target, flags);
}

/* The kernel's thread id of the caller. */
static inline pid_t portolan_gettid(void) { return (pid_t)syscall(SYS_gettid); }

/* A descriptor that becomes readable when `pid` ends (Linux 5.3). */
static inline int portolan_pidfd_open(pid_t pid, unsigned int flags) {
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

static inline int portolan_pidfd_send_signal(int pidfd, int signal_number) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal_number, (void *)0, 0);
}

/* prctl is variadic, which Swift cannot call. */
static inline int portolan_prctl(int option, unsigned long first, unsigned long second) {
    return prctl(option, first, second, 0UL, 0UL);
}

#endif

/* Preloaded into a process: calls on files whose path holds FAULT_PATH fail with FAULT_ERRNO, or take FAULT_MILLISECONDS.
 * FAULT_CALL: open, read, write or sync. FAULT_SKIP: so many calls go well before. FAULT_CLOCK: seconds by which the
 * wall clock jumps at the 200th question. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static atomic_int calls, questions;

static long setting(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int meant(const char *call, const char *path) {
    const char *wanted = getenv("FAULT_CALL"), *part = getenv("FAULT_PATH");
    return wanted && part && path && !strcmp(wanted, call) && strstr(path, part);
}

static int meant_fd(const char *call, int fd) {
    char link[64], path[4096];
    const char *wanted = getenv("FAULT_CALL");
    if (!wanted || strcmp(wanted, call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return meant(call, path);
}

/* Whether the call is to fail; errno is set. A slow one waits and does not. */
static int fails(void) {
    if (atomic_fetch_add(&calls, 1) < setting("FAULT_SKIP")) return 0;
    long wait = setting("FAULT_MILLISECONDS");
    if (wait) {
        struct timespec pause = {wait / 1000, wait % 1000 * 1000000};
        nanosleep(&pause, NULL);
        return 0;
    }
    errno = (int)setting("FAULT_ERRNO");
    return errno != 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                             \
    int name(const char *path, int flags, ...) {               \
        va_list rest;                                          \
        va_start(rest, flags);                                 \
        mode_t mode = va_arg(rest, mode_t);                    \
        va_end(rest);                                          \
        if (meant("open", path) && fails()) return -1;         \
        return REAL(name)(path, flags, mode);                  \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int fd, void *to, size_t size) {
    return meant_fd("read", fd) && fails() ? -1 : REAL(read)(fd, to, size);
}

ssize_t write(int fd, const void *from, size_t size) {
    return meant_fd("write", fd) && fails() ? -1 : REAL(write)(fd, from, size);
}

int fsync(int fd) {
    return meant_fd("sync", fd) && fails() ? -1 : REAL(fsync)(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME && getenv("FAULT_CLOCK") && atomic_fetch_add(&questions, 1) > 200)
        now->tv_sec += setting("FAULT_CLOCK");
    return result;
}

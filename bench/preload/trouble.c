/* LD_PRELOAD: a disk that is full or slow, switched on and off while a server runs.
 *
 *   TROUBLE_PATH     only files whose path begins with this
 *   TROUBLE_CONTROL  a file with "full", "slow MILLISECONDS" or nothing, read each time
 *
 * full: what would take space fails with ENOSPC. slow: fdatasync and fsync take so long.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, #name))

static int concerns(int fd) {
    char link[64], path[PATH_MAX];
    const char *begin = getenv("TROUBLE_PATH");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = begin ? readlink(link, path, sizeof path - 1) : -1;
    path[n < 0 ? 0 : n] = 0;
    return n > 0 && !strncmp(path, begin, strlen(begin));
}

/* By bare system calls: this must not meet itself. */
static void rule(char *text, size_t room) {
    const char *control = getenv("TROUBLE_CONTROL");
    long fd = control ? syscall(SYS_openat, AT_FDCWD, control, O_RDONLY, 0) : -1;
    long n = fd < 0 ? 0 : syscall(SYS_read, fd, text, room - 1);
    if (fd >= 0)
        syscall(SYS_close, fd);
    text[n < 0 ? 0 : n] = 0;
}

static int full(int fd) {
    char text[64];
    int kept = errno, found;
    rule(text, sizeof text);
    found = !strncmp(text, "full", 4) && concerns(fd);
    errno = found ? ENOSPC : kept;
    return found;
}

static void slow(int fd) {
    char text[64];
    int kept = errno, ms = 0;
    rule(text, sizeof text);
    if (sscanf(text, "slow %d", &ms) == 1 && concerns(fd)) {
        struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
        nanosleep(&t, NULL);
    }
    errno = kept;
}

ssize_t write(int fd, const void *data, size_t size) {
    return full(fd) ? -1 : NEXT(ssize_t(*)(int, const void *, size_t), write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    return full(fd) ? -1
                    : NEXT(ssize_t(*)(int, const void *, size_t, off_t), pwrite64)(
                          fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
    return full(fd) ? -1
                    : NEXT(ssize_t(*)(int, const struct iovec *, int, off_t), pwritev64)(
                          fd, parts, count, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return pwritev64(fd, parts, count, at);
}

int fallocate(int fd, int mode, off_t at, off_t size) {
    return full(fd) ? -1
                    : NEXT(int (*)(int, int, off_t, off_t), fallocate)(fd, mode, at, size);
}

int posix_fallocate(int fd, off_t at, off_t size) {
    return full(fd) ? ENOSPC
                    : NEXT(int (*)(int, off_t, off_t), posix_fallocate)(fd, at, size);
}

int fdatasync(int fd) {
    slow(fd);
    return NEXT(int (*)(int), fdatasync)(fd);
}

int fsync(int fd) {
    slow(fd);
    return NEXT(int (*)(int), fsync)(fd);
}

/* LD_PRELOAD shim: makes chosen system calls on chosen files fail, at run time.
 *
 *   FAULTS_PATH     only files whose path contains this
 *   FAULTS_CONTROL  a file with at most one rule; read before each such call, so that a
 *                   test switches faults on and off in a running process
 *
 * A rule is "CALL ERRNO FIRST COUNT SERIAL PIECE": of the calls of this kind since the
 * rule stands there, on files whose path contains PIECE too, number FIRST (from 1) and
 * the COUNT - 1 after it fail with errno ERRNO; COUNT 0 is for ever. SERIAL makes a rule
 * that is set twice a new one. CALL is write (and its kin), fdatasync, fsync, fallocate, open
 * (with O_CREAT), rename or any. ERRNO 0 in a write is a short write of half the octets.
 * ERRNO -9 ends the process by SIGKILL instead of the call; the rule goes before, so that
 * its successor lives.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static char standing[128];
static long calls;

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, #name))
enum { PASS = -1 };

static int names(const char *path)
{
    const char *wanted = getenv("FAULTS_PATH");
    return wanted && strstr(path, wanted) != NULL;
}

static void path_of(int fd, char *path)
{
    char link[64];
    ssize_t n;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    path[n < 0 ? 0 : n] = 0;
}

/* By bare system calls: the shim must not meet itself. */
static void read_rule(char *rule)
{
    const char *control = getenv("FAULTS_CONTROL");
    long fd = control ? syscall(SYS_openat, AT_FDCWD, control, O_RDONLY, 0) : -1;
    long n = fd < 0 ? 0 : syscall(SYS_read, fd, rule, sizeof standing - 1);
    if (fd >= 0)
        syscall(SYS_close, fd);
    rule[n < 0 ? 0 : n] = 0;
}

/* The errno that this call shall fail with, or PASS. */
static int verdict(const char *path, const char *call)
{
    char rule[sizeof standing] = "", kind[16], piece[32];
    int error;
    long first, count;
    int result = PASS;
    pthread_mutex_lock(&guard);
    read_rule(rule);
    if (strcmp(rule, standing) != 0) {
        strcpy(standing, rule);
        calls = 0;
    }
    if (sscanf(rule, "%15s %d %ld %ld %*d %31s", kind, &error, &first, &count,
               piece) == 5 &&
        strstr(path, piece) && (strcmp(kind, call) == 0 || strcmp(kind, "any") == 0)) {
        calls++;
        if (calls >= first && (count == 0 || calls < first + count))
            result = error;
    }
    pthread_mutex_unlock(&guard);
    return result;
}

static int verdict_on(int fd, const char *call)
{
    char path[PATH_MAX];
    int kept = errno, result;
    path_of(fd, path);
    result = names(path) ? verdict(path, call) : PASS;
    errno = kept;
    return result;
}

static int failing(int error)
{
    if (error == -SIGKILL) {
        syscall(SYS_unlinkat, AT_FDCWD, getenv("FAULTS_CONTROL"), 0);
        kill(getpid(), SIGKILL);
    }
    if (error <= 0)
        return 0;
    errno = error;
    return 1;
}

static size_t half(size_t size) { return size > 1 ? size / 2 : size; }

ssize_t write(int fd, const void *data, size_t size)
{
    int error = verdict_on(fd, "write");
    if (failing(error))
        return -1;
    return NEXT(ssize_t(*)(int, const void *, size_t), write)(
        fd, data, error == 0 ? half(size) : size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    int error = verdict_on(fd, "write");
    if (failing(error))
        return -1;
    return NEXT(ssize_t(*)(int, const void *, size_t, off_t), pwrite)(
        fd, data, error == 0 ? half(size) : size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite(fd, data, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    int error = verdict_on(fd, "write");
    if (failing(error))
        return -1;
    return NEXT(ssize_t(*)(int, const struct iovec *, int, off_t), pwritev)(
        fd, parts, error == 0 ? 1 : count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    int error = verdict_on(fd, "write");
    if (failing(error))
        return -1;
    return NEXT(ssize_t(*)(int, const struct iovec *, int), writev)(
        fd, parts, error == 0 ? 1 : count);
}

int fdatasync(int fd)
{
    if (failing(verdict_on(fd, "fdatasync")))
        return -1;
    return NEXT(int (*)(int), fdatasync)(fd);
}

int fsync(int fd)
{
    if (failing(verdict_on(fd, "fsync")))
        return -1;
    return NEXT(int (*)(int), fsync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (failing(verdict_on(fd, "fallocate")))
        return -1;
    return NEXT(int (*)(int, int, off_t, off_t), fallocate)(fd, mode, offset, size);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    int error = verdict_on(fd, "fallocate");
    if (error > 0)
        return error;
    return NEXT(int (*)(int, off_t, off_t), posix_fallocate)(fd, offset, size);
}

static int verdict_at(int directory, const char *name, const char *call)
{
    char path[2 * PATH_MAX];
    int kept = errno, result;
    path[0] = 0;
    if (name[0] != '/' && directory != AT_FDCWD) {
        path_of(directory, path);
        strcat(path, "/");
    }
    strncat(path, name, PATH_MAX - 1);
    result = names(path) ? verdict(path, call) : PASS;
    errno = kept;
    return result;
}

static int open_at(int directory, const char *name, int flags, va_list rest)
{
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
    if (flags & O_CREAT && failing(verdict_at(directory, name, "open")))
        return -1;
    return (int)syscall(SYS_openat, directory, name, flags, mode);
}

int openat(int directory, const char *name, int flags, ...)
{
    va_list rest;
    int fd;
    va_start(rest, flags);
    fd = open_at(directory, name, flags, rest);
    va_end(rest);
    return fd;
}

int openat64(int directory, const char *name, int flags, ...)
{
    va_list rest;
    int fd;
    va_start(rest, flags);
    fd = open_at(directory, name, flags, rest);
    va_end(rest);
    return fd;
}

int open(const char *name, int flags, ...)
{
    va_list rest;
    int fd;
    va_start(rest, flags);
    fd = open_at(AT_FDCWD, name, flags, rest);
    va_end(rest);
    return fd;
}

int open64(const char *name, int flags, ...)
{
    va_list rest;
    int fd;
    va_start(rest, flags);
    fd = open_at(AT_FDCWD, name, flags, rest);
    va_end(rest);
    return fd;
}

int renameat(int old_directory, const char *old, int directory, const char *name)
{
    if (failing(verdict_at(directory, name, "rename")))
        return -1;
    return NEXT(int (*)(int, const char *, int, const char *), renameat)(
        old_directory, old, directory, name);
}

int rename(const char *old, const char *name)
{
    if (failing(verdict_at(AT_FDCWD, name, "rename")))
        return -1;
    return NEXT(int (*)(const char *, const char *), rename)(old, name);
}

/* LD_PRELOAD shim: an accept queue is at least LEAST long, whatever a program asks for.
 * OpenSMTPD has one of 5 compiled in: of two hundred clients that come at once all but a
 * few are asked to come again after 1, 3 and 7 seconds, which says nothing about it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

enum { LEAST = 1000 };

int listen(int fd, int backlog)
{
    int (*next)(int, int);
    *(void **)&next = dlsym(RTLD_NEXT, "listen");
    return next(fd, backlog < LEAST ? LEAST : backlog);
}

/* sink: the least an SMTP server can do; the ceiling of what `load` can drive.
 *
 * Takes every message and forgets it. One thread, one epoll set, no checks: a body is
 * over when a read ends with CRLF.CRLF, so it wants clients that wait for the reply to
 * the body. Prints the port it listens on (loopback) and serves until it is killed.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, SESSIONS = 65536, READ_OCTETS = 256 * 1024 };

static struct {
    char in_body;
    char tail[5]; /* the last octets of the body so far */
} sessions[SESSIONS];
static char octets[READ_OCTETS];

static void say(int fd, const char *text) {
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void body(int fd, const char *p, size_t n) {
    char *tail = sessions[fd].tail;
    if (n >= 5)
        memcpy(tail, p + n - 5, 5);
    else {
        memmove(tail, tail + n, 5 - n);
        memcpy(tail + 5 - n, p, n);
    }
    if (memcmp(tail, "\r\n.\r\n", 5) == 0) {
        sessions[fd].in_body = 0;
        say(fd, "250 2.0.0 Ok\r\n");
    }
}

static void commands(int fd, const char *p, const char *end) {
    const char *stop;
    for (; p < end && (stop = memchr(p, '\n', (size_t)(end - p))); p = stop + 1) {
        if (*p == 'D') {
            sessions[fd].in_body = 1;
            memset(sessions[fd].tail, 0, 5);
            say(fd, "354 End data with <CR><LF>.<CR><LF>\r\n");
        } else if (*p == 'Q') {
            say(fd, "221 2.0.0 Bye\r\n");
            close(fd);
            return;
        } else
            say(fd, "250 2.1.0 Ok\r\n");
    }
}

static void hear(int fd) {
    ssize_t n;
    do {
        n = recv(fd, octets, sizeof octets, MSG_DONTWAIT);
        if (n == 0) {
            close(fd);
            return;
        }
        if (n > 0 && sessions[fd].in_body)
            body(fd, octets, (size_t)n);
        else if (n > 0)
            commands(fd, octets, octets + n);
    } while (n == (ssize_t)sizeof octets);
}

static void greet(int poller, int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
        if (fd >= SESSIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        sessions[fd].in_body = 0;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
        say(fd, "220 sink.invalid ESMTP\r\n");
    }
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int poller = epoll_create1(0);
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the measurement */
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) {
        perror("sink");
        return 2;
    }
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                greet(poller, listener);
            else
                hear(events[i].data.fd);
    }
}

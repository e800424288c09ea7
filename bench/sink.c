/* sink: an SMTP and LMTP server that forgets every message: the ceiling of what `load`
 * can drive, and with rules a relay target that answers as large providers do.
 *
 * One thread, one epoll set. Without --rules nothing is looked at but where commands and
 * bodies end. Prints the port it listens on (loopback), serves until SIGTERM, and then
 * prints one JSON object of what it did. With --record every message whose 250 is about
 * to be sent leaves a line there: its id, when it came from `load`, and its recipients.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sink_rules.h"
#include "tls.h"

enum {
    EVENTS = 256,
    CONNECTIONS = 65536,
    READ_OCTETS = 256 * 1024,
    LINE_OCTETS = 4096, /* of one command */
    HEAD_OCTETS = 8192, /* of a message, looked at for its id */
};

enum { LATE = 1, HANGING = 2 }; /* why a guest is paused: nothing more is read from it */

struct guest {
    char live, lmtp, in_body, paused, leaving;
    char tail[5];  /* the last octets of the body so far */
    void *ssl;
    char *line, *rest, *head; /* made when they are needed */
    size_t line_size, rest_size, head_size;
    uint64_t chunk, sender, pair; /* octets of BDAT that are still due; hashes */
    int last, recipients, messages;
    double until; /* paused */
    char reply[512];
};

static struct guest guests[CONNECTIONS];
static char octets[READ_OCTETS];
static int poller, listener, record = -1, held, connections, paused_count;
static int paused[CONNECTIONS];
static uint64_t accepted, taken, closed;
static volatile sig_atomic_t ended;
static struct {
    const char *rules, *record, *certificate, *key;
    int port, connections, messages;
} opt = {.connections = CONNECTIONS, .messages = 1 << 30};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void leave(int fd) {
    struct guest *g = &guests[fd];
    if (g->ssl) {
        tls.SSL_shutdown(g->ssl);
        tls.SSL_free(g->ssl);
        tls.ERR_clear_error();
    }
    free(g->line);
    free(g->rest);
    free(g->head);
    memset(g, 0, sizeof *g);
    close(fd);
    connections--;
    closed++;
}

static void say(int fd, const char *text, size_t size) {
    if (guests[fd].ssl)
        tls.SSL_write(guests[fd].ssl, text, (int)size);
    else
        (void)!send(fd, text, size, MSG_NOSIGNAL);
}

/* Says it, now or after the delay; 421 is the last word (RFC 5321, 3.8). */
static void answer(int fd, const char *text, double delay) {
    struct guest *g = &guests[fd];
    g->leaving |= !strncmp(text, "421", 3);
    if (delay <= 0) {
        say(fd, text, strlen(text));
        if (g->leaving)
            leave(fd);
        return;
    }
    snprintf(g->reply, sizeof g->reply, "%s", text);
    g->until = now() + delay;
    g->paused = LATE;
    paused[paused_count++] = fd;
}

enum ruling { NO_RULE, REFUSED, AGREED };

/* What a rule has answered in place of us; without words of its own it is only late. */
static enum ruling ruled(int fd, enum stage stage, const char *line, size_t size,
                         const char *good) {
    struct guest *g = &guests[fd];
    if (!stage_has_rules[stage])
        return NO_RULE;
    struct rule *r = rule_for(stage, line, size, g->pair, now());
    if (!r)
        return NO_RULE;
    if (r->action == CLOSE)
        leave(fd);
    else if (r->action == HANG)
        g->paused = HANGING;
    else {
        const char *text = r->reply[0] == '\r' ? good : r->reply;
        answer(fd, text, r->delay);
        return text[0] < '4' ? AGREED : REFUSED;
    }
    return REFUSED;
}

/* Agrees, unless a rule has another mind; whether it was agreed. */
static int agree(int fd, enum stage stage, const char *line, size_t size,
                 const char *good) {
    enum ruling said = ruled(fd, stage, line, size, good);
    if (said == NO_RULE)
        say(fd, good, strlen(good));
    return said != REFUSED;
}

/* -- messages -------------------------------------------------------------------- */

static void write_record(struct guest *g) {
    char text[256], *end, *begin;
    end = g->head ? memmem(g->head, g->head_size, "@load.invalid>", 14) : NULL;
    for (begin = end; begin && begin > g->head && begin[-1] != '<';)
        begin--;
    int n = snprintf(text, sizeof text, "%.*s %d\n", end ? (int)(end - begin) : 1,
                     end ? begin : "-", g->recipients);
    if (write(record, text, (size_t)n) != n)
        perror("sink: --record");
}

static void note_taken(struct guest *g) {
    taken++;
    if (record >= 0)
        write_record(g);
}

/* One reply, or one for each recipient (RFC 2033, 4.2). */
static void end_message(int fd) {
    static const char good[] = "250 2.0.0 Ok\r\n";
    struct guest *g = &guests[fd];
    int count = g->lmtp ? g->recipients : 1;
    g->in_body = 0;
    g->messages++;
    if (!stage_has_rules[BODY])
        note_taken(g);
    for (int i = 0; i < count && g->live; i++) {
        size_t used = strlen(g->reply);
        if (g->paused == LATE) /* behind the one that is late */
            snprintf(g->reply + used, sizeof g->reply - used, "%s", good);
        else if (agree(fd, BODY, g->head, g->head_size, good) && i == 0 &&
                 stage_has_rules[BODY])
            note_taken(g);
    }
    g->recipients = 0;
    g->head_size = 0;
}

static void keep_head(struct guest *g, const char *p, size_t n) {
    if (record < 0 && !stage_has_rules[BODY])
        return;
    if (!g->head)
        g->head = malloc(HEAD_OCTETS);
    size_t room = HEAD_OCTETS - g->head_size;
    n = n < room ? n : room;
    memcpy(g->head + g->head_size, p, n);
    g->head_size += n;
}

/* Takes octets of a body; how many of them are still part of it. */
static size_t body(int fd, const char *p, size_t n) {
    struct guest *g = &guests[fd];
    char *tail = g->tail;
    if (n >= 5 && memcmp(p + n - 5, "\r\n.\r\n", 5)) { /* what follows, if it ends here? */
        const char *end = memmem(p, n, "\r\n.\r\n", 5);
        if (end)
            n = (size_t)(end - p) + 5;
    }
    for (size_t i = 0; i < n && i < 4; i++) { /* an end that began in the last read */
        char join[9];
        memcpy(join, tail, 5);
        memcpy(join + 5, p, i + 1);
        if (!memcmp(join + i + 1, "\r\n.\r\n", 5))
            n = i + 1;
    }
    keep_head(g, p, n);
    if (n >= 5)
        memcpy(tail, p + n - 5, 5);
    else {
        memmove(tail, tail + n, 5 - n);
        memcpy(tail + 5 - n, p, n);
    }
    if (!memcmp(tail, "\r\n.\r\n", 5))
        end_message(fd);
    return n;
}

static size_t chunk(int fd, const char *p, size_t n) {
    struct guest *g = &guests[fd];
    n = n < g->chunk ? n : (size_t)g->chunk;
    keep_head(g, p, n);
    g->chunk -= n;
    if (!g->chunk && g->last)
        end_message(fd);
    else if (!g->chunk)
        say(fd, "250 2.0.0 Ok\r\n", 14);
    return n;
}

/* -- commands -------------------------------------------------------------------- */

static void hello(int fd, const char *line, size_t size) {
    static const char plain[] =
        "250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-CHUNKING\r\n"
        "250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";
    static const char offer[] =
        "250-sink.invalid\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-CHUNKING\r\n"
        "250-SMTPUTF8\r\n250-AUTH PLAIN\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n";
    const char *text = opt.certificate && !guests[fd].ssl ? offer : plain;
    guests[fd].lmtp = toupper((unsigned char)line[0]) == 'L';
    agree(fd, HELLO, line, size, text);
}

static void start_tls(int fd) {
    struct guest *g = &guests[fd];
    say(fd, "220 2.0.0 Go ahead\r\n", 20);
    g->ssl = tls.SSL_new(tls.context);
    tls.SSL_set_fd(g->ssl, fd);
    tls.SSL_set_accept_state(g->ssl);
}

static void mail(int fd, const char *line, size_t size) {
    struct guest *g = &guests[fd];
    g->sender = rule_count ? hashed(0xcbf29ce484222325ull, line, size) : 0;
    g->recipients = 0;
    g->head_size = 0;
    if (g->messages >= opt.messages)
        answer(fd, "421 4.7.0 Enough for one connection\r\n", 0);
    else
        agree(fd, MAIL, line, size, "250 2.1.0 Ok\r\n");
}

static void rcpt(int fd, const char *line, size_t size) {
    struct guest *g = &guests[fd];
    g->pair = rule_count ? hashed(g->sender, line, size) | 1 : 0;
    g->recipients += agree(fd, RCPT, line, size, "250 2.1.5 Ok\r\n");
}

static void data(int fd) {
    static const char go[] = "354 End data with <CR><LF>.<CR><LF>\r\n";
    struct guest *g = &guests[fd];
    if (!g->recipients) {
        say(fd, "503 5.5.1 No recipient\r\n", 24);
        return;
    }
    if (!agree(fd, DATA, "", 0, go))
        return;
    g->in_body = 1;
    memcpy(g->tail, "   \r\n", 5); /* a dot alone may come first */
}

static void command(int fd, const char *line, size_t size) {
    struct guest *g = &guests[fd];
    char first = (char)toupper((unsigned char)line[0]);
    char second = size > 1 ? (char)toupper((unsigned char)line[1]) : 0;
    if (first == 'M')
        mail(fd, line, size);
    else if (first == 'R' && second == 'C')
        rcpt(fd, line, size);
    else if (first == 'D')
        data(fd);
    else if (first == 'B') {
        g->chunk = strtoull(line + 4, NULL, 10);
        g->last = holds(line, size, " LAST");
        if (!g->chunk)
            chunk(fd, line, 0);
    } else if (first == 'E' || first == 'L' || first == 'H')
        hello(fd, line, size);
    else if (first == 'S' && opt.certificate && !g->ssl)
        start_tls(fd);
    else if (first == 'Q') {
        say(fd, "221 2.0.0 Bye\r\n", 15);
        leave(fd);
    } else if (first == 'A')
        say(fd, "235 2.7.0 Welcome\r\n", 19);
    else
        say(fd, "250 2.0.0 Ok\r\n", 14);
}

/* A command, or what there is of it; how many octets were taken. */
static size_t line(int fd, const char *p, size_t n) {
    struct guest *g = &guests[fd];
    const char *stop = memchr(p, '\n', n);
    size_t size = stop ? (size_t)(stop - p) + 1 : n;
    if (stop && !g->line_size) {
        command(fd, p, size);
        return size;
    }
    if (!g->line)
        g->line = malloc(LINE_OCTETS);
    if (g->line_size + size > LINE_OCTETS) {
        leave(fd);
        return n;
    }
    memcpy(g->line + g->line_size, p, size);
    g->line_size += size;
    if (stop) {
        size_t whole = g->line_size;
        g->line_size = 0;
        command(fd, g->line, whole);
    }
    return size;
}

static void take(int fd, const char *p, size_t n) {
    struct guest *g = &guests[fd];
    while (n && g->live) {
        if (g->paused) { /* the rest waits for the reply that is late */
            char *kept = malloc(n);
            memcpy(kept, p, n);
            free(g->rest);
            g->rest = kept;
            g->rest_size = n;
            return;
        }
        size_t used = g->in_body ? body(fd, p, n)
                      : g->chunk ? chunk(fd, p, n) : line(fd, p, n);
        p += used;
        n -= used;
    }
}

static ssize_t hear_some(int fd) {
    void *ssl = guests[fd].ssl;
    if (!ssl)
        return recv(fd, octets, sizeof octets, MSG_DONTWAIT);
    return tls_outcome(ssl, tls.SSL_read(ssl, octets, sizeof octets));
}

static void hear(int fd, int over) {
    ssize_t n;
    if (over && guests[fd].paused)
        leave(fd);
    while (guests[fd].live && !guests[fd].paused) {
        n = hear_some(fd);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            leave(fd);
            return;
        }
        take(fd, octets, (size_t)n);
        if (!over && n < (ssize_t)sizeof octets && !guests[fd].ssl)
            return; /* edge triggered, but a short read has emptied the socket */
    }
}

/* -- the loop -------------------------------------------------------------------- */

static void greet(int fd) {
    static const char greeting[] = "220 sink.invalid ESMTP\r\n";
    if (connections > opt.connections) {
        held++;
        answer(fd, "421 4.7.0 Too many connections\r\n", 0);
        return;
    }
    agree(fd, CONNECT, "", 0, greeting);
}

static void welcome(void) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int one = 1;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (fd >= CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        guests[fd].live = 1;
        connections++;
        accepted++;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
        greet(fd);
    }
}

/* Says what is due; milliseconds until more is, or -1. */
static int resume(void) {
    double at = now(), next = at + 3600;
    for (int i = 0; i < paused_count;) {
        int fd = paused[i];
        struct guest *g = &guests[fd];
        if (g->paused == LATE && g->until > at) {
            next = g->until < next ? g->until : next;
            i++;
            continue;
        }
        paused[i] = paused[--paused_count];
        if (g->paused != LATE) /* it has left meanwhile */
            continue;
        char *rest = g->rest;
        size_t size = g->rest_size;
        g->paused = 0;
        g->rest = NULL;
        g->rest_size = 0;
        say(fd, g->reply, strlen(g->reply));
        g->reply[0] = 0;
        if (g->leaving)
            leave(fd);
        take(fd, rest, rest ? size : 0);
        free(rest);
        if (g->leaving || !g->live)
            continue;
        hear(fd, 0);
    }
    return paused_count ? (int)((next - at) * 1000) + 1 : -1;
}

static void end(int signal) {
    (void)signal;
    ended = 1;
}

static void print_sum(void) {
    printf("{\"connections\": %llu, \"closed\": %llu, \"messages\": %llu, "
           "\"over_limit\": %d, \"rules\": [",
           (unsigned long long)accepted, (unsigned long long)closed,
           (unsigned long long)taken, held);
    for (int i = 0; i < rule_count; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)rules[i].times);
    printf("]}\n");
    fflush(stdout);
}

static const struct option options[] = {
    {"port", 1, 0, 'p'},   {"rules", 1, 0, 'r'},       {"record", 1, 0, 'o'},
    {"cert", 1, 0, 'c'},   {"connections", 1, 0, 'n'}, {"messages", 1, 0, 'm'},
    {"key", 1, 0, 'k'},    {0, 0, 0, 0},
};

static void read_options(int argc, char **argv) {
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 'p': opt.port = atoi(optarg); break;
        case 'r': opt.rules = optarg; break;
        case 'o': opt.record = optarg; break;
        case 'c': opt.certificate = optarg; break;
        case 'k': opt.key = optarg; break;
        case 'n': opt.connections = atoi(optarg); break;
        case 'm': opt.messages = atoi(optarg); break;
        default:
            fputs("usage: sink [--port N] [--rules FILE] [--record FILE] [--cert FILE "
                  "--key FILE] [--connections N] [--messages N]\n", stderr);
            exit(2);
        }
}

static void prepare(void) {
    struct sigaction quit = {.sa_handler = end};
    sigaction(SIGTERM, &quit, NULL); /* no SA_RESTART: epoll_wait returns */
    sigaction(SIGINT, &quit, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the measurement */
    if (opt.rules)
        read_rules(opt.rules);
    if (opt.record)
        record = open(opt.record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opt.record && record < 0) {
        perror(opt.record);
        exit(2);
    }
    if (!opt.certificate)
        return;
    tls_open(1);
    if (tls.SSL_CTX_use_certificate_chain_file(tls.context, opt.certificate) != 1 ||
        tls.SSL_CTX_use_PrivateKey_file(tls.context, opt.key ? opt.key : "", 1) != 1) {
        fputs("sink: no certificate and key there\n", stderr);
        exit(2);
    }
}

static void listen_here(void) {
    int one = 1;
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)opt.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    struct epoll_event e = {.events = EPOLLIN};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    e.data.fd = listener;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) {
        perror("sink");
        exit(2);
    }
    getsockname(listener, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    prepare();
    poller = epoll_create1(EPOLL_CLOEXEC);
    listen_here();
    while (!ended) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(poller, events, EVENTS, paused_count ? resume() : -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                welcome();
            else
                hear(events[i].data.fd,
                     (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
    print_sum();
    return 0;
}

/* load: an SMTP or LMTP client that costs next to nothing, for measuring servers.
 *
 * One thread, one epoll set, edge triggered. Every session plays one dialogue:
 *
 *     connect, EHLO, [STARTTLS, EHLO,] [AUTH,] ( MAIL, RCPT × n, DATA, body ) × many, QUIT
 *
 * and waits for each reply, as a client without PIPELINING does (--pipeline sends
 * MAIL, RCPT and DATA together; --bdat sends the message as one chunk instead of DATA).
 * A reply is read by a four-column automaton, so that no session owns a buffer; texts
 * are shared by all sessions, and only a head of some 200 octets, with the unique
 * Message-ID, belongs to a session.
 *
 * Closed loop: a session begins its next message when the last one is acknowledged. Open
 * loop (--rate): messages are due at fixed times, or with --poisson at random ones; one
 * that finds no free session waits, and its latency counts from when it was due, so
 * that a stall of the server is seen by every message that it holds up.
 *
 * --tls begins with a TLS 1.3 handshake, --starttls says STARTTLS; --resume lets each
 * session resume the TLS session of its last connection. With --handshakes a session
 * only connects, shakes hands and leaves, and these count in place of messages.
 *
 * Prints one JSON object, and with --interval another every so many seconds before it,
 * of what came since the last. Two latencies: `latency_us` from the last octet of a body
 * to its 250, `whole_us` from when the message was due, or begun, to the same.
 * Exit status: 0 all acknowledged, 1 something was refused or broke (without
 * --tolerant), 2 bad usage, 3 nothing moved for --timeout seconds. SIGINT and SIGTERM
 * end it early, with its report.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "load_options.h"
#include "corpus.h"
#include "tls.h"

enum {
    EVENTS = 256,        /* taken from epoll in one call */
    REPLY_OCTETS = 4096, /* one read; replies are some 50 octets */
    CODES = 600,         /* of replies */
    PAUSE_MS = 20,       /* before a broken session connects again */
    GRACE_NS = 1000000000,
    PATIENCE_NS = 2000000000, /* with replies, when it is told to stop */
    FIRST_DUE_NS = 50000000, /* until sessions that stay are connected */
};

enum state {
    AWAY, CONNECTING, SHAKING, GREETING, EHLO, STARTTLS, AUTH, IDLE, MAIL, RCPT, DATA,
    BODY, RSET, QUIT
};

struct session {
    int fd;
    void *ssl;    /* NULL: in clear */
    void *ticket; /* what the next connection resumes with */
    const struct login *login;
    const struct text *text;
    uint8_t state;
    uint8_t column; /* of the reply line that is being read, at most 4 */
    uint8_t last;   /* this line ends the reply (no '-' after the code) */
    uint8_t failed; /* this transaction was refused */
    uint8_t taken;  /* `number` and `due` are of a message yet to be sent */
    uint16_t code, worst; /* of this reply; the highest of a group */
    uint32_t pending; /* replies still due before the next step */
    uint32_t recipient;
    uint64_t number; /* of the message in flight */
    uint64_t due;    /* ns: when it was to begin */
    uint64_t since;  /* ns; BODY: when its last octet was written; AWAY: when it broke */
    size_t sent, size; /* of what is being written; sent == size: nothing */
    size_t head_at, head_size, id_at; /* where in `head` what is sent begins; its size */
    char head[HEAD_OCTETS];
};

static struct session *sessions, **idle;
static int poller, timer, acked_file = -1, away, idle_count, stopping;
static volatile sig_atomic_t told_to_stop;
static uint64_t started, acknowledged, refused, broken, shaken, resumed;
static uint64_t replies[CODES];
static uint64_t begun_at, deadline, last_progress, finished_at, next_report;
static uint64_t timer_set, chance, stopped_at;
static double next_due, gap; /* ns; open loop */
static char *group, acked_text[EVENTS * 64];
static size_t acked_size, sender_size;
static char first_error[256], refusal[160]; /* what was said with the first bad code */
static struct histogram waited, whole;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void complain(const char *what, const char *detail) {
    if (!first_error[0])
        snprintf(first_error, sizeof first_error, "%s: %s", what, detail);
}

/* -- what is sent ---------------------------------------------------------------- */

static void compose(void) {
    for (int i = 0; i < opt.sessions; i++) {
        struct session *s = &sessions[i];
        s->login = login_count ? &logins[(size_t)i % login_count] : NULL;
        s->head_size = write_head(s->head + CHUNK_OCTETS,
                                  s->login ? s->login->address : opt.from, &s->id_at);
        s->head_at = CHUNK_OCTETS;
    }
}

/* Puts number and, with --bdat, the command into the head. */
static void address(struct session *s) {
    uint64_t rest = s->number;
    char *digits = s->head + CHUNK_OCTETS + s->id_at;
    for (int i = ID_DIGITS; i-- > 0; rest /= 10)
        digits[i] = (char)('0' + rest % 10);
    s->text = text_of(s->number);
    if (!opt.bdat)
        return;
    char chunk[CHUNK_OCTETS];
    s->head_size -= CHUNK_OCTETS - s->head_at; /* the last command's */
    int n = snprintf(chunk, sizeof chunk, "BDAT %zu LAST\r\n",
                     s->head_size + s->text->size);
    s->head_at = (size_t)(CHUNK_OCTETS - n);
    s->head_size += (size_t)n;
    memcpy(s->head + s->head_at, chunk, (size_t)n);
}

static void watch(struct session *s, uint32_t events, int how) {
    struct epoll_event e = {.events = events | EPOLLET, .data.ptr = s};
    epoll_ctl(poller, how, s->fd, &e);
}

static void lose(struct session *s, const char *why);

static ssize_t put(struct session *s, const char *text, size_t size) {
    if (s->ssl)
        return tls_outcome(s->ssl, tls.SSL_write(s->ssl, text, (int)size));
    return send(s->fd, text, size, MSG_NOSIGNAL);
}

/* Writes a whole command at once: it always fits into an empty socket buffer. */
static void say(struct session *s, enum state state, const char *text, size_t size) {
    s->state = state;
    s->pending = 1;
    if (put(s, text, size) != (ssize_t)size)
        lose(s, "send");
}

/* A record of head and body from `sent` on; the same again when it must wait. */
static ssize_t put_record(struct session *s) {
    size_t from = s->sent, all = 0;
    if (from < s->head_size) {
        all = s->head_size - from;
        memcpy(tls.record, s->head + s->head_at + from, all);
        from = s->head_size;
    }
    size_t rest = s->text->size - (from - s->head_size);
    size_t more = rest < RECORD_OCTETS - all ? rest : RECORD_OCTETS - all;
    memcpy(tls.record + all, s->text->octets + from - s->head_size, more);
    return put(s, tls.record, all + more);
}

static void say_body(struct session *s) {
    while (s->sent < s->size) {
        struct iovec parts[2] = {{s->head + s->head_at, s->head_size},
                                 {s->text->octets, s->text->size}};
        struct iovec *first = parts;
        size_t skip = s->sent;
        if (skip >= s->head_size) {
            skip -= s->head_size;
            first++;
        }
        first->iov_base = (char *)first->iov_base + skip;
        first->iov_len -= skip;
        struct msghdr m = {.msg_iov = first, .msg_iovlen = (size_t)(parts + 2 - first)};
        s->since = now();
        ssize_t n = s->ssl ? put_record(s) : sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return; /* EPOLLOUT comes: every session is registered for both */
        if (n <= 0) {
            lose(s, "send of a body");
            return;
        }
        s->sent += (size_t)n;
    }
}

static void begin_body(struct session *s) {
    s->state = BODY;
    s->pending = opt.lmtp ? (uint32_t)opt.recipients : 1; /* RFC 2033, 4.2 */
    s->sent = 0;
    s->size = s->head_size + s->text->size;
    say_body(s);
}

/* -- the dialogue ---------------------------------------------------------------- */

/* In an open loop all that was due before the end is sent, but for what a server that
 * cannot keep up has left a second later. */
static int is_late(void) {
    uint64_t t = deadline ? now() : 0;
    if (opt.rate > 0 && t < deadline + GRACE_NS)
        return deadline && (uint64_t)next_due >= deadline;
    return deadline && t >= deadline;
}

static int out_of_work(void) {
    if (!stopping && (started >= opt.messages || told_to_stop || is_late()))
        stopping = 1;
    return stopping;
}

static double until_next(void) {
    if (!opt.poisson)
        return gap;
    chance = scrambled(chance);
    return -log(((double)(chance >> 11) + 1) / 9007199254740993.0) * gap;
}

/* Gives the session its next message, when one is due. */
static int take(struct session *s) {
    if (s->taken)
        return 1;
    uint64_t t = now();
    if (opt.rate > 0 && (uint64_t)next_due > t)
        return 0;
    s->due = opt.rate > 0 ? (uint64_t)next_due : t;
    next_due += opt.rate > 0 ? until_next() : 0;
    s->number = started++;
    s->taken = 1;
    return 1;
}

static void begin_message(struct session *s) {
    if (!s->taken && out_of_work()) {
        say(s, QUIT, "QUIT\r\n", 6);
        return;
    }
    if (!take(s)) {
        s->state = IDLE;
        idle[idle_count++] = s;
        return;
    }
    s->taken = 0;
    s->recipient = 0;
    s->failed = 0;
    s->worst = 0;
    address(s);
    size_t size = sender_size;
    if (s->login)
        size = (size_t)snprintf(group, COMMAND_OCTETS, "MAIL FROM:<%s>\r\n",
                                s->login->address);
    if (!opt.pipeline) {
        say(s, MAIL, group, size);
        return;
    }
    for (int n = 0; n < opt.recipients; n++)
        size += recipient(group + size, COMMAND_OCTETS, s->number, (uint32_t)n);
    uint32_t due = 1 + (uint32_t)opt.recipients;
    if (opt.bdat) {
        s->recipient = (uint32_t)opt.recipients;
        say(s, RCPT, group, size);
        s->pending = due;
        return;
    }
    memcpy(group + size, "DATA\r\n", 6);
    say(s, DATA, group, size + 6);
    s->pending = due + 1;
}

static void next_recipient(struct session *s) {
    char text[COMMAND_OCTETS];
    if (s->recipient == (uint32_t)opt.recipients) {
        if (opt.bdat) {
            begin_body(s);
            return;
        }
        say(s, DATA, "DATA\r\n", 6);
        return;
    }
    size_t size = recipient(text, sizeof text, s->number, s->recipient++);
    say(s, RCPT, text, size);
}

static void note_acknowledged(struct session *s) {
    uint64_t t = now();
    observe(&waited, t - s->since);
    observe(&whole, t - s->due);
    last_progress = finished_at = t;
    acknowledged++;
    if (acked_file >= 0)
        acked_size += (size_t)snprintf(acked_text + acked_size,
                                       sizeof acked_text - acked_size, "%s%0*llu\n",
                                       opt.tag, ID_DIGITS,
                                       (unsigned long long)s->number);
}

static void note_acked_on_disk(void) {
    if (acked_size && write(acked_file, acked_text, acked_size) != (ssize_t)acked_size) {
        perror("load: the file of acknowledged ids");
        exit(2);
    }
    acked_size = 0;
}

/* A refused transaction is given up; what it held counts as refused, once. */
static void give_up(struct session *s) {
    s->failed = 1;
    refused++;
    last_progress = now();
    complain("refused", refusal);
    if (opt.tolerant) { /* as a polite client: leave, come back after a pause */
        say(s, QUIT, "QUIT\r\n", 6);
        return;
    }
    stopping = 1;
    if (s->state == BODY)
        begin_message(s);
    else
        say(s, RSET, "RSET\r\n", 6);
}

static void keep_ticket(struct session *s) {
    void *ticket = tls.SSL_get1_session(s->ssl);
    if (ticket && tls.SSL_SESSION_is_resumable(ticket)) {
        if (s->ticket)
            tls.SSL_SESSION_free(s->ticket);
        s->ticket = ticket;
    } else if (ticket)
        tls.SSL_SESSION_free(ticket);
}

/* Closes; a session whose transaction went well may come back at once. */
static void retire(struct session *s, int at_once) {
    if (s->ssl) {
        if (opt.resume)
            keep_ticket(s);
        tls.SSL_shutdown(s->ssl); /* without it OpenSSL takes the ticket for spent */
        tls.SSL_free(s->ssl);
        tls.ERR_clear_error(); /* SSL_get_error of the next one looks at the queue */
        s->ssl = NULL;
    }
    close(s->fd);
    s->fd = -1;
    s->state = AWAY;
    s->since = at_once ? 0 : now();
    away++;
}

static void leave_idle(struct session *s) {
    int i = 0;
    while (idle[i] != s)
        i++;
    idle[i] = idle[--idle_count];
}

static void lose(struct session *s, const char *why) {
    if (s->state == IDLE)
        leave_idle(s);
    if (s->state != QUIT) {
        complain(why, strerror(errno));
        broken++;
        if (!opt.tolerant)
            stopping = 1;
    }
    retire(s, 0);
}

/* It answers, but with a bad code where a session begins. */
static void turned_away(struct session *s, const char *what) {
    complain(what, refusal);
    lose(s, what);
}

static void connect_session(struct session *s) {
    int one = 1;
    s->fd = socket(peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) {
        perror("load: socket");
        exit(2);
    }
    if (!opt.path)
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->state = CONNECTING;
    s->column = 0;
    s->last = s->failed = 0;
    s->worst = 0;
    s->sent = s->size = 0;
    s->pending = 1;
    away--;
    if (connect(s->fd, (struct sockaddr *)&peer, peer_size) < 0 && errno != EINPROGRESS) {
        lose(s, "connect");
        return;
    }
    watch(s, EPOLLIN | EPOLLOUT | EPOLLRDHUP, EPOLL_CTL_ADD);
}

static void say_hello(struct session *s) {
    say(s, EHLO, opt.lmtp ? "LHLO load.invalid\r\n" : "EHLO load.invalid\r\n", 19);
}

static void log_in(struct session *s) {
    char text[600];
    int n = snprintf(text, sizeof text, "AUTH PLAIN %s\r\n", s->login->plain);
    say(s, AUTH, text, (size_t)n);
}

static void note_shaken(struct session *s) {
    shaken++;
    resumed += (uint64_t)tls.SSL_session_reused(s->ssl);
    if (opt.starttls) {
        say_hello(s);
        return;
    }
    s->state = GREETING;
    s->pending = 1;
}

static void shake(struct session *s) {
    if (tls_outcome(s->ssl, tls.SSL_do_handshake(s->ssl)) > 0)
        note_shaken(s);
    else if (errno != EAGAIN)
        lose(s, "TLS handshake");
}

static void begin_tls(struct session *s) {
    s->ssl = tls.SSL_new(tls.context);
    tls.SSL_set_fd(s->ssl, s->fd);
    tls.SSL_set_connect_state(s->ssl);
    if (s->ticket)
        tls.SSL_set_session(s->ssl, s->ticket);
    s->state = SHAKING;
    shake(s);
}

/* Only handshakes are counted: the greeting, or the second EHLO, is the end of one. */
static void leave_again(struct session *s) {
    started++;
    s->since = s->due = begun_at;
    note_acknowledged(s);
    retire(s, 1);
}

/* A whole reply has come and no other is due: take the next step. */
static void advance(struct session *s) {
    int good = s->worst < 400;
    switch ((enum state)s->state) {
    case CONNECTING:
    case GREETING:
        if (!good)
            turned_away(s, "greeting");
        else if (opt.handshakes && opt.implicit)
            leave_again(s);
        else
            say_hello(s);
        break;
    case EHLO:
        if (opt.starttls && !s->ssl)
            say(s, STARTTLS, "STARTTLS\r\n", 10);
        else if (opt.handshakes)
            leave_again(s);
        else if (s->login)
            log_in(s);
        else
            begin_message(s);
        break;
    case AUTH:
        good ? begin_message(s) : turned_away(s, "AUTH");
        break;
    case STARTTLS:
        if (good)
            begin_tls(s);
        else
            turned_away(s, "STARTTLS");
        break;
    case RSET:
        begin_message(s);
        break;
    case MAIL:
        good ? next_recipient(s) : give_up(s);
        break;
    case RCPT:
        good ? next_recipient(s) : give_up(s);
        break;
    case DATA:
        s->code == 354 ? begin_body(s) : give_up(s);
        break;
    case BODY:
        if (!good) {
            give_up(s);
            break;
        }
        note_acknowledged(s);
        if (opt.per_connection)
            say(s, QUIT, "QUIT\r\n", 6);
        else
            begin_message(s);
        break;
    case QUIT:
        retire(s, opt.per_connection && !s->failed);
        break;
    case SHAKING:
    case IDLE:
    case AWAY:
        break;
    }
}

/* Nothing was asked, and yet it speaks: 421 and the end (RFC 5321, 3.8). */
static void hear_unasked(struct session *s) {
    complain("unasked reply", refusal[0] ? refusal : "while idle");
    lose(s, "unasked reply");
}

static void note_reply(struct session *s) {
    if (s->code < CODES)
        replies[s->code]++;
    if (s->code < 200 || s->code >= CODES)
        s->code = 599;
    if (s->code > s->worst)
        s->worst = s->code;
    if (s->state == IDLE) {
        hear_unasked(s);
        return;
    }
    if (--s->pending == 0) {
        advance(s);
        s->worst = 0;
    }
}

/* Keeps a line for a report: what would be wrong in a text of JSON is left out. */
static void note_refusal(int code, const char *text, const char *end) {
    size_t used = (size_t)snprintf(refusal, sizeof refusal, "%03d ", code);
    for (; text < end && used + 1 < sizeof refusal; text++)
        if (*text >= ' ' && *text < 127 && *text != '"' && *text != '\\')
            refusal[used++] = *text;
    refusal[used] = 0;
}

static void reply_octets(struct session *s, const char *p, const char *end) {
    int fd = s->fd;
    while (p < end && s->fd == fd) {
        for (; s->column < 4 && p < end && *p != '\n'; p++, s->column++) {
            if (s->column == 0)
                s->code = 0;
            if (s->column < 3)
                s->code = (uint16_t)(s->code * 10 + (*p - '0'));
            else
                s->last = *p != '-';
        }
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            return;
        if (s->code >= 400 && !refusal[0])
            note_refusal(s->code, p, stop);
        p = stop + 1;
        if (s->column < 4)
            s->last = 1;
        s->column = 0;
        if (s->last)
            note_reply(s);
    }
}

static void hear(struct session *s, int ended) {
    char text[REPLY_OCTETS];
    for (;;) {
        ssize_t n = s->ssl
            ? tls_outcome(s->ssl, tls.SSL_read(s->ssl, text, sizeof text))
            : recv(s->fd, text, sizeof text, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            if (n == 0)
                errno = ECONNRESET;
            lose(s, "connection");
            return;
        }
        void *ssl = s->ssl;
        reply_octets(s, text, text + n);
        if (s->fd < 0 || ssl != s->ssl)
            return;
        if (!ended && (s->ssl ? !tls.SSL_has_pending(s->ssl) : (size_t)n < sizeof text))
            return; /* edge triggered, but a short read has emptied the socket; an end
                       that came with the octets has no event of its own */
    }
}

/* -- the loop -------------------------------------------------------------------- */

static void reconnect(void) {
    uint64_t t = now();
    for (int i = 0; i < opt.sessions && away; i++) {
        struct session *s = &sessions[i];
        if (s->state != AWAY || (s->since && t - s->since <= PAUSE_MS * 1000000ull))
            continue;
        if (opt.per_connection && !opt.handshakes && (out_of_work() || !take(s)))
            return; /* the message is due before its connection */
        connect_session(s);
    }
}

/* When no work is left, who still waits for a greeting need not wait longer. */
static void abandon(void) {
    for (int i = 0; i < opt.sessions; i++)
        if (sessions[i].fd >= 0 && sessions[i].state <= SHAKING)
            retire(&sessions[i], 0);
}

static double spent_us(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void print_counts(void) {
    const char *comma = "";
    printf("\"started\": %llu, \"acknowledged\": %llu, \"refused\": %llu, "
           "\"broken\": %llu, \"replies\": {",
           (unsigned long long)started, (unsigned long long)acknowledged,
           (unsigned long long)refused, (unsigned long long)broken);
    for (int code = 0; code < CODES; code++)
        if (replies[code]) {
            printf("%s\"%d\": %llu", comma, code, (unsigned long long)replies[code]);
            comma = ", ";
        }
    printf("}, ");
}

/* Counts are of the whole run so far, histograms of the interval; `behind` are messages
 * that were due and have no session yet. */
static void report_interval(void) {
    uint64_t t = now(), late = 0, end = deadline && t > deadline ? deadline : t;
    if (opt.rate > 0 && (double)end > next_due)
        late = (uint64_t)(((double)end - next_due) / gap) + 1;
    printf("{\"at\": %.3f, \"clock\": %.6f, ", (double)(t - begun_at) / 1e9, (double)t / 1e9);
    print_counts();
    printf("\"behind\": %llu, \"cpu_seconds\": %.6f, \"waited\": ",
           (unsigned long long)late, spent_us() / 1e6);
    print_new(&waited);
    printf(", \"whole\": ");
    print_new(&whole);
    printf("}\n");
    fflush(stdout);
    next_report += (uint64_t)(opt.interval * 1e9);
    if (next_report <= t)
        next_report = t + (uint64_t)(opt.interval * 1e9);
}

static void print_percentiles(const char *name, const struct histogram *h) {
    printf("\"%s\": {\"p50\": %.0f, \"p90\": %.0f, \"p99\": %.0f, \"p999\": %.0f, "
           "\"max\": %.0f}, ", name, percentile(h, 0.5), percentile(h, 0.9),
           percentile(h, 0.99), percentile(h, 0.999), (double)h->slowest / 1000);
}

static void report(void) {
    double took = (double)((finished_at ? finished_at : now()) - begun_at) / 1e9;
    double count = acknowledged ? (double)acknowledged : 1;
    if (opt.interval > 0)
        report_interval();
    printf("{");
    print_counts();
    printf("\"seconds\": %.6f, \"rate\": %.1f, \"cpu_us\": %.2f, ", took,
           (double)acknowledged / took, spent_us() / count);
    print_percentiles("latency_us", &waited);
    print_percentiles("whole_us", &whole);
    printf("\"handshakes\": %llu, \"resumed\": %llu, \"first_error\": \"%s\"}\n",
           (unsigned long long)shaken, (unsigned long long)resumed, first_error);
}

/* Sessions that wait take what is due now; the timer is set to the next that will be. */
static void serve_due(void) {
    uint64_t t = now();
    while (idle_count && ((uint64_t)next_due <= t || out_of_work()))
        begin_message(idle[--idle_count]);
    uint64_t due = (uint64_t)next_due;
    if (due > t && due != timer_set && (idle_count || (away && opt.per_connection))) {
        struct itimerspec when = {.it_value = {(time_t)(due / 1000000000u),
                                               (long)(due % 1000000000u)}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        timer_set = due;
    }
}

static void handle(struct session *s, uint32_t events) {
    if (s->fd < 0)
        return;
    if (s->state == CONNECTING && opt.implicit) {
        if (events & EPOLLOUT)
            begin_tls(s);
        return;
    }
    if (s->state == SHAKING)
        shake(s);
    if (s->fd >= 0 && s->sent < s->size && (events & EPOLLOUT))
        say_body(s);
    if (s->fd >= 0 && s->state != SHAKING && (events & ~(uint32_t)EPOLLOUT))
        hear(s, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

static int turn(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, away ? PAUSE_MS / 4 : 100);
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr)
            handle(events[i].data.ptr, events[i].events);
    if (acked_size)
        note_acked_on_disk();
    if (n == 0 && out_of_work())
        abandon();
    if (away && !out_of_work())
        reconnect();
    if (opt.rate > 0)
        serve_due();
    if (away == opt.sessions && out_of_work())
        return 0;
    if (next_report && now() >= next_report)
        report_interval();
    if (told_to_stop && !stopped_at)
        stopped_at = now();
    if (stopped_at && now() - stopped_at > PATIENCE_NS) {
        complain("stopped", "replies were still due");
        return -1;
    }
    if (n <= 0 && now() - last_progress > (uint64_t)(opt.timeout * 1e9)) {
        complain("timeout", "no reply");
        return -1;
    }
    return 1;
}

static void stop(int signal) {
    (void)signal;
    told_to_stop = 1;
}

static void prepare(int argc, char **argv) {
    read_options(argc, argv);
    find_peer();
    prepare_corpus();
    sessions = calloc((size_t)opt.sessions, sizeof *sessions);
    idle = calloc((size_t)opt.sessions, sizeof *idle);
    group = malloc(COMMAND_OCTETS * ((size_t)opt.recipients + 3));
    sender_size = (size_t)snprintf(group, COMMAND_OCTETS, "MAIL FROM:<%s>\r\n", opt.from);
    compose();
    if (opt.acked)
        acked_file = open(opt.acked, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opt.acked && acked_file < 0) {
        perror(opt.acked);
        exit(2);
    }
    if (opt.implicit || opt.starttls)
        tls_open(0);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
}

static void set_clocks(void) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e);
    begun_at = last_progress = now();
    if (opt.seconds > 0)
        deadline = begun_at + (uint64_t)(opt.seconds * 1e9);
    if (opt.interval > 0)
        next_report = begun_at + (uint64_t)(opt.interval * 1e9);
    next_due = (double)(begun_at + (opt.per_connection ? 0 : FIRST_DUE_NS));
    gap = opt.rate > 0 ? 1e9 / opt.rate : 0;
    chance = opt.seed;
}

int main(int argc, char **argv) {
    int going;
    prepare(argc, argv);
    set_clocks();
    for (int i = 0; i < opt.sessions; i++)
        sessions[i].fd = -1;
    away = opt.sessions;
    while ((going = turn()) > 0)
        ;
    report();
    if (going < 0)
        return 3;
    return (refused || broken) && !opt.tolerant;
}

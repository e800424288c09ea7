/* The TLS of load.c and sink.c: OpenSSL 3 by dlopen, with prototypes of our own, so that building
 * needs no headers and running without --tls or --starttls needs no library. */
#include <dlfcn.h>

enum {
    TLS_1_3 = 0x0304,
    WANT_READ = 2, /* SSL_get_error */
    WANT_WRITE = 3,
    CTRL_MODE = 33,
    CTRL_READ_AHEAD = 41, /* one recv for a record, not one for its five octets first */
    CTRL_MIN_VERSION = 123,
    CTRL_MAX_VERSION = 124,
    MODE_PARTIAL_WRITE = 1,
    MODE_MOVING_BUFFER = 2,
    MODE_RELEASE_BUFFERS = 0x10,
    RECORD_OCTETS = 16384,
};

#define TLS_FUNCTIONS                                             \
    X(const void *, TLS_client_method, (void))                    \
    X(const void *, TLS_server_method, (void))                    \
    X(int, SSL_CTX_use_certificate_chain_file, (void *, const char *)) \
    X(int, SSL_CTX_use_PrivateKey_file, (void *, const char *, int)) \
    X(void, SSL_set_accept_state, (void *))                       \
    X(void *, SSL_CTX_new, (const void *))                        \
    X(long, SSL_CTX_ctrl, (void *, int, long, void *))            \
    X(void *, SSL_new, (void *))                                  \
    X(void, SSL_free, (void *))                                   \
    X(int, SSL_set_fd, (void *, int))                             \
    X(void, SSL_set_connect_state, (void *))                      \
    X(int, SSL_do_handshake, (void *))                            \
    X(int, SSL_read, (void *, void *, int))                       \
    X(int, SSL_write, (void *, const void *, int))                \
    X(int, SSL_get_error, (const void *, int))                    \
    X(int, SSL_has_pending, (const void *))                       \
    X(int, SSL_session_reused, (const void *))                    \
    X(void *, SSL_get1_session, (void *))                         \
    X(int, SSL_set_session, (void *, void *))                     \
    X(int, SSL_SESSION_is_resumable, (const void *))              \
    X(void, SSL_SESSION_free, (void *))                           \
    X(int, SSL_shutdown, (void *))                                \
    X(void, ERR_clear_error, (void))

static struct {
#define X(result, name, parameters) result(*name) parameters;
    TLS_FUNCTIONS
#undef X
    void *context;
    char record[RECORD_OCTETS];
} tls;

static void tls_open(int server) {
    void *library = dlopen("libssl.so.3", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "TLS: %s\n", dlerror());
        exit(2);
    }
#define X(result, name, parameters)                               \
    *(void **)&tls.name = dlsym(library, #name);                  \
    if (!tls.name) {                                              \
        fputs("TLS: libssl.so.3 has no " #name "\n", stderr);    \
        exit(2);                                                  \
    }
    TLS_FUNCTIONS
#undef X
    tls.context = tls.SSL_CTX_new(server ? tls.TLS_server_method() : tls.TLS_client_method());
    tls.SSL_CTX_ctrl(tls.context, CTRL_MIN_VERSION, TLS_1_3, NULL);
    tls.SSL_CTX_ctrl(tls.context, CTRL_MAX_VERSION, TLS_1_3, NULL);
    tls.SSL_CTX_ctrl(tls.context, CTRL_READ_AHEAD, 1, NULL);
    tls.SSL_CTX_ctrl(tls.context, CTRL_MODE,
                     MODE_PARTIAL_WRITE | MODE_MOVING_BUFFER | MODE_RELEASE_BUFFERS,
                     NULL);
}

/* As the call on the socket: -1 with EAGAIN when it must wait, 0 at the end. */
static ssize_t tls_outcome(void *ssl, int done) {
    int why = done > 0 ? 0 : tls.SSL_get_error(ssl, done);
    if (!why)
        return done;
    errno = why == WANT_READ || why == WANT_WRITE ? EAGAIN : EPROTO;
    return errno == EAGAIN ? -1 : 0;
}

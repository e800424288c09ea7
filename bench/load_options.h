/* The command line of load.c. */

static struct {
    const char *host, *to, *from, *tag, *acked, *logins, *folder, *sizes, *path;
    int port, sessions, recipients, mailboxes, domains, per_connection, pipeline, tolerant;
    int implicit, starttls, resume, handshakes, bdat, lmtp, poisson, remote;
    uint64_t messages, seed;
    double seconds, timeout, rate, interval;
} opt = {
    .host = "127.0.0.1", .to = "user@example.test", .from = "load@sender.example",
    .tag = "", .sizes = "4096", .sessions = 20, .recipients = 1,
    .messages = UINT64_MAX, .timeout = 60, .seed = 1,
};

static const char usage[] =
    "usage: load (--port N [--host ADDRESS [--remote]] | --unix PATH)\n"
    "  (--messages N | --seconds S)      when to end\n"
    "  [--sessions N] [--per-connection] [--pipeline] [--bdat] [--lmtp]\n"
    "  [--rate N [--poisson]]            open loop: messages/s, whatever comes back\n"
    "  [--size OCTETS[:WEIGHT],…] [--folder DIR]   made-up or real messages\n"
    "  [--recipients N] [--mailboxes N | --domains N] [--to A] [--from A]\n"
    "  [--tls | --starttls] [--resume] [--handshakes] [--logins FILE]\n"
    "  [--tolerant] [--timeout S] [--tag T] [--acked FILE] [--interval S] [--seed N]\n";

static const struct option options[] = {
    {"host", 1, 0, 'h'},       {"port", 1, 0, 'p'},           {"to", 1, 0, 't'},
    {"from", 1, 0, 'f'},       {"sessions", 1, 0, 's'},       {"size", 1, 0, 'l'},
    {"messages", 1, 0, 'm'},   {"seconds", 1, 0, 'd'},        {"recipients", 1, 0, 'r'},
    {"mailboxes", 1, 0, 'b'},  {"per-connection", 0, 0, 'c'}, {"pipeline", 0, 0, 'i'},
    {"tolerant", 0, 0, 'o'},   {"acked", 1, 0, 'a'},          {"tag", 1, 0, 'g'},
    {"timeout", 1, 0, 'w'},    {"tls", 0, 0, 'x'},            {"starttls", 0, 0, 'y'},
    {"resume", 0, 0, 'z'},     {"handshakes", 0, 0, 'k'},     {"bdat", 0, 0, 'n'},
    {"rate", 1, 0, 'R'},       {"poisson", 0, 0, 'P'},        {"lmtp", 0, 0, 'L'},
    {"logins", 1, 0, 'A'},     {"folder", 1, 0, 'D'},         {"interval", 1, 0, 'I'},
    {"seed", 1, 0, 'S'},       {"domains", 1, 0, 'O'},       {"remote", 0, 0, 'W'},         {"unix", 1, 0, 'U'},
    {0, 0, 0, 0},
};

static void set(int letter) {
    switch (letter) {
    case 'h': opt.host = optarg; break;
    case 'p': opt.port = atoi(optarg); break;
    case 't': opt.to = optarg; break;
    case 'f': opt.from = optarg; break;
    case 's': opt.sessions = atoi(optarg); break;
    case 'l': opt.sizes = optarg; break;
    case 'm': opt.messages = strtoull(optarg, NULL, 10); break;
    case 'd': opt.seconds = atof(optarg); break;
    case 'r': opt.recipients = atoi(optarg); break;
    case 'b': opt.mailboxes = atoi(optarg); break;
    case 'O': opt.domains = atoi(optarg); break;
    case 'c': opt.per_connection = 1; break;
    case 'i': opt.pipeline = 1; break;
    case 'o': opt.tolerant = 1; break;
    case 'a': opt.acked = optarg; break;
    case 'g': opt.tag = optarg; break;
    case 'w': opt.timeout = atof(optarg); break;
    case 'x': opt.implicit = 1; break;
    case 'y': opt.starttls = 1; break;
    case 'z': opt.resume = 1; break;
    case 'k': opt.handshakes = opt.per_connection = 1; break;
    case 'n': opt.bdat = 1; break;
    case 'R': opt.rate = atof(optarg); break;
    case 'P': opt.poisson = 1; break;
    case 'L': opt.lmtp = 1; break;
    case 'A': opt.logins = optarg; break;
    case 'D': opt.folder = optarg; break;
    case 'I': opt.interval = atof(optarg); break;
    case 'S': opt.seed = strtoull(optarg, NULL, 10) | 1; break;
    case 'W': opt.remote = 1; break;
    case 'U': opt.path = optarg; break;
    default: exit(2);
    }
}

static void read_options(int argc, char **argv) {
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        set(c);
    if ((!opt.port && !opt.path) || opt.sessions < 1 || opt.recipients < 1 ||
        !strchr(opt.to, '@') || opt.rate < 0 ||
        (opt.messages == UINT64_MAX && opt.seconds <= 0)) {
        fputs(usage, stderr);
        exit(2);
    }
}

/* Nobody's server but one's own is loaded: loopback, or with --remote an address that
 * is private (RFC 1918, RFC 4193) or of the link. */
static int is_own(const struct in6_addr *a, uint32_t v4) {
    if (a)
        return IN6_IS_ADDR_LOOPBACK(a) ||
               (opt.remote && (IN6_IS_ADDR_LINKLOCAL(a) || (a->s6_addr[0] & 0xfe) == 0xfc));
    return v4 >> 24 == 127 ||
           (opt.remote && (v4 >> 24 == 10 || v4 >> 20 == 0xac1 || v4 >> 16 == 0xc0a8 ||
                           v4 >> 16 == 0xa9fe));
}

static struct sockaddr_storage peer;
static socklen_t peer_size;

static void find_peer(void) {
    struct sockaddr_in *v4 = (void *)&peer;
    struct sockaddr_in6 *v6 = (void *)&peer;
    struct sockaddr_un *local = (void *)&peer;
    if (opt.path && strlen(opt.path) < sizeof local->sun_path) {
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, opt.path, strlen(opt.path) + 1);
        peer_size = sizeof *local;
    } else if (inet_pton(AF_INET, opt.host, &v4->sin_addr) == 1 &&
               is_own(NULL, ntohl(v4->sin_addr.s_addr))) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)opt.port);
        peer_size = sizeof *v4;
    } else if (inet_pton(AF_INET6, opt.host, &v6->sin6_addr) == 1 &&
               is_own(&v6->sin6_addr, 0)) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)opt.port);
        peer_size = sizeof *v6;
    } else {
        fprintf(stderr, "load: %s is not %s address\n", opt.path ? opt.path : opt.host,
                opt.remote ? "a private or loopback" : "a loopback");
        exit(2);
    }
}

/* What load.c sends: texts that all sessions share, and who they are from and to.
 *
 * A text is what follows the head of a message: the body of a made-up one, or the whole
 * of a real one with CRLF line ends and dots stuffed. It ends with ".\r\n", but for BDAT.
 * Texts are chosen by weight, each message by the digits of its number, so that a run is
 * the same each time.
 */
#include <dirent.h>

enum {
    HEAD_OCTETS = 640,    /* the header section of ours, a BDAT command before it */
    CHUNK_OCTETS = 40,    /* room for that command */
    COMMAND_OCTETS = 512, /* one command; a pipelined group is built in `group` */
    ID_DIGITS = 12,       /* decimal digits of the counter in a Message-ID */
    LINE_OCTETS = 78,     /* a line of a made-up body, CRLF included */
    TEXTS = 65536,
    LOGINS = 4096,
};

struct text {
    char *octets;
    size_t size;
    double below; /* sum of the weights up to this one */
};

struct login {
    char address[256], plain[512]; /* RFC 4616, base64 */
};

static struct text *texts;
static struct login *logins;
static size_t text_count, login_count;

static void give_up_start(const char *what, const char *detail) {
    fprintf(stderr, "load: %s: %s\n", what, detail);
    exit(2);
}

static void keep_text(char *octets, size_t size, double weight) {
    if (text_count == TEXTS)
        give_up_start("more messages than", "65,536");
    texts[text_count].octets = octets;
    texts[text_count].size = size;
    texts[text_count].below = weight + (text_count ? texts[text_count - 1].below : 0);
    text_count++;
}

static void make_text(size_t payload, double weight) {
    if (payload == 1)
        payload = 2; /* the least that is a line */
    char *body = malloc(payload + LINE_OCTETS + 3);
    for (size_t i = 0; i < payload; i++) {
        size_t column = i % LINE_OCTETS;
        body[i] = column == LINE_OCTETS - 2   ? '\r'
                  : column == LINE_OCTETS - 1 ? '\n'
                                              : (char)('a' + i / LINE_OCTETS % 26);
    }
    if (payload >= 2) /* the last line ends whatever its length */
        memcpy(body + payload - 2, "\r\n", 2);
    if (payload >= 3 && body[payload - 3] == '\r')
        body[payload - 3] = 'z';
    memcpy(body + payload, ".\r\n", 3);
    keep_text(body, payload + (opt.bdat ? 0 : 3), weight);
}

static void make_texts(const char *sizes) {
    for (const char *p = sizes; *p;) {
        char *end;
        size_t size = strtoul(p, &end, 10);
        double weight = *end == ':' ? strtod(end + 1, &end) : 1;
        if (end == p || (*end && *end != ',') || weight <= 0)
            give_up_start("--size is not OCTETS[:WEIGHT],…", sizes);
        make_text(size, weight);
        p = *end ? end + 1 : end;
    }
}

/* A file as it goes over the wire: any line end becomes CRLF, a first dot is doubled. */
static void take_file(FILE *file) {
    size_t room = 65536, size = 0;
    char *text = malloc(room);
    for (int c, last = '\n', bol = 1; (c = getc(file)) != EOF; last = c) {
        if (size + 16 > room)
            text = realloc(text, room *= 2);
        if (c == '\n' && last == '\r')
            continue;
        if (c == '\r' || c == '\n') {
            memcpy(text + size, "\r\n", 2);
            size += 2;
            bol = 1;
            continue;
        }
        if (bol && c == '.' && !opt.bdat)
            text[size++] = '.';
        text[size++] = (char)(c ? c : ' '); /* no server takes NUL */
        bol = 0;
    }
    if (size < 2 || text[size - 1] != '\n') {
        memcpy(text + size, "\r\n", 2);
        size += 2;
    }
    memcpy(text + size, ".\r\n", 3);
    keep_text(text, size + (opt.bdat ? 0 : 3), 1);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void take_folder(const char *folder) {
    struct dirent **names;
    int count = scandir(folder, &names, NULL, by_name);
    if (count < 0)
        give_up_start(folder, strerror(errno));
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        struct stat s;
        FILE *file = names[i]->d_name[0] != '.' && !stat(path, &s) && S_ISREG(s.st_mode)
                         ? fopen(path, "rb") : NULL;
        if (file) {
            take_file(file);
            fclose(file);
        }
        free(names[i]);
    }
    free(names);
    if (!text_count)
        give_up_start(folder, "no message in it");
}

static uint64_t scrambled(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15ull * (opt.seed + 1);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static const struct text *text_of(uint64_t number) {
    if (text_count == 1)
        return texts;
    double all = texts[text_count - 1].below;
    double at = (double)(scrambled(number) >> 11) / 9007199254740992.0 * all;
    size_t low = 0, high = text_count - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (at < texts[middle].below)
            high = middle;
        else
            low = middle + 1;
    }
    return &texts[low];
}

/* The head of a message: gives its size; the digits of the number are at *id_at. */
static size_t write_head(char *text, const char *from, size_t *id_at) {
    char date[64];
    time_t clock = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", gmtime(&clock));
    int n = opt.folder
        ? snprintf(text, HEAD_OCTETS - CHUNK_OCTETS, "X-Load-ID: <%s%0*d@load.invalid>\r\n",
                   opt.tag, ID_DIGITS, 0)
        : snprintf(text, HEAD_OCTETS - CHUNK_OCTETS,
                   "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nSubject: load\r\n"
                   "Message-ID: <%s%0*d@load.invalid>\r\n\r\n",
                   from, opt.to, date, opt.tag, ID_DIGITS, 0);
    if (n < 0 || n >= HEAD_OCTETS - CHUNK_OCTETS)
        give_up_start("--from, --to and --tag", "too long together");
    *id_at = (size_t)(strstr(text, "-ID: <") - text) + 6 + strlen(opt.tag);
    return (size_t)n;
}

static void base64(char *out, const unsigned char *in, size_t size) {
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16;
        v |= i + 1 < size ? (uint32_t)in[i + 1] << 8 : 0;
        v |= i + 2 < size ? in[i + 2] : 0;
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < size ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < size ? digits[v & 63] : '=';
    }
    *out = 0;
}

/* Lines of `ADDRESS PASSWORD`; a password in arguments all the machine could read. */
static void read_logins(const char *path) {
    char address[256], password[100];
    unsigned char plain[380];
    FILE *file = fopen(path, "r");
    if (!file)
        give_up_start(path, strerror(errno));
    while (login_count < LOGINS && fscanf(file, "%255s %99s", address, password) == 2) {
        int n = snprintf((char *)plain + 1, sizeof plain - 1, "%s%c%s", address, 0, password);
        plain[0] = 0;
        strcpy(logins[login_count].address, address);
        base64(logins[login_count++].plain, plain, (size_t)n + 1);
    }
    fclose(file);
    if (!login_count)
        give_up_start(path, "no line ADDRESS PASSWORD");
}

static size_t recipient(char *out, size_t room, uint64_t number, uint32_t n) {
    int size;
    if (opt.mailboxes) {
        uint64_t box = (number * (uint64_t)opt.recipients + n) % (uint64_t)opt.mailboxes;
        size = snprintf(out, room, "RCPT TO:<user%04d@%s>\r\n", (int)box + 1,
                        strchr(opt.to, '@') + 1);
    } else if (opt.domains) { /* one below the domain, for each message the next */
        uint64_t one = (number * (uint64_t)opt.recipients + n) % (uint64_t)opt.domains;
        const char *at = strchr(opt.to, '@');
        size = snprintf(out, room, "RCPT TO:<%.*s@d%04d.%s>\r\n", (int)(at - opt.to),
                        opt.to, (int)one + 1, at + 1);
    } else if (n + 1 < (uint32_t)opt.recipients) /* as smtp-source names them */
        size = snprintf(out, room, "RCPT TO:<%d%s>\r\n", opt.recipients - (int)n, opt.to);
    else
        size = snprintf(out, room, "RCPT TO:<%s>\r\n", opt.to);
    return (size_t)size;
}

static void prepare_corpus(void) {
    texts = calloc(TEXTS, sizeof *texts);
    logins = calloc(LOGINS, sizeof *logins);
    opt.folder ? take_folder(opt.folder) : make_texts(opt.sizes);
    if (!text_count)
        give_up_start("--size", "says nothing");
    if (opt.logins)
        read_logins(opt.logins);
}

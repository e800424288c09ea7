/* What sink.c was told to answer; bench/sink.py writes these lines from its TOML.
 *
 *     stage TAB action TAB share TAB seconds TAB delay TAB match TAB reply
 *
 * stage    connect, ehlo, mail, rcpt, data, body
 * action   reply, close (without a word), hang (never another word)
 * share    of the times, 0 to 1
 * seconds  only that long after a sender and recipient were first seen (greylisting)
 * delay    seconds before the answer
 * match    the command holds it, whatever its case; empty: any
 */
#include <ctype.h>
#include <strings.h>

enum stage { CONNECT, HELLO, MAIL, RCPT, DATA, BODY, STAGES };
enum action { REPLY, CLOSE, HANG };
enum { RULES = 256, FIELDS = 7, PAIRS = 1 << 18 };

struct rule {
    enum stage stage;
    enum action action;
    double share, seconds, delay;
    char match[256], reply[512];
    uint64_t times;
};

static const char *const stage_names[STAGES] = {
    "connect", "ehlo", "mail", "rcpt", "data", "body",
};
static const char *const action_names[] = {"reply", "close", "hang"};
static struct rule rules[RULES];
static int rule_count;
static char stage_has_rules[STAGES];
static struct { uint64_t key; double since; } *pairs;

static int index_of(const char *name, const char *const *names, int count) {
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return i;
    fprintf(stderr, "sink: what is %s?\n", name);
    exit(2);
}

static void read_rules(const char *path) {
    char line[2048], *field[FIELDS];
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, file) && rule_count < RULES) {
        char *rest = line;
        line[strcspn(line, "\n")] = 0;
        int n = 0;
        while (n < FIELDS && (field[n] = strsep(&rest, "\t")))
            n++;
        if (n < FIELDS) {
            fprintf(stderr, "sink: a rule has %d fields, not %d\n", n, FIELDS);
            exit(2);
        }
        struct rule *r = &rules[rule_count++];
        r->stage = (enum stage)index_of(field[0], stage_names, STAGES);
        r->action = (enum action)index_of(field[1], action_names, 3);
        r->share = atof(field[2]);
        r->seconds = atof(field[3]);
        r->delay = atof(field[4]);
        snprintf(r->match, sizeof r->match, "%s", field[5]);
        snprintf(r->reply, sizeof r->reply, "%s\r\n", field[6]);
        stage_has_rules[r->stage] = 1;
    }
    fclose(file);
    pairs = calloc(PAIRS, sizeof *pairs);
}

/* FNV-1a, whatever the case of letters. */
static uint64_t hashed(uint64_t h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint64_t)tolower((unsigned char)p[i])) * 0x100000001b3ull;
    return h;
}

/* Seconds since this sender and recipient were first seen; 0 for the first time. */
static double known_for(uint64_t key, double at) {
    size_t i = key % PAIRS;
    for (int tries = 0; tries < 64; tries++, i = (i + 1) % PAIRS) {
        if (pairs[i].key == key)
            return at - pairs[i].since;
        if (!pairs[i].key) {
            pairs[i].key = key;
            pairs[i].since = at;
            return 0;
        }
    }
    return 1e9; /* the table is full: an old acquaintance */
}

static int holds(const char *line, size_t size, const char *what) {
    size_t n = strlen(what);
    if (!n)
        return 1;
    for (size_t i = 0; i + n <= size; i++)
        if (!strncasecmp(line + i, what, n))
            return 1;
    return 0;
}

/* The first rule that says something here, or NULL: accept. */
static struct rule *rule_for(enum stage stage, const char *line, size_t size,
                             uint64_t pair, double at) {
    for (struct rule *r = rules; r < rules + rule_count; r++) {
        if (r->stage != stage || !holds(line, size, r->match))
            continue;
        if (r->seconds > 0 && known_for(pair, at) >= r->seconds)
            continue;
        if (r->share < 1 && drand48() >= r->share)
            continue;
        r->times++;
        return r;
    }
    return NULL;
}

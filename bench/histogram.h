/* Latencies in the manner of HdrHistogram: 128 buckets per power of two, so that a value
 * is told to within 0.8 %, from a nanosecond to centuries, and histograms of several
 * processes and intervals can be added. bench/histogram.py reads the same buckets. */

enum {
    PARTS = 128, /* buckets per power of two */
    PARTS_LOG2 = 7,
    BUCKETS = 58 * PARTS,
};

struct histogram {
    uint64_t count[BUCKETS], told[BUCKETS]; /* all, and those already printed */
    uint64_t slowest; /* ns */
};

/* Values below 2 * PARTS stand each for themselves. */
static size_t bucket(uint64_t ns) {
    if (ns < 2 * PARTS)
        return (size_t)ns;
    int power = 63 - __builtin_clzll(ns) - PARTS_LOG2;
    return (size_t)power * PARTS + (size_t)(ns >> power);
}

/* The middle of a bucket, in ns. */
static double bucket_value(size_t at) {
    if (at < 2 * PARTS)
        return (double)at;
    size_t power = at / PARTS - 1;
    return ((double)(at - power * PARTS) + 0.5) * (double)(1ull << power);
}

static void observe(struct histogram *h, uint64_t ns) {
    h->count[bucket(ns)]++;
    if (ns > h->slowest)
        h->slowest = ns;
}

/* In microseconds; never more than what was really seen. */
static double percentile(const struct histogram *h, double part) {
    uint64_t all = 0, seen = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        all += h->count[i];
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += h->count[i];
        if (seen && (double)seen >= part * (double)all) {
            double ns = bucket_value(i);
            return (ns < (double)h->slowest ? ns : (double)h->slowest) / 1000;
        }
    }
    return 0;
}

/* [[bucket, count], …] of what came since it was printed last. */
static void print_new(struct histogram *h) {
    const char *comma = "";
    putchar('[');
    for (size_t i = 0; i < BUCKETS; i++)
        if (h->count[i] != h->told[i]) {
            printf("%s[%zu,%llu]", comma, i,
                   (unsigned long long)(h->count[i] - h->told[i]));
            h->told[i] = h->count[i];
            comma = ",";
        }
    putchar(']');
}

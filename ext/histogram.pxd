"""Histograms and their exemplars in cells, as fastsmtp.cells has them, for compiled
code: a few additions where Python reads and writes through a memoryview."""

cdef enum:
    EDGES_MAX = 24  # more than any histogram has


cdef struct Edges:
    int first
    int count
    int seen  # where its exemplars begin; -1: it has none
    double scale
    double[EDGES_MAX] each


cdef inline int read_edges(Edges* edges, cells) except -1:
    """Of a `cells.Histogram`, or of a `cells.Seen`, which has exemplars, too."""
    cdef object histogram = getattr(cells, "of", cells)
    cdef int n
    if len(histogram.edges) > EDGES_MAX:
        raise ValueError("a histogram with more edges than there is room for")
    edges.first = histogram.first
    edges.count = len(histogram.edges)
    edges.seen = -1 if histogram is cells else cells.first
    edges.scale = histogram.scale
    for n in range(edges.count):
        edges.each[n] = histogram.edges[n]
    return 0


cdef inline int observe(
    long long[::1] cells, const Edges* edges, int first, double value, int times
) noexcept nogil:
    """What Histogram.observe does; `first` is its place. Gives the bucket."""
    cdef int n = 0
    while n < edges.count and value > edges.each[n]:
        n += 1
    cells[first + n] += times
    cells[first + edges.count + 1] += <long long> (value / edges.scale + 0.5) * times
    return n


cdef inline void note(
    long long[::1] cells, int at, double scale, double value, long long id, double now
) noexcept nogil:
    """What Seen.note does; `at` is the place of a bucket, `now` monotonic."""
    cells[at] = id
    cells[at + 1] = <long long> (value / scale + 0.999999)
    cells[at + 2] = <long long> (now * 1e6)


cdef inline void observe_of(
    long long[::1] cells,
    const Edges* edges,
    double value,
    int times,
    long long id,
    double now,
) noexcept nogil:
    """Both, of a histogram that has exemplars."""
    cdef int n = observe(cells, edges, edges.first, value, times)
    note(cells, edges.seen + 3 * n, edges.scale, value, id, now)

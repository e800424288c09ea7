"""Inputs made from inputs: a small mutation engine without Python in its way."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memmove

cdef enum:
    INPUT_MAX = 768  # octets; a dozen blocks of the body scan
    CORPUS_MAX = 4096  # inputs
    DICTIONARY_MAX = 64  # tokens

cdef struct Input:
    size_t n
    unsigned char data[INPUT_MAX]

cdef struct Corpus:
    size_t n
    size_t tokens
    uint64_t random
    Input dictionary[DICTIONARY_MAX]
    Input inputs[CORPUS_MAX]


cdef inline uint64_t draw(Corpus *corpus) noexcept nogil:
    """xorshift64*: the same seed gives the same run."""
    cdef uint64_t x = corpus.random
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    corpus.random = x
    return (x * 0x2545F4914F6CDD1DULL) >> 16


cdef inline size_t below(Corpus *corpus, size_t limit) noexcept nogil:
    return draw(corpus) % limit


cdef inline void add(Corpus *corpus, const Input *made) noexcept nogil:
    """Keep an input that showed something new; when full, it replaces an old one."""
    cdef size_t place = corpus.n
    if place < CORPUS_MAX:
        corpus.n += 1
    else:
        place = below(corpus, CORPUS_MAX)
    corpus.inputs[place] = made[0]


cdef inline void mutate(Corpus *corpus, Input *made) noexcept nogil:
    """An input from the corpus with one to eight changes."""
    cdef size_t n
    made[0] = corpus.inputs[below(corpus, corpus.n)]
    for n in range(1 + below(corpus, 8)):
        _change(corpus, made)


cdef inline void _change(Corpus *corpus, Input *made) noexcept nogil:
    cdef size_t kind = below(corpus, 6)
    cdef size_t at = below(corpus, made.n + 1)
    cdef size_t n
    cdef const Input *other
    if kind == 0:  # another octet
        if at < made.n:
            made.data[at] = draw(corpus) & 0xFF
    elif kind == 1:  # a bit of it
        if at < made.n:
            made.data[at] ^= 1 << below(corpus, 8)
    elif kind == 2:  # a token
        other = &corpus.dictionary[below(corpus, corpus.tokens)]
        insert(made, at, other.data, other.n)
    elif kind == 3:  # less
        n = below(corpus, made.n - at + 1)
        memmove(made.data + at, made.data + at + n, made.n - at - n)
        made.n -= n
    elif kind == 4:  # some of it twice
        n = below(corpus, made.n - at + 1)
        other = made
        _insert_copy(made, at, at, n)
    else:  # some of another
        other = &corpus.inputs[below(corpus, corpus.n)]
        if other.n:
            n = below(corpus, other.n)
            insert(made, at, other.data + n, 1 + below(corpus, other.n - n))


cdef inline void insert(
    Input *made, size_t at, const unsigned char *octets, size_t n
) noexcept nogil:
    """As much of it as there is room for; `octets` are not those of `made`."""
    if n > INPUT_MAX - made.n:
        n = INPUT_MAX - made.n
    memmove(made.data + at + n, made.data + at, made.n - at)
    memcpy(made.data + at, octets, n)
    made.n += n


cdef inline void _insert_copy(
    Input *made, size_t at, size_t begin, size_t n
) noexcept nogil:
    cdef Input copy = made[0]
    insert(made, at, copy.data + begin, n)

/* CRC-32C (Castagnoli, reflected 0x82f63b78), as iSCSI, ext4 and LevelDB use it.
 *
 * With SSE4.2 three streams run at once, because the instruction takes three cycles
 * and starts every cycle; their results are joined by tables that say what n zero
 * octets do to a register. Elsewhere eight tables of 256 take eight octets a step.
 *
 * crc32c_begin() fills the tables and must have returned before the first use; every
 * module that includes this file has its own and calls it when it is imported.
 */
#ifndef FASTSMTP_CRC32C_H
#define FASTSMTP_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CRC32C_LONG 1024 /* octets of one of the three streams */
#define CRC32C_SHORT 128

static uint32_t crc32c_table[8][256];
static uint32_t crc32c_long[4][256];
static uint32_t crc32c_short[4][256];
static int crc32c_native;

static uint32_t crc32c_zeros(uint32_t crc, size_t n)
{
    while (n--)
        crc = crc32c_table[0][crc & 255] ^ (crc >> 8);
    return crc;
}

/* What n zero octets do to a register is linear in its bits: one column per bit. */
static void crc32c_shift_table(uint32_t table[4][256], size_t n)
{
    uint32_t column[32];
    for (int bit = 0; bit < 32; bit++)
        column[bit] = crc32c_zeros((uint32_t)1 << bit, n);
    for (int place = 0; place < 4; place++)
        for (int value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++)
                if (value >> bit & 1)
                    sum ^= column[8 * place + bit];
            table[place][value] = sum;
        }
}

static inline uint32_t crc32c_shift(uint32_t table[4][256], uint32_t crc)
{
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^
           table[2][crc >> 16 & 255] ^ table[3][crc >> 24];
}

static void crc32c_begin(void)
{
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t crc = value;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
        crc32c_table[0][value] = crc;
    }
    for (int row = 1; row < 8; row++)
        for (int value = 0; value < 256; value++) {
            uint32_t crc = crc32c_table[row - 1][value];
            crc32c_table[row][value] = crc32c_table[0][crc & 255] ^ crc >> 8;
        }
#if defined(__x86_64__)
    crc32c_native = __builtin_cpu_supports("sse4.2") != 0;
#endif
    if (crc32c_native) {
        crc32c_shift_table(crc32c_long, CRC32C_LONG);
        crc32c_shift_table(crc32c_short, CRC32C_SHORT);
    }
}

static inline uint64_t crc32c_load(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, 8);
    return word;
}

/* Big-endian machines would need their octets turned; see the check in record.pyx. */
static uint32_t crc32c_by_tables(uint32_t crc, const uint8_t *data, size_t size)
{
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t word = crc32c_load(data) ^ crc;
        crc = crc32c_table[7][word & 255] ^ crc32c_table[6][word >> 8 & 255] ^
              crc32c_table[5][word >> 16 & 255] ^ crc32c_table[4][word >> 24 & 255] ^
              crc32c_table[3][word >> 32 & 255] ^ crc32c_table[2][word >> 40 & 255] ^
              crc32c_table[1][word >> 48 & 255] ^ crc32c_table[0][word >> 56];
    }
    for (; size; size--, data++)
        crc = crc32c_table[0][(crc ^ *data) & 255] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
#define CRC32C_STEP(crc, at) __builtin_ia32_crc32di((crc), crc32c_load(at))

__attribute__((target("sse4.2"))) static uint32_t
crc32c_threefold(uint32_t crc, const uint8_t *data, size_t width,
                 uint32_t table[4][256])
{
    uint64_t one = crc, two = 0, three = 0;
    for (const uint8_t *end = data + width; data < end; data += 8) {
        one = CRC32C_STEP(one, data);
        two = CRC32C_STEP(two, data + width);
        three = CRC32C_STEP(three, data + 2 * width);
    }
    crc = crc32c_shift(table, (uint32_t)one) ^ (uint32_t)two;
    return crc32c_shift(table, crc) ^ (uint32_t)three;
}

__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t crc, const uint8_t *data, size_t size)
{
    for (; size >= 3 * CRC32C_LONG; size -= 3 * CRC32C_LONG) {
        crc = crc32c_threefold(crc, data, CRC32C_LONG, crc32c_long);
        data += 3 * CRC32C_LONG;
    }
    for (; size >= 3 * CRC32C_SHORT; size -= 3 * CRC32C_SHORT) {
        crc = crc32c_threefold(crc, data, CRC32C_SHORT, crc32c_short);
        data += 3 * CRC32C_SHORT;
    }
    for (; size >= 8; size -= 8, data += 8)
        crc = (uint32_t)CRC32C_STEP(crc, data);
    for (; size; size--, data++)
        crc = __builtin_ia32_crc32qi(crc, *data);
    return crc;
}
#endif

/* The checksum of data that follows what gave crc; 0 to begin. */
static inline uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
#if defined(__x86_64__)
    if (crc32c_native)
        return ~crc32c_by_instruction(~crc, (const uint8_t *)data, size);
#endif
    return ~crc32c_by_tables(~crc, (const uint8_t *)data, size);
}

static inline uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size)
{
    return ~crc32c_by_tables(~crc, (const uint8_t *)data, size);
}

#endif

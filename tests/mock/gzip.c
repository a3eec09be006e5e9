/* gzip: 64 MiB of zeros in 64 KiB, for clients that must not inflate what they did not ask for.
 *
 * No zlib: the stream is one block whose Huffman codes are chosen so that "the last 258 bytes once
 * more" costs two zero bits (RFC 1951 section 3.2.7). Four of these are a zero byte, and almost the
 * whole stream is zero bytes.
 *
 *   symbol    literal 0   match of 258   end   distance 1
 *   code           10         0          11        0
 */
#include "config.h"

#include "mock.h"

#define INFLATED (64 << 20)
#define MATCH 258
#define MATCHES ((INFLATED - 1) / MATCH)
#define LITERALS (INFLATED - MATCHES * MATCH) /* at least one, for the first match to repeat */
#define CRC_OF_ZEROS 0xb2eb30edu              /* of INFLATED zero bytes */

struct bits {
    struct buf *out;
    unsigned value, count; /* not written yet; the first bit is the lowest */
};

static void put_bits(struct bits *bits, unsigned value, unsigned count) {
    bits->value |= value << bits->count;
    bits->count += count;
    while (bits->count >= 8) {
        buf_append_char(bits->out, (char)(bits->value & 0xff));
        bits->value >>= 8;
        bits->count -= 8;
    }
}

/* Codes stand here with their first bit lowest, as they are written. */
static const struct {
    unsigned value, count;
} block_head[] = {
    {1, 1},  {2, 2}, /* the last block, codes of its own */
    {29, 5}, {0, 5}, /* 286 lengths of literals and matches, 1 of distances */
    {14, 4},         /* 18 lengths of the code for these lengths: 18 in one bit, 1 and 2 in two */
    {0, 3},  {0, 3},   {1, 3}, {0, 3},   {0, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 3}, {0, 3},
    {0, 3},  {0, 3},   {0, 3}, {0, 3},   {0, 3}, {2, 3}, {0, 3}, {2, 3}, {3, 2}, /* literal 0: 2
                                                                                    bits */
    {0, 1},  {127, 7}, {0, 1}, {106, 7}, /* 138 and 117 symbols unused */
    {3, 2},                              /* end: 2 bits */
    {0, 1},  {17, 7},                    /* 28 unused */
    {1, 2},                              /* match of 258: 1 bit */
    {1, 2},                              /* distance 1: 1 bit */
};

static void put_u32(struct buf *out, uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) {
        buf_append_char(out, (char)(value >> shift & 0xff));
    }
}

void gzip_bomb(struct buf *out) {
    static const char member[10] = {'\x1f', '\x8b', 8, 0, 0, 0, 0, 0, 2, 3};
    struct bits bits = {.out = out};
    buf_append(out, member, sizeof(member));
    for (size_t i = 0; i < sizeof(block_head) / sizeof(block_head[0]); i++) {
        put_bits(&bits, block_head[i].value, block_head[i].count);
    }
    for (int i = 0; i < LITERALS; i++) {
        put_bits(&bits, 1, 2);
    }
    for (int i = 0; i < MATCHES; i++) {
        put_bits(&bits, 0, 2);
    }
    put_bits(&bits, 3, 2);
    put_bits(&bits, 0, 7); /* to the end of the byte */
    put_u32(out, CRC_OF_ZEROS);
    put_u32(out, INFLATED);
}

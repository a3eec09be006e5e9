/* Unit tests of base/hash: known answers of FIPS 180-4 (NIST example values) and of XXH3. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

static void hex(const uint8_t digest[SHA256_SIZE], char out[2 * SHA256_SIZE + 1]) {
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void assert_digest(struct sha256 *sha, const char *expected) {
    uint8_t digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    sha256_end(sha, digest);
    hex(digest, text);
    ck_assert_str_eq(text, expected);
}

START_TEST(sha256_known_answers_with_one_hasher) {
    static const struct {
        const char *text, *digest;
    } rows[] = {
        {"abc", ABC},
        {"", EMPTY},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
         "klmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {"abc", ABC},
    };
    struct sha256 *sha = sha256_new();
    ck_assert_ptr_nonnull(sha);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        sha256_begin(sha);
        sha256_add(sha, rows[i].text, strlen(rows[i].text));
        assert_digest(sha, rows[i].digest);
    }
    sha256_begin(sha);
    for (int i = 0; i < 1000; i++) {
        char block[1000];
        memset(block, 'a', sizeof(block));
        sha256_add(sha, block, sizeof(block));
    }
    assert_digest(sha, MILLION_A);
    sha256_free(sha);
    sha256_free(NULL);
}
END_TEST

/* Short pieces are gathered, long ones are not: where the cuts are makes no difference. */
START_TEST(how_a_message_is_cut_makes_no_difference) {
    static const size_t sizes[] = {1, 255, 256, 257, 8, 500, 0, 248, 9, 31};
    char block[1000];
    struct sha256 *sha = sha256_new();
    memset(block, 'a', sizeof(block));
    sha256_begin(sha);
    size_t left = 1000000;
    for (size_t i = 0; left > 0; i++) {
        size_t size = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
        size = size < left ? size : left;
        sha256_add(sha, block, size);
        left -= size;
    }
    assert_digest(sha, MILLION_A);
    sha256_free(sha);
}
END_TEST

START_TEST(begin_forgets_an_unfinished_message) {
    struct sha256 *sha = sha256_new();
    sha256_begin(sha);
    sha256_add(sha, "left behind", 11);
    sha256_begin(sha);
    sha256_add(sha, NULL, 0);
    sha256_add(sha, "a", 1);
    sha256_add(sha, "bc", 2);
    assert_digest(sha, ABC);
    sha256_free(sha);
}
END_TEST

START_TEST(a_field_is_its_length_and_its_bytes) {
    struct sha256 *sha = sha256_new();
    uint8_t fields[SHA256_SIZE], other[SHA256_SIZE], plain[SHA256_SIZE];
    sha256_begin(sha);
    sha256_add_field(sha, BYTES_LITERAL("ab"));
    sha256_add_field(sha, BYTES_LITERAL("c"));
    sha256_add_field(sha, bytes_make(NULL, 0));
    sha256_end(sha, fields);
    sha256_begin(sha);
    sha256_add_field(sha, BYTES_LITERAL("a"));
    sha256_add_field(sha, BYTES_LITERAL("bc"));
    sha256_add_field(sha, bytes_make(NULL, 0));
    sha256_end(sha, other);
    static const char layout[] = "\2\0\0\0\0\0\0\0ab\1\0\0\0\0\0\0\0c\0\0\0\0\0\0\0";
    sha256_begin(sha);
    sha256_add(sha, layout, sizeof(layout)); /* the NUL at the end belongs to the last length */
    sha256_end(sha, plain);
    ck_assert_mem_eq(fields, plain, SHA256_SIZE);
    ck_assert_mem_ne(fields, other, SHA256_SIZE);
    sha256_free(sha);
}
END_TEST

/* The answers xxHash 0.8 publishes for the byte stream of its sanity check, at least one for each
 * path that XXH3 takes by size, without a seed and with one. */
#define PRIME32 UINT64_C(2654435761)
#define PRIME64 UINT64_C(11400714785074694797)

START_TEST(hash64_known_answers) {
    uint8_t input[2048];
    uint64_t generator = PRIME32;
    for (size_t i = 0; i < sizeof(input); i++) {
        input[i] = (uint8_t)(generator >> 56);
        generator *= PRIME64;
    }
    static const struct {
        size_t size;
        uint64_t seed, hash;
    } rows[] = {
        {0, 0, 0x2d06800538d394c2},    {0, PRIME64, 0xa8a6b918b2f0364a},
        {1, 0, 0xc44bdff4074eecdb},    {1, PRIME64, 0x032be332dd766ef8},
        {6, 0, 0x27b56a84cd2d7325},    {6, PRIME64, 0x84589c116ab59ab9},
        {12, 0, 0xa713daf0dfbb77e7},   {12, PRIME64, 0xe7303e1b2336de0e},
        {24, 0, 0xa3fe70bf9d3510eb},   {24, PRIME64, 0x850e80fc35bdd690},
        {48, 0, 0x397da259ecba1f11},   {48, PRIME64, 0xadc2cbaa44acc616},
        {80, 0, 0xbcdefbbb2c47c90a},   {80, PRIME64, 0xc6dd0cb699532e73},
        {195, 0, 0xcd94217ee362ec3a},  {195, PRIME64, 0xba68003d370cb3d9},
        {403, 0, 0xcdeb804d65c6dea4},  {403, PRIME64, 0x6259f6ecfd6443fd},
        {512, 0, 0x617e49599013cb6b},  {512, PRIME64, 0x3ce457de14c27708},
        {2048, 0, 0xdd59e2c3a5f038e0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t hash = hash64(input, rows[i].size, rows[i].seed);
        ck_assert_msg(hash == rows[i].hash, "size %zu seed %llx: %llx", rows[i].size,
                      (unsigned long long)rows[i].seed, (unsigned long long)hash);
    }
}
END_TEST

START_TEST(hash64_sees_every_bit) {
    uint8_t record[300] = {0};
    uint64_t whole = hash64(record, sizeof(record), 0);
    for (size_t bit = 0; bit < sizeof(record) * 8; bit++) {
        record[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert(hash64(record, sizeof(record), 0) != whole);
        record[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert(hash64(record, sizeof(record) - 1, 0) != whole);
    ck_assert(hash64(record, sizeof(record), 1) != whole);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("base/hash");
    TCase *tcase = tcase_create("hash");
    tcase_add_test(tcase, sha256_known_answers_with_one_hasher);
    tcase_add_test(tcase, how_a_message_is_cut_makes_no_difference);
    tcase_add_test(tcase, begin_forgets_an_unfinished_message);
    tcase_add_test(tcase, a_field_is_its_length_and_its_bytes);
    tcase_add_test(tcase, hash64_known_answers);
    tcase_add_test(tcase, hash64_sees_every_bit);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

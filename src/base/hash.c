/* hash: see base/hash.h. Used by the workers (keys, records) and the master (configuration digest).
 *
 * The surprise: EVP_sha256() is never used. It makes OpenSSL 3 look the method up again at every
 * init; fetched once and with its context kept, a short key costs half as much. For the same reason
 * small pieces are gathered: each call into EVP costs more than copying them.
 */
#include "base/hash.h"

#include <stdlib.h>

#include <openssl/evp.h>

#define XXH_INLINE_ALL /* header only: no shared library to load, constants fold */
#include <xxhash.h>

#include "base/panic.h"

#define GATHER_SIZE 256 /* bytes: all the short fields of a cache key */

struct sha256 {
    EVP_MD *method;      /* owned */
    EVP_MD_CTX *context; /* owned */
    size_t gathered;     /* bytes of `gather` that the context has not seen yet */
    uint8_t gather[GATHER_SIZE];
};

struct sha256 *sha256_new(void) {
    struct sha256 *sha = calloc(1, sizeof(*sha));
    if (sha == NULL) {
        return NULL;
    }
    sha->method = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha->context = EVP_MD_CTX_new();
    /* Tried here once, so that a begin can only fail by a broken invariant. */
    if (sha->method == NULL || sha->context == NULL ||
        EVP_DigestInit_ex2(sha->context, sha->method, NULL) != 1) {
        sha256_free(sha);
        return NULL;
    }
    return sha;
}

void sha256_free(struct sha256 *sha) {
    if (sha == NULL) {
        return;
    }
    EVP_MD_CTX_free(sha->context);
    EVP_MD_free(sha->method);
    free(sha);
}

void sha256_begin(struct sha256 *sha) {
    ASSERT(EVP_DigestInit_ex2(sha->context, sha->method, NULL) == 1);
    sha->gathered = 0;
}

static void pass_on(struct sha256 *sha) {
    ASSERT(EVP_DigestUpdate(sha->context, sha->gather, sha->gathered) == 1);
    sha->gathered = 0;
}

void sha256_add(struct sha256 *sha, const void *data, size_t size) {
    if (size == 0) {
        return;
    }
    if (size > GATHER_SIZE - sha->gathered) {
        pass_on(sha);
    }
    if (size > GATHER_SIZE) {
        ASSERT(EVP_DigestUpdate(sha->context, data, size) == 1);
        return;
    }
    memcpy(sha->gather + sha->gathered, data, size);
    sha->gathered += size;
}

void sha256_begin_field(struct sha256 *sha, size_t size) {
    uint8_t length[8];
    for (unsigned i = 0; i < sizeof(length); i++) {
        length[i] = (uint8_t)((uint64_t)size >> (8 * i));
    }
    sha256_add(sha, length, sizeof(length));
}

void sha256_add_field(struct sha256 *sha, struct bytes field) {
    sha256_begin_field(sha, field.size);
    sha256_add(sha, field.data, field.size);
}

void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_SIZE]) {
    unsigned size = 0;
    pass_on(sha);
    ASSERT(EVP_DigestFinal_ex(sha->context, digest, &size) == 1 && size == SHA256_SIZE);
}

uint64_t hash64(const void *data, size_t size, uint64_t seed) {
    return XXH3_64bits_withSeed(data, size, seed);
}

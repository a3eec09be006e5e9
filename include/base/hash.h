/* hash: SHA-256 for keys, XXH3 for checksums and tables.
 *
 * SHA-256 (FIPS 180-4) comes from OpenSSL's EVP with the method and the context fetched once: 192
 * ns for 200 bytes instead of 410. XXH3-64 comes from libxxhash (doc/decisions/0001): it guards
 * cached records against torn writes, it is not a secret-keyed hash and never decides who may see
 * what.
 */
#ifndef OPTIROUTE_BASE_HASH_H
#define OPTIROUTE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define SHA256_SIZE 32

struct sha256; /* a reusable hasher; one per worker, made after fork */

/* NULL when OpenSSL cannot provide it. */
struct sha256 *sha256_new(void);
void sha256_free(struct sha256 *sha);
void sha256_begin(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *data, size_t size);
/* A field that cannot run into its neighbour: 8 bytes of length (little-endian), then the bytes. */
void sha256_add_field(struct sha256 *sha, struct bytes field);
/* The length alone: the bytes follow with sha256_add. */
void sha256_begin_field(struct sha256 *sha, size_t size);
void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_SIZE]);

uint64_t hash64(const void *data, size_t size, uint64_t seed);

#endif

/* cache_key: the SHA-256 under which an answer is shared: never the prompt alone.
 *
 * Fields, each length-prefixed so that none runs into its neighbour: key version, endpoint kind,
 * tenant, plan fingerprint, anthropic-version, anthropic-beta, OpenAI-Beta, canonical body
 * (base/json_canon.h). Requests that differ in any of them never share an entry.
 */
#ifndef OPTIROUTE_GATEWAY_CACHE_KEY_H
#define OPTIROUTE_GATEWAY_CACHE_KEY_H

#include "base/hash.h"
#include "conf/conf.h"

/* What the key covers beside the canonical body. */
struct cache_key_scope {
    const char *kind;    /* "chat" */
    struct bytes tenant; /* "default" until there are several */
    const uint8_t *plan; /* fingerprint, SHA256_SIZE bytes */
    struct bytes anthropic_version, anthropic_beta, openai_beta; /* header values, usually empty */
};

void cache_key_make(struct sha256 *sha, const struct cache_key_scope *scope, struct bytes canonical,
                    uint8_t key[SHA256_SIZE]);
/* The same key of a long body: then sha256_add of all its bytes, in any pieces, and sha256_end. */
void cache_key_begin(struct sha256 *sha, const struct cache_key_scope *scope,
                     size_t canonical_size);
/* Hash of all that decides where a route's requests go: tiers, fallbacks, rules, policy, threshold
 * and each provider's type, url and default model. A change of any makes other keys. */
void cache_key_fingerprint_route(struct sha256 *sha, const struct conf *conf, unsigned index,
                                 uint8_t plan[SHA256_SIZE]);
/* The same for a provider that the client names. */
void cache_key_fingerprint_provider(struct sha256 *sha, const struct conf *conf, unsigned provider,
                                    uint8_t plan[SHA256_SIZE]);

#endif

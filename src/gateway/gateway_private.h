/* What gateway.c and flow.c share: the inside of struct gateway. Nobody else includes it. */
#ifndef OPTIROUTE_SRC_GATEWAY_PRIVATE_H
#define OPTIROUTE_SRC_GATEWAY_PRIVATE_H

#include "base/hash.h"
#include "gateway/flow.h"
#include "gateway/gateway.h"

#define FLOWS_MAX 65536       /* under way in one worker; past it 503 */
#define FLOWS_SPARE_MAX 64    /* kept for reuse with their first arena block */
#define FLOW_ARENA_BLOCK 8192 /* bytes: an ordinary request fits the first block */
#define FLOW_ARENA_LIMIT (64LL * 1024 * 1024)

struct gateway {
    struct gateway_env env;
    struct sha256 *sha;
    char *value;                           /* where hits are copied to */
    size_t value_size;                     /* bytes of it */
    struct store_stats seen;               /* store statistics already carried to the counters */
    uint8_t (*route_plan)[SHA256_SIZE];    /* fingerprints, one per route */
    uint8_t (*provider_plan)[SHA256_SIZE]; /* and one per provider */
    struct flow *active;                   /* list of flows under way */
    struct flow *spare;                    /* list of flows to use again */
    unsigned active_count, spare_count;
};

/* Frees the memory of a flow in the spare list. */
void flow_destroy(struct flow *flow);

#endif

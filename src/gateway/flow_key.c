/* The key of a request. Runs in workers.
 *
 * Its one surprise: the canonical form of a long body is hashed in steps, one a turn of the loop.
 * A megabyte in one go would keep the others waiting for as long as fifty of their hits take.
 */
#include "gateway/cache_key.h"
#include "gateway_private.h"

#define STEP_BYTES ((size_t)128 * 1024)

static void on_step(void *argument);

void flow_end_key(struct flow *flow) {
    timers_cancel(&flow->gateway->env.timers, flow->key_timer);
    flow->key_timer = NULL;
    sha256_free(flow->sha);
    flow->sha = NULL;
    if (flow->request != NULL) {
        buf_free(&flow->request->canonical_memory);
    }
}

static bool arm(struct flow *flow) {
    flow->key_timer = timers_after(&flow->gateway->env.timers, 0, on_step, flow);
    return flow->key_timer != NULL;
}

static void on_step(void *argument) {
    struct flow *flow = argument;
    const struct buf *canonical = &flow->request->canonical_memory;
    flow->key_timer = NULL;
    do { /* without memory for a timer: the rest now */
        size_t left = canonical->size - flow->hashed;
        size_t size = left < STEP_BYTES ? left : STEP_BYTES;
        sha256_add(flow->sha, canonical->data + flow->hashed, size);
        flow->hashed += size;
        if (size == left) {
            sha256_end(flow->sha, flow->key);
            flow_end_key(flow);
            flow_continue(flow, STEP_NEXT);
            return;
        }
    } while (!arm(flow));
}

static enum step_result begin_long_key(struct flow *flow, const struct cache_key_scope *scope) {
    size_t size = flow->request->canonical_memory.size;
    flow->sha = sha256_new();
    flow->hashed = 0;
    if (flow->sha == NULL) {
        return flow_no_memory(flow);
    }
    cache_key_begin(flow->sha, scope, size);
    if (!flow_keep_views(flow) || !arm(flow)) {
        return flow_no_memory(flow);
    }
    return STEP_WAIT;
}

enum step_result flow_make_key(struct flow *flow) {
    const struct gateway *gateway = flow->gateway;
    const struct flow_request *request = flow->request;
    const struct chat *chat = &request->chat;
    struct cache_key_scope scope = {
        .kind = form_of(chat->form)->kind,
        .tenant = BYTES_LITERAL(FLOW_TENANT),
        .plan = request->route.provider >= 0 ? gateway->provider_plan[request->route.provider]
                                             : gateway->route_plan[request->route.route],
        .anthropic_version = chat->anthropic_version,
        .anthropic_beta = chat->anthropic_beta,
        .openai_beta = chat->openai_beta,
    };
    if (request->canonical_memory.size > 0) {
        return begin_long_key(flow, &scope);
    }
    cache_key_make(gateway->sha, &scope, request->canonical, flow->key);
    return STEP_NEXT;
}

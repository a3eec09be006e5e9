/* Where flows come from and go to: a list of those under way and a few kept for reuse, so that the
 * usual request allocates nothing. Runs in workers.
 */
#include <stdlib.h>

#include "base/panic.h"
#include "gateway_private.h"

#define TEXT_LIMIT (16 * 1024 * 1024) /* bytes of what is kept of one answer, each */

static void list_insert(struct gateway *gateway, struct flow *flow) {
    flow->previous = NULL;
    flow->next = gateway->active;
    if (gateway->active != NULL) {
        gateway->active->previous = flow;
    }
    gateway->active = flow;
    gateway->active_count++;
}

static void list_remove(struct gateway *gateway, struct flow *flow) {
    if (flow->previous != NULL) {
        flow->previous->next = flow->next;
    } else {
        gateway->active = flow->next;
    }
    if (flow->next != NULL) {
        flow->next->previous = flow->previous;
    }
    gateway->active_count--;
}

struct flow *flow_new(struct gateway *gateway) {
    if (gateway->active_count >= FLOWS_MAX) {
        return NULL;
    }
    struct flow *flow = gateway->spare;
    if (flow != NULL) {
        gateway->spare = flow->next;
        gateway->spare_count--;
    } else {
        flow = calloc(1, sizeof(*flow));
        if (flow == NULL) {
            return NULL;
        }
        arena_init(&flow->arena, FLOW_ARENA_BLOCK,
                   FLOW_ARENA_LIMIT +
                       FLOW_BODY_COPIES * (size_t)gateway->env.conf->limits.max_body);
        buf_init(&flow->text, TEXT_LIMIT);
        buf_init(&flow->held, TEXT_LIMIT);
        kept_init(&flow->kept, TEXT_LIMIT);
        buf_init(&flow->json, TEXT_LIMIT);
    }
    flow->gateway = gateway;
    flow->request = NULL;
    flow->sink = NULL;
    flow->step = 0;
    flow->flight = NULL;
    flow->next_waiter = flow->prior_waiter = NULL;
    flow->wait_timer = NULL;
    flow->waited_ns = 0;
    flow->looked_again = false;
    flow->gone_status = 0;
    flow->overfull_ns = 0;
    flow->fill = SINK_HAS_ROOM;
    flow->plan.count = 0;
    flow->plan_at = 0;
    flow->ops = NULL;
    flow->attempts = 0;
    flow->tries = 0;
    flow->has_ticket = false;
    flow->probes = false;
    flow->lease_timer = NULL;
    flow->retry_timer = NULL;
    flow->failure_rank = 0;
    flow->head_sent = flow->content_sent = flow->is_paused = flow->was_streamed = false;
    flow->was_paused = flow->strong_is_unable = false;
    flow->keeps = false;
    flow->held_at = 0;
    flow->last = (struct chat_event){0};
    flow->ping_timer = flow->pace_timer = flow->key_timer = NULL;
    flow->sha = NULL;
    flow->has_views = false;
    flow->have_outcome = false;
    flow->have_usage = false;
    flow->cost_nusd = 0;
    flow->answer = (struct answer){0};
    flow->failure = (struct failure){0};
    list_insert(gateway, flow);
    return flow;
}

struct arena *flow_arena(struct flow *flow) {
    return &flow->arena;
}

void flow_destroy(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    ASSERT(gateway->spare == flow);
    gateway->spare = flow->next;
    gateway->spare_count--;
    arena_fini(&flow->arena);
    free(flow);
}

void flow_drop(struct flow *flow) {
    struct gateway *gateway = flow->gateway;
    ASSERT(flow->flight == NULL);
    list_remove(gateway, flow);
    flow_end_key(flow);
    if (flow->request != NULL) {
        gateway_give_back(gateway, &flow->request->memory);
    }
    gateway->kept_bytes -= kept_size(&flow->kept);
    buf_free(&flow->text);
    buf_free(&flow->held);
    kept_free(&flow->kept);
    buf_free(&flow->json);
    arena_reset(&flow->arena);
    flow->next = gateway->spare;
    gateway->spare = flow;
    gateway->spare_count++;
    if (gateway->spare_count > FLOWS_SPARE_MAX) {
        flow_destroy(flow);
    }
}

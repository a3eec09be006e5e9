/* Flights that other processes lead: what those who wait here do when there is something to look
 * at, and how a failure gets from one process to another. Who waits for whom is in flight.c. Runs
 * in workers.
 *
 * Its one surprise: nothing but an answer travels between processes, by the store; a failure lies
 * there too, for some seconds and under a key of its own.
 */
#include "gateway_private.h"

#include <string.h>

#define FAILURE_TTL_MS 5000

/* No request's, for these are hashes. */
static void failure_key(const struct flight *flight, uint8_t key[SHA256_SIZE]) {
    memcpy(key, flight->key, SHA256_SIZE);
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        key[i] ^= 0x5a;
    }
    for (size_t i = 0; i < sizeof(flight->ticket.number); i++) {
        key[i + 8] ^= (uint8_t)(flight->ticket.number >> 8 * i);
        key[i + 12] ^= (uint8_t)(flight->ticket.index >> 8 * i);
    }
}

void flight_leave_failure(struct gateway *gateway, const struct flight *flight,
                          const struct flow_failure *how) {
    const struct gateway_env *env = &gateway->env;
    uint8_t key[SHA256_SIZE];
    struct buf value;
    /* After an earlier failure some may have been woken and not have looked yet. */
    if (flight->failures < 2 && !flight_is_awaited(env->store, &flight->ticket, env->slot)) {
        return;
    }
    buf_init_fixed(&value, gateway->value, gateway->value_size);
    flight_failure_encode(how, &value);
    failure_key(flight, key);
    if (!value.failed) { /* else, and when it is not stored, one of them asks again */
        (void)store_put(env->store, key, buf_bytes(&value), FAILURE_TTL_MS);
    }
}

/* One of those here asks for them, unseen by other processes. */
static void ask_here(struct gateway *gateway, struct flight *flight) {
    flight->has_ticket = false;
    flight->failures = 0;
    flight_promote(gateway, flight);
}

/* The answer has come. It is looked up for each, for what a client does when it has heard its own
 * may need the same memory. */
static void take_stored(struct gateway *gateway, struct flight *flight) {
    struct flow *flow;
    struct entry entry;
    flight_unlist(gateway, flight);
    flight_close(gateway, flight);
    while ((flow = flight->waiters) != NULL && flow_look_up(flow, &entry)) {
        flight_remove_waiter(flow);
        bool is_taken = flow_take_entry(flow, &entry, ANSWER_COALESCED);
        flow_continue(flow, is_taken ? STEP_REPLAY : flow_no_memory(flow));
    }
    if (flow != NULL) { /* it has gone again */
        ask_here(gateway, flight);
    } else {
        flight_free(flight);
    }
}

static bool find_failure(struct gateway *gateway, const struct flight *flight, struct flow *flow,
                         struct flow_failure *failure) {
    uint8_t key[SHA256_SIZE];
    size_t size;
    failure_key(flight, key);
    return store_get(gateway->env.store, key, INT64_MAX, gateway->value, gateway->value_size, &size,
                     NULL) == STORE_HIT &&
           flight_failure_decode(bytes_make(gateway->value, size), &flow->arena, failure) == 0;
}

/* It has ended and left nothing but, perhaps, the reason. */
static void take_failure(struct gateway *gateway, struct flight *flight) {
    struct flow *flow;
    struct flow_failure failure;
    if (!find_failure(gateway, flight, flight->waiters, &failure)) {
        ask_here(gateway, flight);
        return;
    }
    flight_unlist(gateway, flight);
    flight_close(gateway, flight);
    while ((flow = flight->waiters) != NULL && find_failure(gateway, flight, flow, &failure)) {
        flight_remove_waiter(flow);
        flight_fail(flow, &failure);
    }
    if (flow != NULL) {
        ask_here(gateway, flight);
    } else {
        flight_free(flight);
    }
}

/* In the store may be what was too old for those who wait: it still is. */
static int64_t oldest_ms(const struct gateway *gateway, const struct flight *flight) {
    int64_t now_ns = timers_now_ns(&gateway->env.timers);
    int64_t waited_ms = (now_ns - flight->since_ns) / NS_PER_MS;
    return flight->max_age_ms < INT64_MAX - waited_ms ? flight->max_age_ms + waited_ms : INT64_MAX;
}

static void look(struct gateway *gateway, struct flight *flight) {
    const struct gateway_env *env = &gateway->env;
    unsigned failures;
    switch (flight_look(env->store, flight->key, env->slot, oldest_ms(gateway, flight),
                        &flight->ticket, &failures)) {
    case FLIGHT_STORED:
        take_stored(gateway, flight);
        break;
    case FLIGHT_LEAD:
        flight->failures = failures;
        flight_promote(gateway, flight);
        break;
    case FLIGHT_ALONE:
        take_failure(gateway, flight);
        break;
    default:
        break; /* to be looked at again */
    }
}

void gateway_wake(struct gateway *gateway) {
    struct flight *flight = gateway->elsewhere;
    gateway->round++;
    while (flight != NULL) {
        bool is_new = flight->round != gateway->round &&
                      flight_has_changed(gateway->env.store, &flight->ticket, gateway->env.slot);
        flight->round = gateway->round;
        if (is_new) {
            look(gateway, flight);
            flight = gateway->elsewhere; /* the list may be another one now */
        } else {
            flight = flight->next_there;
        }
    }
}

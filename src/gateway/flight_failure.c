/* A failure as bytes: what other processes that wait for the same answer are told. Pure.
 *
 *   | status | retry after | rank | outcome | flags | sizes of seven strings | the strings |
 *
 * It lies in the store for some seconds and is read by the binary that wrote it, or by one that
 * finds that it does not add up.
 */
#include <string.h>

#include "gateway_private.h"

#define FLAG_SHOULD_RETRY 1u
#define FLAG_RETRY_IS_ASKED 2u
#define FLAG_HAS_PARAM 4u

enum {
    TEXT_TYPE,
    TEXT_CODE,
    TEXT_MESSAGE,
    TEXT_PARAM,
    TEXT_PROVIDER,
    TEXT_MODEL,
    TEXT_REASON,
    TEXTS
};

struct failure_head {
    int32_t status, retry_after_s;
    uint32_t rank, outcome, flags;
    uint32_t sizes[TEXTS];
};

void flight_failure_encode(const struct flow_failure *how, struct buf *out) {
    const struct failure *failure = &how->failure;
    const struct bytes texts[TEXTS] = {
        [TEXT_TYPE] = bytes_from_str(failure->type),
        [TEXT_CODE] = bytes_from_str(failure->code),
        [TEXT_MESSAGE] = bytes_from_str(failure->message),
        [TEXT_PARAM] = bytes_from_str(failure->param != NULL ? failure->param : ""),
        [TEXT_PROVIDER] = failure->provider,
        [TEXT_MODEL] = failure->model,
        [TEXT_REASON] = failure->reason,
    };
    struct failure_head head = {
        .status = failure->status,
        .retry_after_s = failure->retry_after_s,
        .rank = how->rank,
        .outcome = (uint32_t)how->outcome,
        .flags = (failure->should_retry ? FLAG_SHOULD_RETRY : 0) |
                 (failure->retry_is_asked ? FLAG_RETRY_IS_ASKED : 0) |
                 (failure->param != NULL ? FLAG_HAS_PARAM : 0),
    };
    for (unsigned i = 0; i < TEXTS; i++) {
        head.sizes[i] = (uint32_t)texts[i].size;
    }
    buf_append(out, &head, sizeof(head));
    for (unsigned i = 0; i < TEXTS; i++) {
        buf_append_bytes(out, texts[i]);
    }
}

int flight_failure_decode(struct bytes value, struct arena *arena, struct flow_failure *how) {
    struct failure_head head;
    struct bytes texts[TEXTS];
    size_t at = sizeof(head);
    if (value.size < sizeof(head)) {
        return -1;
    }
    memcpy(&head, value.data, sizeof(head));
    for (unsigned i = 0; i < TEXTS; i++) {
        if (head.sizes[i] > value.size - at) {
            return -1;
        }
        texts[i] = arena_copy(arena, bytes_make(value.data + at, head.sizes[i])); /* with a NUL */
        at += head.sizes[i];
        if (texts[i].data == NULL) {
            return -1;
        }
    }
    if (at != value.size || head.outcome >= OUTCOME_COUNT || head.status < 400 ||
        head.status > 599) {
        return -1;
    }
    *how = (struct flow_failure){
        .rank = head.rank,
        .outcome = (enum outcome)head.outcome,
        .failure = {.status = head.status,
                    .type = texts[TEXT_TYPE].data,
                    .code = texts[TEXT_CODE].data,
                    .message = texts[TEXT_MESSAGE].data,
                    .param = (head.flags & FLAG_HAS_PARAM) != 0 ? texts[TEXT_PARAM].data : NULL,
                    .retry_after_s = head.retry_after_s,
                    .should_retry = (head.flags & FLAG_SHOULD_RETRY) != 0,
                    .retry_is_asked = (head.flags & FLAG_RETRY_IS_ASKED) != 0,
                    .provider = texts[TEXT_PROVIDER],
                    .model = texts[TEXT_MODEL],
                    .reason = texts[TEXT_REASON]},
    };
    return 0;
}

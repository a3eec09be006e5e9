/* GET /health and /health/ready: is the process alive, and may it be given work.
 *
 * Runs in workers; asks no provider, but looks at their circuits.
 */
#include "api_private.h"

static void answer_ok(struct api_call *call) {
    api_reply(call, 200, "application/json", BYTES_LITERAL("{\"status\":\"ok\"}"));
    api_log(call, 200);
}

void api_health(struct api_call *call, const struct http_head *head, struct bytes body) {
    (void)head;
    (void)body;
    answer_ok(call);
}

void api_ready(struct api_call *call, const struct http_head *head, struct bytes body) {
    (void)head;
    (void)body;
    if (gateway_is_ready(call->api->gateway)) {
        answer_ok(call);
        return;
    }
    bool drains = board_get_word(call->api->env->region, BOARD_WORD_DRAINING) != 0;
    struct api_error error = {
        .status = 503,
        .type = "server_error",
        .code = drains ? "draining" : "no_provider",
        .message = drains ? "the server is shutting down"
                          : "every provider has failed and is left alone for a while",
        .retry_after_s = 1,
        .should_retry = true};
    api_reply_error(call, &error);
    api_log(call, 503);
}

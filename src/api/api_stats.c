/* GET /api/stats: the figures of the whole daemon, with the last hour and the last requests, as
 * JSON. Runs in workers. It shows neither prompts nor answers nor keys; whoever can reach the
 * listener can see it.
 */
#include "api_private.h"

#include "stats_json.h"

void api_stats(struct api_call *call, const struct http_head *head, struct bytes body) {
    struct api *api = call->api;
    const struct stats_wish all = {.history = true, .recent = true};
    (void)head;
    (void)body;
    stats_json_write(api->stats, &all, &api->body);
    buf_append_str(&api->fields, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    api_reply(call, 200, "application/json", buf_bytes(&api->body));
    api_log(call, 200);
}

void api_tick(struct api *api) {
    const struct gateway_env *env = api->env;
    stats_sample(env->region, env->store, &api->stats->now);
}

/* Money: tokens and seconds into nano-dollars.
 *
 * Pure; runs in workers. Its one surprise: the arithmetic is in 128 bits, because a price times a
 * token count that a provider invents does not fit 64.
 */
#include "gateway/cost.h"

#include "base/clock.h"

#define TOKENS_PER_PRICE 1000000

static __int128 at_least_zero(int64_t value) {
    return value > 0 ? value : 0;
}

static int64_t divide_half_up(__int128 sum, int64_t divisor) {
    __int128 rounded = (sum + divisor / 2) / divisor;
    return rounded > INT64_MAX ? INT64_MAX : (int64_t)rounded;
}

int64_t cost_of_tokens(const struct conf_model *model, const struct usage *usage) {
    if (model->input_nusd == CONF_PRICE_UNKNOWN || model->output_nusd == CONF_PRICE_UNKNOWN) {
        return COST_UNKNOWN;
    }
    __int128 cached = at_least_zero(usage->cached_tokens);
    __int128 written = at_least_zero(usage->cache_write_tokens);
    __int128 written_1h = at_least_zero(usage->cache_write_1h_tokens);
    __int128 plain = at_least_zero(usage->prompt_tokens) - cached - written - written_1h;
    __int128 sum = (plain > 0 ? plain : 0) * model->input_nusd + cached * model->cached_input_nusd +
                   written * model->cache_write_nusd + written_1h * model->cache_write_1h_nusd +
                   at_least_zero(usage->completion_tokens) * model->output_nusd;
    return divide_half_up(sum, TOKENS_PER_PRICE);
}

int64_t cost_of_time(int64_t per_second_nusd, int64_t ns) {
    if (per_second_nusd == CONF_PRICE_UNKNOWN) {
        return COST_UNKNOWN;
    }
    return divide_half_up(at_least_zero(ns) * per_second_nusd, NS_PER_S);
}

int64_t cost_of_attempt(const struct conf_provider *provider, const struct conf_model *model,
                        const struct usage *usage, int64_t billed_ns) {
    if (provider->per_second_nusd != CONF_PRICE_UNKNOWN) {
        return cost_of_time(provider->per_second_nusd, billed_ns);
    }
    return cost_of_tokens(model, usage);
}

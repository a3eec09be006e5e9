/* cost: money as int64 nano-dollars, computed once per attempt, half up.
 *
 * Pure functions. Prices are nano-dollars per 1,000,000 tokens (or per second); tokens and times
 * come from a provider and may be anything: negative counts as 0 and a sum past the range of int64
 * stays at its end.
 */
#ifndef OPTIROUTE_GATEWAY_COST_H
#define OPTIROUTE_GATEWAY_COST_H

#include "conf/conf.h"
#include "upstream/chat.h"

#define COST_UNKNOWN (-1)

/* Each part of the usage at its own price: prompt tokens that were neither read from the provider's
 * cache nor written to it x input, the others x cached_input and cache_write, completion x output;
 * the sum + 500,000, / 1,000,000. COST_UNKNOWN when a price is. */
int64_t cost_of_tokens(const struct conf_model *model, const struct usage *usage);
/* per_second x ns / 10^9, half up; COST_UNKNOWN when the price is. */
int64_t cost_of_time(int64_t per_second_nusd, int64_t ns);
/* By time when the provider is paid by time, else by tokens. */
int64_t cost_of_attempt(const struct conf_provider *provider, const struct conf_model *model,
                        const struct usage *usage, int64_t billed_ns);

#endif

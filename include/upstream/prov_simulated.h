/* prov_simulated: a provider without a network: the prototype's local model.
 *
 * Latency is min(latency + per_token x max_tokens, max_latency); the text is made from the seed and
 * the prompt, so the same question has the same answer in every worker; usage is counted by the
 * same rule everywhere; failures come at the configured rate. A streamed answer arrives word by
 * word and ends when the unstreamed one would. No thread and no process waits: an attempt is one
 * timer.
 */
#ifndef OPTIROUTE_UPSTREAM_PROV_SIMULATED_H
#define OPTIROUTE_UPSTREAM_PROV_SIMULATED_H

#include "upstream/provider.h"

extern const struct provider_ops prov_simulated_ops;

/* Computed latency of a request of max_tokens, in nanoseconds. */
int64_t prov_simulated_latency_ns(const struct conf_simulated *simulated, int64_t max_tokens);
/* The answer's words for a prompt, from the arena; *word_count is its number of tokens, at most
 * max_tokens. data NULL without memory. */
struct bytes prov_simulated_text(const struct conf_simulated *simulated, const struct chat *chat,
                                 struct arena *arena, int64_t *word_count);

#endif

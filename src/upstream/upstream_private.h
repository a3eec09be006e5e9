/* What the files of layer upstream share about one worker's upstream. Nobody else includes it. */
#ifndef OPTIROUTE_SRC_UPSTREAM_PRIVATE_H
#define OPTIROUTE_SRC_UPSTREAM_PRIVATE_H

#include "base/text.h"
#include "dialect.h"
#include "fetch.h"
#include "upstream/outcome.h"
#include "upstream/upstream.h"

/* For the document at hand; the next one overwrites it. */
struct json_reader *upstream_reader(struct upstream *upstream);
/* For what is decoded of the document at hand; empty when it is asked for. */
struct arena *upstream_scratch(struct upstream *upstream);
/* The site of a provider, made at its first use. NULL without memory. */
struct fetch_site *upstream_site(struct upstream *upstream, const struct conf_provider *provider,
                                 const struct dialect *dialect);

#endif

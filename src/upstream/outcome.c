/* The table of outcomes, as doc/providers.md explains them. Data only.
 *
 * The surprise: timeouts are not tried again at the same provider. Whoever waited 30 seconds for a
 * first byte should not wait 30 more; the fallback is next. What is deterministic (a redirect, a
 * certificate, an answer that is too large) is not tried again either, since it costs time, and
 * sometimes money, for the same result.
 */
#include "upstream/outcome.h"

#include "base/panic.h"

#define FAILS(status_, retry_, text)                                                          \
    {                                                                                         \
        .status = (status_), .verdict = VERDICT_FAILURE, .is_error = true, .retry = (retry_), \
        .client_retry = true, .message = (text)                                               \
    }

static const struct outcome_rule rules[OUTCOME_COUNT] = {
    [OUTCOME_OK] = {.status = 200, .verdict = VERDICT_SUCCESS, .message = "no failure"},
    [OUTCOME_SIMULATED_FAILURE] = FAILS(502, true, "the provider failed to answer"),
    [OUTCOME_CLIENT_GONE] = {.status = 499,
                             .verdict = VERDICT_UNKNOWN,
                             .message = "the client closed the connection"},
    [OUTCOME_NO_MEMORY] = {.status = 503,
                           .verdict = VERDICT_UNKNOWN,
                           .is_error = true,
                           .client_retry = true,
                           .message = "out of memory"},
    [OUTCOME_OVERLOADED] = {.status = 503,
                            .verdict = VERDICT_UNKNOWN,
                            .is_error = true,
                            .client_retry = true,
                            .message = "as many requests as allowed are at the provider already"},
    [OUTCOME_SHUTDOWN] = {.status = 503,
                          .verdict = VERDICT_UNKNOWN,
                          .client_retry = true,
                          .message = "the server is shutting down"},
    [OUTCOME_BREAKER_OPEN] = {.status = 503,
                              .verdict = VERDICT_UNKNOWN,
                              .is_error = true,
                              .client_retry = true,
                              .message = "the provider has failed and is left alone for a while"},
    [OUTCOME_LOCAL_RESOURCES] = {.status = 503,
                                 .verdict = VERDICT_UNKNOWN,
                                 .is_error = true,
                                 .client_retry = true,
                                 .message = "the gateway has no free connection for the provider"},
    [OUTCOME_BAD_MODEL] = {.status = 400,
                           .verdict = VERDICT_UNKNOWN,
                           .code = "model_not_found",
                           .message = "this model's name cannot be asked of the provider"},
    [OUTCOME_UNTRANSLATABLE] = {.status = 400,
                                .verdict = VERDICT_UNKNOWN,
                                .message = "no provider that this request may go to can be asked "
                                           "this in its own API"},
    [OUTCOME_CLIENT_STALL] = {.status = 499,
                              .verdict = VERDICT_UNKNOWN,
                              .message = "the client did not read its answer"},

    [OUTCOME_DNS] = FAILS(502, true, "the provider's name cannot be resolved"),
    [OUTCOME_DNS_TIMEOUT] = FAILS(504, false, "the provider's name was not resolved in time"),
    [OUTCOME_CONNECT_REFUSED] = FAILS(502, true, "the provider refused the connection"),
    [OUTCOME_CONNECT_UNREACHABLE] = FAILS(502, true, "the provider cannot be reached"),
    [OUTCOME_CONNECT_TIMEOUT] = FAILS(504, false, "the provider did not accept in time"),
    [OUTCOME_TLS_VERIFY] = FAILS(502, false, "the provider's certificate is not trusted"),
    [OUTCOME_TLS_HANDSHAKE] = FAILS(502, false, "no encrypted connection to the provider"),
    [OUTCOME_TLS_TIMEOUT] = FAILS(504, false, "no encrypted connection to the provider in time"),

    [OUTCOME_STALE] = FAILS(502, true, "the provider closed a kept connection"),
    [OUTCOME_EMPTY_REPLY] = FAILS(502, true, "the provider closed without an answer"),
    [OUTCOME_RESET] = FAILS(502, true, "the provider reset the connection"),
    [OUTCOME_FIRST_BYTE_TIMEOUT] =
        FAILS(504, false, "the provider did not begin to answer in time"),
    [OUTCOME_IDLE_TIMEOUT] = FAILS(504, false, "the provider fell silent in its answer"),
    [OUTCOME_TOTAL_TIMEOUT] = FAILS(504, false, "the provider's answer took too long"),
    [OUTCOME_TRUNCATED] = FAILS(502, true, "the provider's answer broke off"),
    [OUTCOME_BAD_HTTP] = FAILS(502, false, "the provider does not speak HTTP"),
    [OUTCOME_BAD_FRAMING] = FAILS(502, false, "the provider's answer is framed wrongly"),
    [OUTCOME_BAD_ENCODING] = FAILS(502, false, "the provider's answer is compressed, unasked"),
    [OUTCOME_HEADER_TOO_LARGE] =
        FAILS(502, false, "the head of the provider's answer is too large"),
    [OUTCOME_TOO_LARGE] = FAILS(502, false, "the provider's answer is too large"),

    [OUTCOME_REDIRECT] = FAILS(502, false, "the provider redirects, which is not followed"),
    [OUTCOME_REJECTED] = {.verdict = VERDICT_ANSWERED,
                          .message = "the provider refused the request"},
    [OUTCOME_AUTH] = {.status = 502,
                      .verdict = VERDICT_ANSWERED,
                      .is_error = true,
                      .code = "provider_auth",
                      .message = "the provider does not accept the gateway's key"},
    [OUTCOME_RATE_LIMITED] = FAILS(429, false, "the provider limits the rate of requests"),
    [OUTCOME_HTTP_408] = FAILS(504, true, "the provider gave up waiting for the request"),
    [OUTCOME_HTTP_5XX] = FAILS(502, true, "the provider has an internal error"),
    [OUTCOME_BAD_CONTENT_TYPE] = FAILS(502, false, "the provider's answer is of another type"),
    [OUTCOME_BAD_JSON] = FAILS(502, false, "the provider's answer is not valid JSON"),
    [OUTCOME_BAD_UTF8] = FAILS(502, false, "the provider's answer is not valid UTF-8"),
    [OUTCOME_BAD_SCHEMA] = FAILS(502, false, "the provider's answer has no text where it belongs"),

    [OUTCOME_STREAM_TRUNCATED] = FAILS(502, true, "the provider's stream broke off"),
    [OUTCOME_STREAM_IDLE] = FAILS(504, false, "the provider fell silent in its stream"),
    [OUTCOME_STREAM_ERROR] = FAILS(502, true, "the provider reported a failure in its stream"),
};

const struct outcome_rule *outcome_rule(enum outcome outcome) {
    ASSERT((unsigned)outcome < OUTCOME_COUNT && rules[outcome].message != NULL);
    return &rules[outcome];
}

/* What the tests of dialects share: an attempt at a provider that exists on paper. */
#ifndef OPTIROUTE_TESTS_DIALECT_TEST_H
#define OPTIROUTE_TESTS_DIALECT_TEST_H

#include "upstream_test.h"

#include "../../../src/upstream/dialect.h"

static struct buf out;
static struct conf_model model;
static struct conf_provider provider;
static struct chat chat;
static struct attempt attempt;

static inline void dialect_open(void) {
    documents_open();
    buf_init(&out, 0);
    model = (struct conf_model){.name = "m/1\"",
                                .input_nusd = 3000000000,
                                .output_nusd = 15000000000,
                                .cached_input_nusd = 300000000,
                                .cache_write_nusd = 3750000000,
                                .cache_write_1h_nusd = 6000000000};
    provider = (struct conf_provider){
        .name = "p", .url = "http://127.0.0.1:1/v1", .per_second_nusd = CONF_PRICE_UNKNOWN};
    chat = (struct chat){.body = BYTES_LITERAL("{}"), .max_tokens = 7};
    attempt = (struct attempt){.provider = &provider,
                               .model = &model,
                               .chat = &chat,
                               .arena = &arena,
                               .retry_after_ms = -1};
}

static inline void dialect_close(void) {
    buf_free(&out);
    documents_close();
}

static inline const char *text_of(struct buf *buf) {
    ck_assert(!buf->failed);
    buf_append_char(buf, '\0');
    return buf->data;
}

#endif

/* The cache key of a request, from the bytes of its body: random chat bodies in other spellings of
 * the same have the same key, and whatever else is different makes another one.
 *
 * Driven is what api_ask.c and the flow's first step do with a body: json_read,
 * ask_write_canonical, cache_key_make. That the headers come from the request's head, test_api.c
 * shows.
 */
#include "unit.h"

#include "../../../src/api/api_private.h"
#include "gateway/cache_key.h"
#include "json_tree.h"

#define SEED 20261127
#define BODIES 25000 /* five pairs of keys each */

/* All that goes into a key beside the body. */
struct scope {
    enum chat_form form;
    struct tree_text tenant, anthropic_version, anthropic_beta, openai_beta;
    uint8_t plan[SHA256_SIZE];
};

static struct api api;
static struct api_call call;
static struct flow_request request;
static struct ask ask;
static struct json_reader reader;
static struct arena arena;
static struct sha256 *sha;
static struct buf body, first_body;
static struct tree saved[TREE_NODES_MAX];

static void setup(void) {
    api = (struct api){0};
    call = (struct api_call){.api = &api};
    request = (struct flow_request){.cache = CACHE_USE};
    ask = (struct ask){.call = &call, .request = &request, .reader = &reader, .arena = &arena};
    buf_init(&api.canonical, 0);
    buf_init(&body, 0);
    buf_init(&first_body, 0);
    json_reader_init(&reader);
    arena_init(&arena, 65536, (size_t)64 << 20);
    sha = sha256_new();
    ck_assert_ptr_nonnull(sha);
}

static void teardown(void) {
    buf_free(&api.canonical);
    buf_free(&body);
    buf_free(&first_body);
    json_reader_fini(&reader);
    arena_fini(&arena);
    sha256_free(sha);
}

/* 0, or -1 when the body is refused. */
static int write_canonical(void) {
    struct json_fault fault;
    arena_reset(&arena);
    ck_assert_msg(json_read(&reader, buf_bytes(&body), &fault) == 0, "%s at %zu: %.*s",
                  fault.reason, fault.offset, (int)body.size, body.data);
    return ask_write_canonical(&ask);
}

static struct bytes view(const struct tree_text *text) {
    return bytes_make(text->data, text->size);
}

/* As the flow's step `admit` makes it. */
static void make_key(const struct scope *of, uint8_t key[SHA256_SIZE]) {
    struct cache_key_scope scope = {.kind = form_of(of->form)->kind,
                                    .tenant = view(&of->tenant),
                                    .plan = of->plan,
                                    .anthropic_version = view(&of->anthropic_version),
                                    .anthropic_beta = view(&of->anthropic_beta),
                                    .openai_beta = view(&of->openai_beta)};
    cache_key_make(sha, &scope, buf_bytes(&api.canonical), key);
}

/* The key of a new spelling of the tree. */
static void key_of(struct tree *tree, const struct scope *scope, uint8_t key[SHA256_SIZE]) {
    buf_clear(&body);
    write_body(&body, tree);
    ck_assert(!body.failed);
    ck_assert_int_eq(write_canonical(), 0);
    ck_assert_int_eq(request.cache, CACHE_USE);
    make_key(scope, key);
}

static struct scope random_scope(void) {
    struct scope scope = {.form = (enum chat_form)below(FORM_COUNT),
                          .tenant = random_text(5),
                          .anthropic_version = random_text(3),
                          .anthropic_beta = random_text(3),
                          .openai_beta = random_text(3)};
    for (size_t i = 0; i < sizeof(scope.plan); i++) {
        scope.plan[i] = (uint8_t)draw();
    }
    return scope;
}

/* The last byte of one field becomes the first of the next. */
static bool move_byte(struct tree_text *from, struct tree_text *to) {
    if (from->size == 0) {
        return false;
    }
    memmove(to->data + 1, to->data, to->size++);
    to->data[0] = from->data[--from->size];
    return true;
}

static bool exchange(struct tree_text *one, struct tree_text *other) {
    struct tree_text text = *one;
    *one = *other;
    *other = text;
    return !text_equal(one, other);
}

static bool change_scope(struct scope *scope) {
    struct tree_text *const texts[] = {&scope->tenant, &scope->anthropic_version,
                                       &scope->anthropic_beta, &scope->openai_beta};
    unsigned at = below(3);
    switch (below(5)) {
    case 0:
        scope->form = (enum chat_form)((scope->form + 1 + below(FORM_COUNT - 1)) % FORM_COUNT);
        return true;
    case 1:
        scope->plan[below(SHA256_SIZE)] ^= (uint8_t)(1 << below(8));
        return true;
    case 2:
        change_text(texts[below(4)]);
        return true;
    case 3:
        return exchange(texts[at], texts[at + 1]);
    default:
        return move_byte(texts[at], texts[at + 1]);
    }
}

/* Changes the tree in one place, in a way that it has a place for. */
static enum tree_change change(size_t used) {
    for (;;) {
        enum tree_change how = (enum tree_change)below(CHANGE_COUNT);
        for (int tries = 0; tries < 50; tries++) {
            if (change_node(&tree_pool[below((unsigned)used)], how)) {
                return how;
            }
            memcpy(tree_pool, saved, used * sizeof(saved[0]));
            tree_pool_used = used;
        }
    }
}

static void check_body(unsigned changes[CHANGE_COUNT]) {
    uint8_t key[SHA256_SIZE], other[SHA256_SIZE];
    struct tree *tree = random_body();
    size_t used = tree_pool_used;
    struct scope scope = random_scope(), changed = scope;
    key_of(tree, &scope, key);
    buf_clear(&first_body);
    buf_append_bytes(&first_body, buf_bytes(&body));
    for (int i = 0; i < 2; i++) {
        key_of(tree, &scope, other);
        ck_assert_msg(memcmp(key, other, sizeof(key)) == 0, "the same: %.1000s and %.1000s",
                      first_body.data, body.data);
    }
    while (!change_scope(&changed)) {
        changed = scope;
    }
    make_key(&changed, other);
    ck_assert_msg(memcmp(key, other, sizeof(key)) != 0, "one scope is the other");
    memcpy(saved, tree_pool, used * sizeof(saved[0]));
    for (int i = 0; i < 2; i++) {
        enum tree_change how = change(used);
        changes[how]++;
        key_of(tree, &scope, other);
        ck_assert_msg(memcmp(key, other, sizeof(key)) != 0, "change %d: %.1000s and %.1000s", how,
                      first_body.data, body.data);
        memcpy(tree_pool, saved, used * sizeof(saved[0]));
        tree_pool_used = used;
    }
}

START_TEST(keys_are_equal_when_bodies_mean_the_same_and_only_then) {
    unsigned changes[CHANGE_COUNT] = {0};
    tree_random = SEED;
    for (int i = 0; i < BODIES; i++) {
        check_body(changes);
    }
    for (int i = 0; i < CHANGE_COUNT; i++) { /* none of them was left out */
        ck_assert_msg(changes[i] > 100, "change %d: %u times", i, changes[i]);
    }
}
END_TEST

START_TEST(a_key_given_twice_is_refused_wherever_it_stands) {
    static const char *const rows[] = {
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":1}",
        "{\"b\":{\"a\":1,\"a\":2}}",
        "{\"b\":[[{\"a\":1,\"c\":0,\"a\":2}]]}",
        "{\"user\":{\"a\":1,\"a\":2}}",
        "{\"metadata\":[{\"a\":1,\"a\":2}]}",
        "{\"stream\":true,\"str\\u0065am\":false}",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ask.error = (struct api_error){0};
        buf_clear(&body);
        buf_append_str(&body, rows[i]);
        ck_assert_int_eq(write_canonical(), -1);
        ck_assert_int_eq(ask.error.status, 400);
        ck_assert_str_eq(ask.error.code, "doubled_key");
    }
}
END_TEST

/* 1 MiB. */
START_TEST(a_body_that_is_too_large_for_the_cache_goes_without) {
    static const char *const ends[] = {"\"}", "\",\"a\":{\"b\":1,\"b\":2}}"};
    for (int i = 0; i < 2; i++) {
        request.cache = CACHE_USE;
        ask.error = (struct api_error){0};
        buf_clear(&body);
        buf_append_str(&body, "{\"text\":\"");
        while (body.size <= 1024 * 1024) {
            buf_append_str(&body, "a lot of text");
        }
        buf_append_str(&body, ends[i]);
        ck_assert_int_eq(write_canonical(), i == 0 ? 0 : -1);
        ck_assert_int_eq(ask.error.status, i == 0 ? 0 : 400);
        ck_assert_int_eq(request.cache, CACHE_NO_STORE);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("api_ask");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 300); /* a few seconds, but for sanitizers on a busy machine */
    tcase_add_test(tcase, keys_are_equal_when_bodies_mean_the_same_and_only_then);
    tcase_add_test(tcase, a_key_given_twice_is_refused_wherever_it_stands);
    tcase_add_test(tcase, a_body_that_is_too_large_for_the_cache_goes_without);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

/* The simulated provider: latency, text, tokens, cost basis and failures without a network.
 *
 * For the built-in configuration, for tests and for load runs that must not spend money; not a
 * model. Runs in workers. Its one surprise: whether an attempt fails depends on a count of this
 * process and not on the prompt, so that asking again can succeed.
 */
#include "upstream/prov_simulated.h"

#include "base/clock.h"
#include "base/hash.h"
#include "compose.h"

#define LONGEST_WORD 12     /* bytes of the longest word below, with its blank */
#define USUAL_WORDS_MIN 24  /* an answer has this many words ... */
#define USUAL_WORDS_SPAN 96 /* ... up to this many more, if max_tokens allows */

static const char *const vocabulary[] = {
    "the",     "a",        "model",   "answer",  "question", "first",   "second",  "then",
    "because", "and",      "of",      "to",      "in",       "is",      "that",    "this",
    "which",   "result",   "follows", "from",    "given",    "value",   "means",   "simple",
    "case",    "consider", "example", "part",    "whole",    "sum",     "time",    "usually",
    "often",   "when",     "each",    "other",   "same",     "more",    "less",    "small",
    "large",   "known",    "easy",    "general", "rule",     "applies", "here",    "so",
    "we",      "can",      "see",     "with",    "without",  "both",    "between", "after",
    "before",  "idea",     "reason",  "step",    "point",    "fact",    "short",   "clear",
};
#define VOCABULARY_SIZE (sizeof(vocabulary) / sizeof(vocabulary[0]))

/* One attempt under way; in the attempt's arena. */
struct simulation {
    struct bytes text;   /* the whole answer */
    size_t sent;         /* bytes of it that were delivered */
    int64_t words;       /* tokens of the whole answer */
    int64_t words_sent;  /* tokens delivered */
    int64_t started_ns;  /* monotonic */
    int64_t latency_ns;  /* of the whole answer, as computed */
    bool is_cut;         /* it ends because max_tokens are made */
    bool fails;          /* this one ends in a failure instead */
    struct timer *timer; /* NULL when none is armed */
    struct compose compose;
};

static uint64_t attempts_of_this_process;

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

int64_t prov_simulated_latency_ns(const struct conf_simulated *simulated, int64_t max_tokens) {
    int64_t room_ms = simulated->max_latency_ms - simulated->latency_ms;
    if (room_ms <= 0) {
        return simulated->max_latency_ms * NS_PER_MS;
    }
    /* compared by division: max_tokens is the client's and the product could overflow */
    if (simulated->per_token_ms > 0 && max_tokens > room_ms / simulated->per_token_ms) {
        return simulated->max_latency_ms * NS_PER_MS;
    }
    return (simulated->latency_ms + simulated->per_token_ms * max_tokens) * NS_PER_MS;
}

struct bytes prov_simulated_text(const struct conf_simulated *simulated, const struct chat *chat,
                                 struct arena *arena, int64_t *word_count) {
    uint64_t state = hash64(chat->prompt.data, chat->prompt.size, (uint64_t)simulated->seed);
    int64_t words = USUAL_WORDS_MIN + (int64_t)(next_random(&state) % USUAL_WORDS_SPAN);
    if (chat->max_tokens > 0 && words > chat->max_tokens) {
        words = chat->max_tokens;
    }
    char *text = arena_alloc(arena, (size_t)words * LONGEST_WORD + 1);
    if (text == NULL) {
        return bytes_make(NULL, 0);
    }
    size_t size = 0;
    for (int64_t i = 0; i < words; i++) {
        const char *word = vocabulary[next_random(&state) % VOCABULARY_SIZE];
        if (i > 0) {
            text[size++] = ' ';
        }
        size_t length = strlen(word);
        memcpy(text + size, word, length);
        size += length;
    }
    text[size++] = '.';
    *word_count = words;
    return bytes_make(text, size);
}

/* What was delivered so far is what is charged: tokens by the words, time by the clock. */
static void fill_usage(struct attempt *attempt, int64_t billed_ns) {
    const struct simulation *simulation = attempt->state;
    attempt->usage = (struct usage){.prompt_tokens = usage_estimate(attempt->chat->text_size),
                                    .completion_tokens = simulation->words_sent};
    attempt->billed_ns = billed_ns;
}

/* End of the word that starts (after its blank) at `from`. */
static size_t word_end(struct bytes text, size_t from) {
    size_t end = from + 1;
    while (end < text.size && text.data[end] != ' ') {
        end++;
    }
    return end;
}

static void fire(void *argument);

/* Arms the timer for the next word (stream) or for the whole answer. */
static int arm(struct attempt *attempt) {
    struct simulation *simulation = attempt->state;
    int64_t due_ns = simulation->started_ns + simulation->latency_ns;
    if (attempt->chat->wants_stream && !simulation->fails) {
        /* words are spread evenly over the second half of the latency */
        int64_t head_ns = simulation->latency_ns / 2;
        due_ns =
            simulation->started_ns + head_ns +
            (simulation->latency_ns - head_ns) * (simulation->words_sent + 1) / simulation->words;
    }
    int64_t delay_ns = due_ns - timers_now_ns(attempt->timers);
    simulation->timer = timers_after(attempt->timers, delay_ns > 0 ? delay_ns : 0, fire, attempt);
    return simulation->timer != NULL ? 0 : -1;
}

static void on_event(void *user, const struct chat_event *event) {
    struct attempt *attempt = user;
    attempt->events->event(attempt, event);
}

static void fail(struct attempt *attempt, int64_t billed_ns, enum outcome outcome) {
    struct simulation *simulation = attempt->state;
    fill_usage(attempt, billed_ns);
    compose_fini(&simulation->compose);
    attempt->events->failed(attempt, outcome);
}

static void finish(struct attempt *attempt) {
    struct simulation *simulation = attempt->state;
    struct buf whole;
    buf_init(&whole, 0);
    fill_usage(attempt, simulation->latency_ns);
    attempt->answer.finish = simulation->is_cut ? FINISH_LENGTH : FINISH_STOP;
    if (!compose_end(&simulation->compose, attempt->answer.finish, &attempt->usage, &whole,
                     &attempt->answer.text)) {
        fail(attempt, attempt->billed_ns, OUTCOME_NO_MEMORY);
    } else {
        attempt->answer.json = buf_bytes(&whole);
        compose_fini(&simulation->compose);
        attempt->events->done(
            attempt); /* which may free the attempt: nothing is touched after it */
    }
    buf_free(&whole);
}

static void fire(void *argument) {
    struct attempt *attempt = argument;
    struct simulation *simulation = attempt->state;
    bool is_stream = attempt->chat->wants_stream;
    simulation->timer = NULL;
    if (simulation->fails) {
        fail(attempt, 0, OUTCOME_SIMULATED_FAILURE);
        return;
    }
    size_t from = simulation->sent;
    if (is_stream) {
        simulation->sent = word_end(simulation->text, from);
        simulation->words_sent++;
    }
    if (!is_stream || simulation->words_sent == simulation->words) {
        simulation->sent = simulation->text.size;
        simulation->words_sent = simulation->words;
    }
    compose_text(&simulation->compose,
                 bytes_make(simulation->text.data + from, simulation->sent - from));
    if (is_stream) {
        attempt->events->flush(attempt);
    }
    if (simulation->sent == simulation->text.size) {
        finish(attempt);
    } else if (arm(attempt) == -1) {
        fail(attempt, timers_now_ns(attempt->timers) - simulation->started_ns, OUTCOME_NO_MEMORY);
    }
}

static bool draw_failure(const struct conf_simulated *simulated) {
    if (simulated->failure_rate <= 0) {
        return false;
    }
    uint64_t state = (uint64_t)simulated->seed ^ (++attempts_of_this_process << 17);
    return (double)(next_random(&state) >> 11) * 0x1p-53 < simulated->failure_rate;
}

static enum outcome start(struct attempt *attempt) {
    const struct conf_simulated *simulated = &attempt->provider->simulation;
    const struct chat *chat = attempt->chat;
    if (!provider_serves(attempt->provider, chat->form)) {
        return OUTCOME_UNTRANSLATABLE;
    }
    struct simulation *simulation = arena_calloc(attempt->arena, 1, sizeof(*simulation));
    if (simulation == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    attempt->state = simulation;
    simulation->text = prov_simulated_text(simulated, chat, attempt->arena, &simulation->words);
    if (simulation->text.data == NULL) {
        return OUTCOME_NO_MEMORY;
    }
    simulation->is_cut = simulation->words == chat->max_tokens;
    simulation->started_ns = timers_now_ns(attempt->timers);
    simulation->latency_ns = prov_simulated_latency_ns(
        simulated, chat->max_tokens > 0 ? chat->max_tokens : simulation->words);
    simulation->fails = draw_failure(simulated);
    if (arm(attempt) == -1) {
        return OUTCOME_NO_MEMORY;
    }
    simulation->compose = (struct compose){.form = chat->form,
                                           .is_stream = chat->wants_stream,
                                           .wants_usage = chat->wants_usage,
                                           .event = on_event,
                                           .user = attempt,
                                           .model = bytes_from_str(attempt->model->label)};
    compose_init(&simulation->compose);
    return OUTCOME_OK;
}

static void cancel(struct attempt *attempt) {
    struct simulation *simulation = attempt->state;
    timers_cancel(attempt->timers, simulation->timer);
    simulation->timer = NULL;
    compose_fini(&simulation->compose);
    fill_usage(attempt, timers_now_ns(attempt->timers) - simulation->started_ns);
}

const struct provider_ops prov_simulated_ops = {
    .type = "simulated",
    .start = start,
    .cancel = cancel,
};

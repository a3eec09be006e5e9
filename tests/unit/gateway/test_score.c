/* Tests of the routing score: chat prompts on their side of the default threshold, each feature
 * seen by its own sample, bounds for any bytes, bounded work, and the reason's shape. All prompts
 * are of our own invention.
 */
#include "gateway/score.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

/* What a cheap model answers as well: below 0.5. */
static const char *const easy_prompts[] = {
    "Hi",
    "Hello, how are you?",
    "Thanks!",
    "What is the capital of France?",
    "What is 2+2?",
    "Translate 'good morning' to Spanish",
    "Who wrote Romeo and Juliet?",
    "What time is it in Tokyo?",
    "Define photosynthesis.",
    "Tell me a joke.",
    "What's the weather like today?",
    "How do you spell necessary?",
    "When was the Eiffel Tower built?",
    "Give me a synonym for happy.",
    "Convert 10 miles to kilometers.",
    "Who is the president of Brazil?",
    "Name three primary colors.",
    "What does HTML stand for?",
    "List the planets of the solar system.",
    "Recommend a good movie for tonight.",
    "What is the boiling point of water?",
    "How many days are in a leap year?",
    "Summarize: The cat sat on the mat and slept all day.",
    "Write a haiku about spring.",
    "Is a tomato a fruit or a vegetable?",
    "Bonjour",
    "你好",
    "Wie heißt die Hauptstadt von Italien?",
    "How do I print hello world in Python?",
    "What is a prime number?",
    "Fix the spelling: I recieved teh letter.",
    "Which is bigger, the Earth or the Moon?",
    "What is machine learning?",
    "Can you help me?",
    "Good morning! Can you tell me a fun fact about cats?",
    "What is the largest ocean?",
    "Rewrite this politely: send me the file now",
    "What color is the sky?",
    "Give me three names for a dog",
    "When did World War II end?",
    "How many ounces in a pound?",
    "Say hello in French",
    "What is Kubernetes?",
    "What's your name?",
    "Who painted the Mona Lisa?",
    "Correct this sentence: she go to school.",
    "What year was Python released?",
    "Is water wet?",
    "Suggest a title for a blog post about coffee",
    "What is the square root of 16?",
    "¿Cuál es la capital de España?",
    "Classify the sentiment: I love this phone",
};

/* What gains from the strong model: above 0.5. */
static const char *const hard_prompts[] = {
    "Prove that sqrt(2) is irrational and explain each step",
    "Write a thread-safe LRU cache in C++ with O(1) operations and unit tests",
    "Compare the economic policies of Reagan and Thatcher; the answer must include a table and "
    "exactly 500 words",
    "Design a distributed rate limiter that works across several data centers and tolerates "
    "network partitions",
    "Explain why quicksort is O(n log n) on average but O(n^2) in the worst case, and prove both "
    "bounds.",
    "A train leaves at 3 pm at 60 mph and a second train leaves at 4 pm at 80 mph. When does the "
    "second catch up with the first, and how far have they gone?",
    "Analyze the trade-offs between optimistic and pessimistic locking and recommend one for a "
    "high-contention workload.",
    "Implement a lock-free queue in Rust, explain the memory ordering of every atomic operation "
    "and compare it with a mutex.",
    "If all bloops are razzies and no razzies are lazzies, can any bloop be a lazzie? Justify your "
    "reasoning step by step.",
    "Solve the differential equation y'' + 4y = sin(2x) with y(0)=0 and y'(0)=1, showing each "
    "step.",
    "My tenant stopped paying rent because the heating failed, but the lease says rent is due "
    "regardless. If I change the locks, am I liable, and what should I do instead?",
    "A 54-year-old patient has chest pain, a normal ECG but elevated troponin; compare the likely "
    "diagnoses and explain which test should come next and why.",
    "Debug this: `for (int i = 0; i <= n; i++) sum += a[i];` It crashes for n = 10. Explain why "
    "and rewrite it safely.",
    "Derive the gradient of the cross-entropy loss for a softmax classifier and explain why it "
    "simplifies.",
    "Write a SQL query that returns, for each customer, the second largest order of the last 12 "
    "months, without using window functions, and explain its complexity.",
    "Draft a migration plan from a monolith to microservices: at least five phases, each with "
    "risks, rollback steps and a table of costs.",
    "Is it morally wrong to lie to protect a friend if the truth would harm someone else? Argue "
    "both sides and then decide.",
    "A shop raises a price by 20% and then lowers it by 20%. Is the final price higher, lower or "
    "the same? Explain with an example.",
    "Evaluate $\\int_0^\\infty e^{-x^2} dx$ and justify every step rigorously.",
    "Write a Python function that parses RFC 4180 CSV, handles quoted newlines, must not use the "
    "csv module, and include unit tests for edge cases.",
    "Why does increasing the minimum wage sometimes not reduce employment? Compare the competitive "
    "and the monopsony model.",
    "Plan a 7-day trip to Japan for two adults and a child with a budget of $4,000: no more than "
    "two hotels, at least one day of hiking, and a table of daily costs.",
    "证明根号二是无理数，并详细解释每一步的理由。如果换成根号三，证明需要怎样修改？请比较两者的异同"
    "。",
    "Analyze the causes of the French Revolution and explain how each contributed, comparing "
    "economic and political factors in depth.",
    "Design a fault-tolerant distributed key-value store: explain the consensus protocol, failure "
    "modes and trade-offs.",
    "Write a detailed business plan for a coffee shop including market analysis, a financial "
    "forecast for three years and risks.",
    "Explain quantum entanglement and its implications for cryptography, step by step, with "
    "mathematical derivations.",
    "Prove that there are infinitely many primes.",
    "Find the bug in this code and explain it: def f(x=[]): x.append(1); return x",
    "Write a Python script that downloads all images from a web page concurrently and retries "
    "failed downloads.",
    "Compare Kant and Mill on punishment and argue which view is more convincing.",
    "Given a binary tree, return the maximum path sum. Explain the time complexity and provide "
    "tests.",
    "Implement a B-tree in C with insertion and deletion.",
    "How would you architect a real-time chat application for 10 million users? Discuss scaling, "
    "consistency and cost.",
    "Critique this argument: all swans I have seen are white, therefore all swans are white. What "
    "would make it stronger?",
    "A bag has 5 red and 7 blue balls. Two are drawn without replacement. What is the probability "
    "that both are red?",
    "Refactor this monolithic function into smaller testable units and explain your decisions.",
    "Evaluate the impact of artificial intelligence on employment over the next decade, "
    "considering economic, social and ethical dimensions.",
};

static struct score_result score_of(struct bytes text) {
    struct score_input input = {.last_user = text};
    struct score_result result;
    score_prompt(&input, &result);
    return result;
}

static double score_text(const char *text) {
    return score_of(bytes_from_str(text)).score;
}

static double feature_of(const char *text, enum score_feature feature) {
    return score_of(bytes_from_str(text)).feature[feature];
}

START_TEST(easy_prompts_stay_below_the_threshold) {
    const char *prompt = easy_prompts[_i];
    double score = score_text(prompt);
    ck_assert_msg(score < 0.5, "%.3f for: %s", score, prompt);
}
END_TEST

START_TEST(hard_prompts_go_above_the_threshold) {
    const char *prompt = hard_prompts[_i];
    double score = score_text(prompt);
    ck_assert_msg(score > 0.5, "%.3f for: %s", score, prompt);
}
END_TEST

/* The second is the harder one, and the shorter one or about as long. */
static const struct {
    const char *easier, *harder;
} pairs[] = {
    {"Please tell me the name of the largest city in the country of France.",
     "Explain why the halting problem is undecidable; prove it."},
    {"Which animal is known as the king of the jungle, and where does it live?",
     "Why is it harder to hear high notes than low notes behind a wall?"},
    {"Translate this into German: I would like a cup of tea with some milk in it.",
     "Twice as many cups hold tea as milk; half of the rest is empty. How many?"},
    {"What is the term for a lender of money in a bank? Please define the word.",
     "The owner conveyed the tract but kept possession. Is the deed valid?"},
    {"Which of these is a colour?\nA. Red\nB. Dog\nC. Run\nD. Sing\nAnswer:",
     "Which of these is a colour, and why not the others?"},
};

START_TEST(harder_wins_whatever_the_length) {
    double easier = score_text(pairs[_i].easier), harder = score_text(pairs[_i].harder);
    ck_assert_msg(harder > easier, "%.3f >= %.3f: %s", easier, harder, pairs[_i].harder);
    ck_assert_uint_le(strlen(pairs[_i].harder), strlen(pairs[_i].easier));
}
END_TEST

START_TEST(length_alone_does_not_carry_it) {
    static char text[9000];
    for (size_t size = 0; size + 30 < sizeof(text);)
        size += (size_t)snprintf(text + size, 30, "grey stone lay by a hill ");
    double score = score_text(text);
    ck_assert_msg(score < 0.5, "%.3f", score);
    ck_assert_double_lt(score_feature_weight(SCORE_LENGTH), 1.0);
}
END_TEST

static const struct {
    enum score_feature feature;
    const char *text; /* shows the feature */
    const char *near; /* looks like it and does not */
} samples[] = {
    {SCORE_SENTENCES, "One. Two.", "v1.2"},
    {SCORE_QUESTIONS, "Is it? Was it?", "Is it?"},
    {SCORE_CODE, "a->b", "a - b"},
    {SCORE_CODE, "my_name", "____ name"},
    {SCORE_CODE, "use `x`", "use 'x'"},
    {SCORE_CODE, "PYTHON", "pythonic"},
    {SCORE_CODE, "unit tests", "unit. Tests"},
    {SCORE_COMPUTING, "a load balancer", "a load"},
    {SCORE_COMPUTING, "lock-free", "free"},
    {SCORE_MATHS, "\\frac", "frac"},
    {SCORE_MATHS, "$x$", "$5"},
    {SCORE_MATHS, "x \xe2\x88\x88 y", "x \xe2\x80\x94 y"},
    {SCORE_MATHS, "Eigenvalues", "eigen"},
    {SCORE_NUMBERS, "1,250.75", "none"},
    {SCORE_QUANTITIES, "how many", "how"},
    {SCORE_QUANTITIES, "$5", "S5"},
    {SCORE_PROPORTIONS, "20%", "20"},
    {SCORE_REASONING, "Explain", "explanatory"},
    {SCORE_TASK, "Implement it", "tool"},
    {SCORE_CONSTRAINTS, "at least", "at"},
    {SCORE_CONSTRAINTS, "don't", "'don' t"},
    {SCORE_FORMAT, "- one\n- two", "one - two"},
    {SCORE_CONDITIONS, "unless", "less"},
    {SCORE_NEGATION, "never", "ever"},
    {SCORE_COMPARISON, "more than", "and"},
    {SCORE_STORY, "she went", "it went-ish"},
    {SCORE_PROPERTY, "fee simple", "fee"},
    {SCORE_EXPERT, "plaintiff's", "plain"},
    {SCORE_ETHICS, "immoral", "mortal"},
    {SCORE_LOGIC, "none of", "none"},
    {SCORE_RECALL, "what is", "what"},
    {SCORE_PASSAGE, "according to", "according"},
    {SCORE_CHOICES, "Pick:\nA. x\nB. y\nC. z", "A. x B. y C. z"},
    {SCORE_LANGUAGE, "\xd0\xb4\xd0\xb0", "da \xf0\x9f\x98\x80 \xe2\x80\x9cno\xe2\x80\x9d"},
    {SCORE_LANGUAGE, "caf\xc3\xa9", "cafe \xc3\x97"},
    {SCORE_LONG_WORDS, "incomprehensibilities", "a"},
    {SCORE_LENGTH, "seventeen letters", "sixteen"},
};

START_TEST(each_feature_sees_its_sample) {
    enum score_feature feature = samples[_i].feature;
    double seen = feature_of(samples[_i].text, feature),
           near = feature_of(samples[_i].near, feature);
    if (feature == SCORE_STORY) /* "went" is in both, "she" is not */
        ck_assert_double_gt(seen, near);
    else
        ck_assert_msg(near == 0, "%s: %f for %s", score_feature_name(feature), near,
                      samples[_i].near);
    ck_assert_msg(seen > 0, "%s: nothing for %s", score_feature_name(feature), samples[_i].text);
}
END_TEST

START_TEST(every_text_feature_has_a_sample) {
    for (unsigned i = 0; i < SCORE_SYSTEM; i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof(samples) / sizeof(samples[0]); k++)
            found = found || samples[k].feature == i;
        ck_assert_msg(found, "%s", score_feature_name(i));
    }
}
END_TEST

START_TEST(case_does_not_matter) {
    struct score_result small = score_of(BYTES_LITERAL("explain why, at least twice"));
    struct score_result large = score_of(BYTES_LITERAL("EXPLAIN WHY, AT LEAST TWICE"));
    ck_assert_mem_eq(&small, &large, sizeof(small));
}
END_TEST

START_TEST(repetition_saturates) {
    static char text[12000];
    for (size_t size = 0; size + 10 < sizeof(text);)
        size += (size_t)snprintf(text + size, 10, "explain ");
    ck_assert_double_gt(feature_of(text, SCORE_REASONING), 0.99);
    ck_assert_double_le(feature_of(text, SCORE_REASONING), 1.0);
}
END_TEST

START_TEST(context_adds_modestly) {
    struct score_input input = {.last_user = BYTES_LITERAL("Go on.")};
    struct score_result alone, with;
    score_prompt(&input, &alone);
    input.system_size = SIZE_MAX;
    input.history_turns = UINT32_MAX;
    input.has_tools = true;
    score_prompt(&input, &with);
    ck_assert_double_gt(with.score, alone.score);
    /* Together never more than what flips an ordinary short prompt by itself. */
    double most = score_feature_weight(SCORE_SYSTEM) + score_feature_weight(SCORE_HISTORY) +
                  score_feature_weight(SCORE_TOOLS);
    ck_assert_double_gt(most, 0);
    ck_assert_double_lt(most, 1.5);
    for (unsigned i = SCORE_SYSTEM; i < SCORE_FEATURE_COUNT; i++) {
        ck_assert_double_eq(alone.feature[i], 0);
        ck_assert_double_gt(with.feature[i], 0.99);
        ck_assert_double_le(with.feature[i], 1);
    }
}
END_TEST

static void check_bounds(const struct score_result *result) {
    ck_assert(result->score > 0 && result->score < 1);
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++)
        ck_assert_msg(result->feature[i] >= 0 && result->feature[i] <= 1, "%s %f",
                      score_feature_name(i), result->feature[i]);
}

/* Exact-size heap copies, so that the sanitizers see one byte too far. */
START_TEST(any_bytes_are_welcome) {
    uint64_t state = 12345;
    for (size_t round = 0; round < 4000; round++) {
        size_t size = round % 97;
        char *text = malloc(size + 1);
        ck_assert_ptr_nonnull(text);
        char *exact = realloc(text, size > 0 ? size : 1);
        ck_assert_ptr_nonnull(exact);
        for (size_t i = 0; i < size; i++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
            /* half of the rounds only bytes that open or continue UTF-8 sequences */
            exact[i] = (char)(round % 2 == 0 ? state >> 56 : 0x80 | (state >> 57));
        }
        struct score_result result = score_of(bytes_make(exact, size));
        check_bounds(&result);
        free(exact);
    }
}
END_TEST

/* Every state of the scanner with the text ending there. */
START_TEST(any_prefix_is_welcome) {
    static const char whole[] = "(a) ```x->y``` $\\frac{1}{2}$ at least 1,2.5% don't my_v ____ "
                                "\xe2\x88\x9a\xf0\x9f\x98\x80\xe4\xbd\xa0\xc3\xa9?\n- x;\nB. c\r\n";
    for (size_t size = 0; size < sizeof(whole); size++) {
        char *exact = malloc(size > 0 ? size : 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, whole, size);
        struct score_result result = score_of(bytes_make(exact, size));
        check_bounds(&result);
        free(exact);
    }
}
END_TEST

START_TEST(empty_is_easy) {
    struct score_result result = score_of(bytes_make(NULL, 0));
    check_bounds(&result);
    ck_assert_double_lt(result.score, 0.5);
}
END_TEST

START_TEST(only_head_and_tail_are_read) {
    size_t size = 1 << 20;
    char *text = malloc(size);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', size);
    double plain = score_of(bytes_make(text, size)).score;
    memcpy(text + size / 2, "prove it", 8);
    ck_assert_double_eq(score_of(bytes_make(text, size)).score, plain);
    memcpy(text + 100, "prove it", 8);
    double head = score_of(bytes_make(text, size)).score;
    ck_assert_double_gt(head, plain);
    memcpy(text + size - 9, "prove it", 8);
    ck_assert_double_gt(score_of(bytes_make(text, size)).score, head);
    free(text);
}
END_TEST

/* Where the two windows meet nothing is read twice and nothing is left out. */
START_TEST(a_text_of_both_windows_is_read_whole) {
    size_t size = SCORE_HEAD_SIZE + SCORE_TAIL_SIZE;
    char *text = malloc(size + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', size + 1);
    memcpy(text + SCORE_HEAD_SIZE - 2, "why?", 4);
    double whole = score_of(bytes_make(text, size)).feature[SCORE_REASONING];
    ck_assert_double_gt(whole, 0);
    memset(text, ' ', size + 1);
    memcpy(text, "why", 3);
    ck_assert_double_eq(score_of(bytes_make(text, size + 1)).feature[SCORE_REASONING], whole);
    free(text);
}
END_TEST

START_TEST(reason_names_the_strongest_first) {
    struct score_result result = {.score = 0.7399};
    char reason[SCORE_REASON_SIZE];
    score_reason(&result, reason);
    ck_assert_str_eq(reason, "score:0.73");
    result.feature[SCORE_REASONING] = 0.5;
    score_reason(&result, reason);
    ck_assert_str_eq(reason, "score:0.73 reasoning+");
    result.feature[SCORE_MATHS] = 0.3;
    result.feature[SCORE_RECALL] = 1.0;
    result.feature[SCORE_LENGTH] = 0.9; /* the fourth: left out */
    score_reason(&result, reason);
    ck_assert_str_eq(reason, "score:0.73 recall- reasoning+ maths+");
    result.score = 0.99999;
    result.feature[SCORE_CODE] = 1.0;
    score_reason(&result, reason);
    ck_assert_str_eq(reason, "score:0.99 recall- code+ reasoning+");
}
END_TEST

static int longer_first(const void *a, const void *b) {
    size_t a_size = strlen(*(const char *const *)a), b_size = strlen(*(const char *const *)b);
    return (a_size < b_size) - (a_size > b_size);
}

START_TEST(reason_always_fits) {
    const char *names[SCORE_FEATURE_COUNT];
    for (unsigned i = 0; i < SCORE_FEATURE_COUNT; i++) {
        names[i] = score_feature_name(i);
        ck_assert_ptr_nonnull(names[i]);
        ck_assert_uint_eq(strspn(names[i], "abcdefghijklmnopqrstuvwxyz_"), strlen(names[i]));
        ck_assert_uint_gt(strlen(score_feature_help(i)), 0);
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(names[k], names[i]);
    }
    qsort(names, SCORE_FEATURE_COUNT, sizeof(names[0]), longer_first);
    size_t most = strlen("score:0.00");
    for (unsigned i = 0; i < 3; i++)
        most += 1 + strlen(names[i]) + 1;
    ck_assert_uint_lt(most, SCORE_REASON_SIZE);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

static Suite *make_suite(void) {
    Suite *suite = suite_create("score");
    TCase *prompts = tcase_create("prompts");
    tcase_add_loop_test(prompts, easy_prompts_stay_below_the_threshold, 0, COUNT_OF(easy_prompts));
    tcase_add_loop_test(prompts, hard_prompts_go_above_the_threshold, 0, COUNT_OF(hard_prompts));
    tcase_add_loop_test(prompts, harder_wins_whatever_the_length, 0, COUNT_OF(pairs));
    tcase_add_test(prompts, length_alone_does_not_carry_it);
    suite_add_tcase(suite, prompts);

    TCase *features = tcase_create("features");
    tcase_add_loop_test(features, each_feature_sees_its_sample, 0, COUNT_OF(samples));
    tcase_add_test(features, every_text_feature_has_a_sample);
    tcase_add_test(features, case_does_not_matter);
    tcase_add_test(features, repetition_saturates);
    tcase_add_test(features, context_adds_modestly);
    suite_add_tcase(suite, features);

    TCase *bounds = tcase_create("bounds");
    tcase_add_test(bounds, any_bytes_are_welcome);
    tcase_add_test(bounds, any_prefix_is_welcome);
    tcase_add_test(bounds, empty_is_easy);
    tcase_add_test(bounds, only_head_and_tail_are_read);
    tcase_add_test(bounds, a_text_of_both_windows_is_read_whole);
    suite_add_tcase(suite, bounds);

    TCase *reason = tcase_create("reason");
    tcase_add_test(reason, reason_names_the_strongest_first);
    tcase_add_test(reason, reason_always_fits);
    suite_add_tcase(suite, reason);
    return suite;
}

UNIT_MAIN(make_suite)

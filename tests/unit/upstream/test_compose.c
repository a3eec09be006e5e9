/* compose: an answer in each form that can be composed, whole and as a stream, out of the same
 * pieces. A stream made whole by its form is the whole answer.
 */
#include "config.h"

#include "upstream_test.h"

#include <stdio.h>

#include "../../../src/upstream/compose.h"

static struct compose compose;
static struct buf lines, names, texts, out;
static unsigned contents, lasts, usages;
static struct chat_span span;

static const struct usage usage = {.prompt_tokens = 30,
                                   .cached_tokens = 10,
                                   .cache_write_tokens = 4,
                                   .cache_write_1h_tokens = 1,
                                   .completion_tokens = 7,
                                   .reasoning_tokens = 2};

static void setup(void) {
    documents_open();
    buf_init(&lines, 0);
    buf_init(&names, 0);
    buf_init(&texts, 0);
    buf_init(&out, 0);
    contents = lasts = usages = 0;
}

static void teardown(void) {
    compose_fini(&compose);
    buf_free(&lines);
    buf_free(&names);
    buf_free(&texts);
    buf_free(&out);
    documents_close();
}

static void on_event(void *user, const struct chat_event *event) {
    struct json_fault fault;
    ck_assert_ptr_eq(user, &lines);
    usages += event->is_usage;
    ck_assert_msg(json_validate(event->data, &fault) == 0, "%s in %.*s", fault.reason,
                  (int)event->data.size, event->data.data);
    buf_append_bytes(&lines, event->data);
    buf_append_char(&lines, '\n');
    buf_append_bytes(&names, event->name);
    buf_append_char(&names, ' ');
    buf_append_bytes(&texts, event->text);
    contents += event->is_content;
    lasts += event->is_last;
    ck_assert(event->text.size == 0 || event->is_content);
}

static void begin(enum chat_form form, bool is_stream, bool wants_usage) {
    compose = (struct compose){.form = form,
                               .is_stream = is_stream,
                               .wants_usage = wants_usage,
                               .event = on_event,
                               .user = &lines,
                               .model = BYTES_LITERAL("m\"1")};
    compose_init(&compose);
}

/* "T:text" is text, "H:" a thought, "C:name" a call, "A:" a piece of its arguments. */
static void say(const char *const *pieces) {
    for (; *pieces != NULL; pieces++) {
        struct bytes text = bytes_from_str(js(*pieces + 2));
        switch (**pieces) {
        case 'T':
            compose_text(&compose, text);
            break;
        case 'H':
            compose_thought(&compose, text);
            break;
        case 'C':
            compose_call(&compose, BYTES_LITERAL("id\n1"), text);
            break;
        default:
            compose_arguments(&compose, text);
        }
    }
}

/* Ids and the time are not the test's business. */
static void fixed(struct buf *json) {
    static const char *const names_of[] = {"\"id\":\"chatcmpl-", "\"id\":\"cmpl-", "\"id\":\"msg_",
                                           "\"created\":"};
    buf_append_char(json, '\0');
    for (size_t i = 0; i < COUNT(names_of); i++) {
        for (char *at = json->data; (at = strstr(at, names_of[i])) != NULL;) {
            at += strlen(names_of[i]);
            for (; (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'); at++) {
                *at = '7';
            }
        }
    }
    json->size--;
}

#define ID "777777777777777777777777"
#define CHAT(message, reason)                                                                  \
    "{'id':'chatcmpl-" ID "','object':'chat.completion','created':7777777777,'model':'m\\'1'," \
    "'choices':[{'index':0,'message':{'role':'assistant','refusal':null," message              \
    "},'logprobs':null,'finish_reason':'" reason "'}],'usage':{'prompt_tokens':30,"            \
    "'completion_tokens':7,'total_tokens':37,'prompt_tokens_details':{'cached_tokens':10},"    \
    "'completion_tokens_details':{'reasoning_tokens':2}}}"
#define COMPLETION(text, reason)                                                           \
    "{'id':'cmpl-" ID "','object':'text_completion','created':7777777777,'model':'m\\'1'," \
    "'choices':[{'index':0,'text':" text ",'logprobs':null,'finish_reason':'" reason       \
    "'}],'usage':{'prompt_tokens':30,'completion_tokens':7,'total_tokens':37,"             \
    "'prompt_tokens_details':{'cached_tokens':10},'completion_tokens_details':{"           \
    "'reasoning_tokens':2}}}"
#define MESSAGE(content, reason)                                                                 \
    "{'id':'msg_" ID "','type':'message','role':'assistant','model':'m\\'1','content':[" content \
    "],'stop_reason':'" reason "','stop_sequence':null,'usage':{'input_tokens':15,"              \
    "'cache_creation_input_tokens':5,'cache_read_input_tokens':10,'output_tokens':7}}"

static const struct golden {
    const char *pieces[12];
    enum chat_finish finish;
    const char *chat, *completion, *message;
} goldens[] = {
    {{"T:Hel\n", "T:", "T:'lo' \xc3\xa9"},
     FINISH_STOP,
     CHAT("'content':'Hel\\n\\'lo\\' \xc3\xa9'", "stop"),
     COMPLETION("'Hel\\n\\'lo\\' \xc3\xa9'", "stop"),
     MESSAGE("{'type':'text','text':'Hel\\n\\'lo\\' \xc3\xa9'}", "end_turn")},
    {{NULL},
     FINISH_STOP,
     CHAT("'content':''", "stop"),
     COMPLETION("''", "stop"),
     MESSAGE("", "end_turn")},
    {{"H:h", "H:m", "T:x"},
     FINISH_LENGTH,
     CHAT("'content':'x','reasoning_content':'hm'", "length"),
     COMPLETION("'x'", "length"),
     MESSAGE("{'type':'thinking','thinking':'hm','signature':''},{'type':'text','text':'x'}",
             "max_tokens")},
    {{"T:x"},
     FINISH_FILTER,
     CHAT("'content':'x'", "content_filter"),
     COMPLETION("'x'", "content_filter"),
     MESSAGE("{'type':'text','text':'x'}", "refusal")},
    {{"T:x"},
     FINISH_UNKNOWN,
     CHAT("'content':'x'", "stop"),
     COMPLETION("'x'", "stop"),
     MESSAGE("{'type':'text','text':'x'}", "end_turn")},
    {{"C:f", "A:{'a'", "A::[1]}", "C:g", "A:{}"},
     FINISH_TOOLS,
     CHAT("'content':null,'tool_calls':[{'id':'id\\n1','type':'function','function':{'name':'f',"
          "'arguments':'{\\'a\\':[1]}'}},{'id':'id\\n1','type':'function','function':{'name':'g',"
          "'arguments':'{}'}}]",
          "tool_calls"),
     NULL,
     MESSAGE("{'type':'tool_use','id':'id\\n1','name':'f','input':{'a':[1]}},{'type':'tool_use',"
             "'id':'id\\n1','name':'g','input':{}}",
             "tool_use")},
    /* a call that needs no arguments is one all the same; some servers say `stop` for it */
    {{"T:x", "C:f", "C:g"},
     FINISH_STOP,
     CHAT("'content':'x','tool_calls':[{'id':'id\\n1','type':'function','function':{'name':'f',"
          "'arguments':'{}'}},{'id':'id\\n1','type':'function','function':{'name':'g',"
          "'arguments':'{}'}}]",
          "tool_calls"),
     NULL,
     MESSAGE("{'type':'text','text':'x'},{'type':'tool_use','id':'id\\n1','name':'f','input':{}},"
             "{'type':'tool_use','id':'id\\n1','name':'g','input':{}}",
             "tool_use")},
    {{"T:a", "H:b", "T:c"},
     FINISH_STOP,
     CHAT("'content':'ac','reasoning_content':'b'", "stop"),
     COMPLETION("'ac'", "stop"),
     MESSAGE("{'type':'text','text':'a'},{'type':'thinking','thinking':'b','signature':''},"
             "{'type':'text','text':'c'}",
             "end_turn")},
};

static const char *wanted(const struct golden *golden, enum chat_form form) {
    return form == FORM_CHAT       ? golden->chat
           : form == FORM_MESSAGES ? golden->message
                                   : golden->completion;
}

static const enum chat_form forms[] = {FORM_CHAT, FORM_COMPLETIONS, FORM_MESSAGES};

START_TEST(whole_answers) {
    const struct golden *golden = &goldens[_i / 3];
    enum chat_form form = forms[_i % 3];
    if (wanted(golden, form) == NULL) {
        return; /* a completion has no calls */
    }
    begin(form, false, false);
    say(golden->pieces);
    ck_assert(compose_end(&compose, golden->finish, &usage, &out, &span));
    fixed(&out);
    same_json(buf_bytes(&out), js(wanted(golden, form)));
    ck_assert_uint_eq(lines.size, 0);
}
END_TEST

/* The stream, made whole by the form's own rules, says the same. */
START_TEST(streams) {
    const struct golden *golden = &goldens[_i / 3];
    enum chat_form form = forms[_i % 3];
    struct buf whole;
    if (wanted(golden, form) == NULL) {
        return;
    }
    begin(form, true, true);
    say(golden->pieces);
    ck_assert(compose_end(&compose, golden->finish, &usage, &out, &span));
    ck_assert_uint_eq(out.size, 0);
    ck_assert_uint_eq(lasts, form == FORM_MESSAGES ? 1 : 0);
    fixed(&lines);
    buf_init(&whole, 0);
    ck_assert(form_of(form)->collect(&reader, buf_bytes(&lines), &arena, &whole));
    const char *json = js(wanted(golden, form));
    char *refusal = strstr(json, "\"refusal\":null,"); /* has no place in a delta */
    if (form == FORM_CHAT && refusal != NULL) {
        memset(refusal, ' ', strlen("\"refusal\":null,"));
    }
    same_json(buf_bytes(&whole), json);
    buf_free(&whole);
}
END_TEST

START_TEST(the_text_of_a_whole_chat_has_its_place) {
    static const char *const pieces[] = {"H:'}", "T:a\n", "T:'b'", NULL};
    begin(FORM_CHAT, false, false);
    say(pieces);
    ck_assert(compose_end(&compose, FINISH_STOP, &usage, &out, &span));
    ck_assert(bytes_equal_str(bytes_make(out.data + span.at, span.size), "\"a\\n\\\"b\\\"\""));
}
END_TEST

START_TEST(chunks_of_a_chat) {
    static const char *const pieces[] = {"H:hm", "T:a ", "T:b", "C:f", "A:{}", NULL};
    begin(FORM_CHAT, true, false);
    say(pieces);
    ck_assert_uint_eq(contents, 5);
    ck_assert(compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
    fixed(&lines);
    ck_assert(bytes_equal_str(buf_bytes(&texts), "a b"));
    ck_assert_uint_eq(contents, 5);
    ck_assert(bytes_start_with(
        buf_bytes(&lines),
        bytes_from_str(js("{'id':'chatcmpl-" ID "','object':'chat.completion.chunk',"
                          "'created':7777777777,'model':'m\\'1','choices':[{'index':0,'delta':{"
                          "'role':'assistant','content':''},'logprobs':null,"
                          "'finish_reason':null}]}\n"))));
}
END_TEST

/* It is always there, for the cache; told only to a client that asked for it. */
START_TEST(the_usage_of_a_stream_is_the_last_chunk) {
    static const char *const pieces[] = {"T:a", NULL};
    const char *end = js("'choices':[],'usage':{'prompt_tokens':30,'completion_tokens':7,"
                         "'total_tokens':37,'prompt_tokens_details':{'cached_tokens':10},"
                         "'completion_tokens_details':{'reasoning_tokens':2}}}\n");
    bool wanted_it = _i == 1;
    begin(FORM_COMPLETIONS, true, wanted_it);
    say(pieces);
    ck_assert_uint_eq(usages, 0);
    ck_assert(compose_end(&compose, FINISH_STOP, &usage, &out, &span));
    ck_assert_uint_eq(usages, 1);
    fixed(&lines);
    buf_append_char(&lines, '\0');
    ck_assert_str_eq(lines.data + strlen(lines.data) - strlen(end), end);
    const char *none = strstr(lines.data, js("'usage':null,'choices':[{'index':0,'text':'a'"));
    ck_assert_int_eq(none != NULL, wanted_it);
}
END_TEST

START_TEST(events_of_a_message) {
    static const char *const pieces[] = {"H:hm",   "T:a",   "T:b", "C:f",
                                         "A:{'a'", "A::1}", "C:g", NULL};
    begin(FORM_MESSAGES, true, false);
    say(pieces);
    ck_assert(compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
    buf_append_char(&names, '\0');
    ck_assert_str_eq(names.data, "message_start "
                                 "content_block_start content_block_delta content_block_stop "
                                 "content_block_start content_block_delta content_block_delta "
                                 "content_block_stop "
                                 "content_block_start content_block_delta content_block_delta "
                                 "content_block_stop "
                                 "content_block_start content_block_stop "
                                 "message_delta message_stop ");
    ck_assert(bytes_equal_str(buf_bytes(&texts), "ab"));
    ck_assert_uint_eq(contents, 7); /* three texts, two calls, two pieces of arguments */
    ck_assert_uint_eq(lasts, 1);
}
END_TEST

/* In messages a call's input is an object; in chats it is a text, and whose fault it is shows
 * there. */
START_TEST(arguments_that_are_no_object) {
    static const char *const bad[][4] = {
        {"C:f", "A:{'a'", NULL}, {"C:f", "A:[1]", NULL}, {"C:f", "A:{}", "A:{}", NULL}};
    for (size_t i = 0; i < 2 * COUNT(bad); i++) {
        begin(FORM_MESSAGES, i % 2 == 1, false);
        say(bad[i / 2]);
        ck_assert(!compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
        compose_fini(&compose);
        begin(FORM_CHAT, i % 2 == 1, false);
        say(bad[i / 2]);
        ck_assert(compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
        compose_fini(&compose);
    }
    begin(FORM_CHAT, false, false);
}
END_TEST

static const char *said(struct buf *buf) {
    buf_append_char(buf, '\0');
    ck_assert(!buf->failed);
    return buf->data;
}

/* A limit of tokens is nobody's fault: half of the arguments are none in a whole answer, and stay
 * as they came in a stream. Only the last call can have been cut. */
START_TEST(arguments_that_were_cut) {
    static const char *const cut[] = {"C:f", "A:{'a", NULL};
    static const char *const another[] = {"C:f", "A:{'a", "C:g", "A:{}", NULL};
    begin(FORM_MESSAGES, false, false);
    say(cut);
    ck_assert(compose_end(&compose, FINISH_LENGTH, &usage, &out, &span));
    ck_assert(strstr(said(&out), "\"input\":{}}]") != NULL);
    ck_assert(strstr(said(&out), "\"max_tokens\"") != NULL);
    compose_fini(&compose);
    begin(FORM_MESSAGES, true, false);
    say(cut);
    ck_assert(compose_end(&compose, FINISH_LENGTH, &usage, &out, &span));
    ck_assert(strstr(said(&lines), "{\\\"a\"}") != NULL);
    compose_fini(&compose);
    begin(FORM_MESSAGES, false, false);
    say(another);
    ck_assert(!compose_end(&compose, FINISH_LENGTH, &usage, &out, &span));
}
END_TEST

/* They are kept for that check, but not without end. */
START_TEST(arguments_without_end) {
    char text[64 * 1024];
    unsigned pieces = 0;
    memset(text, ' ', sizeof(text));
    begin(FORM_MESSAGES, true, false);
    compose_call(&compose, BYTES_LITERAL("c"), BYTES_LITERAL("f"));
    while (!compose.failed && pieces < 1024) {
        compose_arguments(&compose, bytes_make(text, sizeof(text)));
        pieces++;
    }
    ck_assert_uint_eq(pieces, 8 * 1024 * 1024 / sizeof(text) + 1);
}
END_TEST

START_TEST(no_id_comes_twice) {
    char first[COMPOSE_ID_SIZE];
    begin(FORM_CHAT, false, false);
    snprintf(first, sizeof(first), "%s", compose.id);
    compose_fini(&compose);
    begin(FORM_CHAT, false, false);
    ck_assert_str_ne(first, compose.id);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("compose");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, whole_answers, 0, 3 * COUNT(goldens));
    tcase_add_loop_test(tcase, streams, 0, 3 * COUNT(goldens));
    tcase_add_test(tcase, the_text_of_a_whole_chat_has_its_place);
    tcase_add_test(tcase, chunks_of_a_chat);
    tcase_add_loop_test(tcase, the_usage_of_a_stream_is_the_last_chunk, 0, 2);
    tcase_add_test(tcase, events_of_a_message);
    tcase_add_test(tcase, arguments_that_are_no_object);
    tcase_add_test(tcase, arguments_that_were_cut);
    tcase_add_test(tcase, arguments_without_end);
    tcase_add_test(tcase, no_id_comes_twice);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

/* Answers of one API said in the other, whole and as a stream: texts, thoughts, calls, reasons,
 * tokens; and a request's way there and back.
 */
#include "config.h"

#include "translate_test.h"

#include <stdio.h>

static struct compose compose;
static struct buf lines;
static struct chat_span span;

static void setup(void) {
    translate_open();
    buf_init(&lines, 0);
}

static void teardown(void) {
    compose_fini(&compose);
    buf_free(&lines);
    translate_close();
}

static void on_event(void *user, const struct chat_event *event) {
    (void)user;
    buf_append_bytes(&lines, event->data);
    buf_append_char(&lines, '\n');
}

static void begin(enum chat_form form, bool is_stream) {
    compose = (struct compose){.form = form,
                               .is_stream = is_stream,
                               .wants_usage = true,
                               .event = on_event,
                               .model = BYTES_LITERAL("m")};
    compose_init(&compose);
}

/* The parts of an answer that are not made anew each time, in one shape for both APIs. */
static void same_answer(enum chat_form form, struct bytes json, const char *wanted) {
    struct buf said;
    buf_init(&said, 0);
    read_bytes(json);
    int choice = json_first(&reader, json_get(&reader, 0, "choices"));
    buf_append_str(&said, "{\"said\":");
    buf_append_bytes(&said, json_whole(&reader, form == FORM_MESSAGES
                                                    ? json_get(&reader, 0, "content")
                                                    : json_get(&reader, choice, "message")));
    buf_append_str(&said, ",\"why\":");
    buf_append_bytes(&said, json_whole(&reader, form == FORM_MESSAGES
                                                    ? json_get(&reader, 0, "stop_reason")
                                                    : json_get(&reader, choice, "finish_reason")));
    buf_append_str(&said, ",\"usage\":");
    buf_append_bytes(&said, json_whole(&reader, json_get(&reader, 0, "usage")));
    buf_append_char(&said, '}');
    same_json(buf_bytes(&said), js(wanted));
    buf_free(&said);
}

/* -- whole answers ------------------------------------------------------------------------------
 */

#define OPENAI_USAGE                                                            \
    "'usage':{'prompt_tokens':17,'completion_tokens':20,'total_tokens':37,"     \
    "'prompt_tokens_details':{'cached_tokens':4},'completion_tokens_details':{" \
    "'reasoning_tokens':0}}"
#define ANTHROPIC_USAGE                                           \
    "'usage':{'input_tokens':10,'cache_creation_input_tokens':3," \
    "'cache_read_input_tokens':4,'output_tokens':20}"
#define MESSAGE(content, reason)                                                       \
    "{'id':'msg_1','type':'message','role':'assistant','model':'c','content':" content \
    ",'stop_reason':" reason ",'stop_sequence':null," ANTHROPIC_USAGE "}"
#define CHAT(message, reason)                                                             \
    "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0," \
    "'message':" message ",'finish_reason':" reason "}],'usage':{'prompt_tokens':9,"      \
    "'completion_tokens':5,'prompt_tokens_details':{'cached_tokens':2},"                  \
    "'completion_tokens_details':{'reasoning_tokens':3}}}"
#define CHAT_USAGE_SAID                                          \
    "'usage':{'input_tokens':7,'cache_creation_input_tokens':0," \
    "'cache_read_input_tokens':2,'output_tokens':5}"

static const struct golden {
    enum chat_form from;
    const char *answer, *said;
} goldens[] = {
    {FORM_MESSAGES,
     MESSAGE("[{'type':'text','text':'Hel'},{'type':'text','text':'lo'}]", "'end_turn'"),
     "{'said':{'role':'assistant','content':'Hello','refusal':null},'why':'stop'," OPENAI_USAGE
     "}"},
    {FORM_MESSAGES,
     MESSAGE("[{'type':'thinking','thinking':'hm','signature':'E'},{"
             "'type':'redacted_thinking','data':'x'},{'type':'text',"
             "'text':'Hi'}]",
             "'max_tokens'"),
     "{'said':{'role':'assistant','content':'Hi','reasoning_content':'hm','refusal':null},"
     "'why':'length'," OPENAI_USAGE "}"},
    {FORM_MESSAGES,
     MESSAGE("[{'type':'text','text':'I look.'},{'type':'tool_use','id':'t1',"
             "'name':'f','input':{'a': [1]}},{'type':'tool_use','id':'t2',"
             "'name':'g','input':{}}]",
             "'tool_use'"),
     "{'said':{'role':'assistant','content':'I look.','refusal':null,'tool_calls':[{'id':'t1',"
     "'type':'function','function':{'name':'f','arguments':'{\\'a\\': [1]}'}},{'id':'t2',"
     "'type':'function','function':{'name':'g','arguments':'{}'}}]},'why':'tool_calls'"
     "," OPENAI_USAGE "}"},
    {FORM_MESSAGES, MESSAGE("[]", "'end_turn'"),
     "{'said':{'role':'assistant','content':'','refusal':null},'why':'stop'," OPENAI_USAGE "}"},
    {FORM_MESSAGES, MESSAGE("[]", "'refusal'"),
     "{'said':{'role':'assistant','content':'','refusal':null},'why':'content_filter'," OPENAI_USAGE
     "}"},
    {FORM_MESSAGES, MESSAGE("[{'type':'text','text':'x'}]", "'stop_sequence'"),
     "{'said':{'role':'assistant','content':'x','refusal':null},'why':'stop'," OPENAI_USAGE "}"},
    {FORM_MESSAGES, MESSAGE("[{'type':'text','text':'x'}]", "'model_context_window_exceeded'"),
     "{'said':{'role':'assistant','content':'x','refusal':null},'why':'length'," OPENAI_USAGE "}"},
    {FORM_MESSAGES, MESSAGE("[{'type':'text','text':'x'}]", "'pause_turn'"),
     "{'said':{'role':'assistant','content':'x','refusal':null},'why':'stop'," OPENAI_USAGE "}"},
    {FORM_CHAT, CHAT("{'role':'assistant','content':'Hello','refusal':null}", "'stop'"),
     "{'said':[{'type':'text','text':'Hello'}],'why':'end_turn'," CHAT_USAGE_SAID "}"},
    {FORM_CHAT,
     CHAT("{'role':'assistant','reasoning_content':'hm','content':[{'type':'text',"
          "'text':'a'},{'type':'text','text':'b'}]}",
          "'length'"),
     "{'said':[{'type':'thinking','thinking':'hm','signature':''},{'type':'text','text':'ab'}],"
     "'why':'max_tokens'," CHAT_USAGE_SAID "}"},
    {FORM_CHAT, CHAT("{'role':'assistant','reasoning':'hm','content':'a'}", "'stop'"),
     "{'said':[{'type':'thinking','thinking':'hm','signature':''},{'type':'text','text':'a'}],"
     "'why':'end_turn'," CHAT_USAGE_SAID "}"},
    {FORM_CHAT,
     CHAT("{'role':'assistant','content':'I look.','tool_calls':[{'id':'c1',"
          "'type':'function','function':{'name':'f','arguments':'{\\'a\\':[1]}'}},{"
          "'id':'c2','type':'function','function':{'name':'g','arguments':''}}]}",
          "'tool_calls'"),
     "{'said':[{'type':'text','text':'I look.'},{'type':'tool_use','id':'c1','name':'f',"
     "'input':{'a':[1]}},{'type':'tool_use','id':'c2','name':'g','input':{}}],"
     "'why':'tool_use'," CHAT_USAGE_SAID "}"},
    {FORM_CHAT,
     CHAT("{'role':'assistant','content':null,'tool_calls':[{'id':'c1',"
          "'type':'function','function':{'name':'f','arguments':'{}'}}]}",
          "'stop'"), /* some servers do not tell the two apart */
     "{'said':[{'type':'tool_use','id':'c1','name':'f','input':{}}],'why':'tool_use'"
     "," CHAT_USAGE_SAID "}"},
    {FORM_CHAT, CHAT("{'role':'assistant','content':null,'refusal':'No.'}", "'content_filter'"),
     "{'said':[{'type':'text','text':'No.'}],'why':'refusal'," CHAT_USAGE_SAID "}"},
};

static enum chat_form other(enum chat_form from) {
    return from == FORM_CHAT ? FORM_MESSAGES : FORM_CHAT;
}

START_TEST(whole_answers) {
    const struct golden *golden = &goldens[_i];
    struct form_reading reading = {.usage_state = USAGE_NONE};
    read_json(js(golden->answer));
    ck_assert_int_eq(form_of(golden->from)->read_answer(&reader, &arena, &reading), OUTCOME_OK);
    begin(other(golden->from), false);
    ck_assert_int_eq(translate_answer(golden->from, &reader, &arena, &compose), OUTCOME_OK);
    ck_assert(compose_end(&compose, reading.finish, &reading.usage, &out, &span));
    same_answer(other(golden->from), buf_bytes(&out), golden->said);
}
END_TEST

/* -- streams ------------------------------------------------------------------------------------
 */

static void stream_event(void *user, const struct chat_event *event) {
    (void)user;
    buf_append_bytes(&out, event->data);
    buf_append_char(&out, '\n');
}

static enum outcome translate_lines(enum chat_form from, struct bytes events,
                                    enum chat_finish *finish) {
    enum outcome outcome = OUTCOME_OK;
    int64_t call = -1;
    *finish = FINISH_UNKNOWN;
    begin(other(from), true);
    while (events.size > 0 && outcome == OUTCOME_OK) {
        struct form_reading reading = {.usage_state = USAGE_NONE};
        size_t size = bytes_find(events, '\n');
        read_bytes(bytes_make(events.data, size));
        events = bytes_make(events.data + size + 1, events.size - size - 1);
        ck_assert_int_eq(form_of(from)->read_event(&reader, &arena, &reading), OUTCOME_OK);
        *finish = reading.finish > *finish ? reading.finish : *finish;
        outcome = translate_event(from, &reader, &arena, &compose, &call);
    }
    return outcome;
}

/* Each answer above, told as a stream by its form, in words: the same comes out. */
START_TEST(streams) {
    const struct golden *golden = &goldens[_i];
    struct form_replay how = {.event = stream_event, .in_words = true};
    struct form_reading reading = {.usage_state = USAGE_NONE};
    enum chat_finish finish;
    struct buf whole;
    read_json(js(golden->answer));
    ck_assert_int_eq(form_of(golden->from)->read_answer(&reader, &arena, &reading), OUTCOME_OK);
    ck_assert(form_of(golden->from)->replay(&reader, &arena, &how));
    ck_assert_int_eq(translate_lines(golden->from, buf_bytes(&out), &finish), OUTCOME_OK);
    ck_assert_int_eq(finish, reading.finish);
    ck_assert(compose_end(&compose, finish, &reading.usage, &out, &span));
    buf_init(&whole, 0);
    ck_assert(form_of(other(golden->from))->collect(&reader, buf_bytes(&lines), &arena, &whole));
    char *said = arena_strdup(&arena, js(golden->said));
    char *refusal = strstr(said, "\"refusal\":null");
    if (refusal != NULL) { /* has no place in a delta; its comma stands before or behind it */
        memset(refusal, ' ', strlen("\"refusal\":null"));
        *(refusal[-1] == ',' ? &refusal[-1] : strchr(refusal, ',')) = ' ';
    }
    same_answer(other(golden->from), buf_bytes(&whole), said);
    buf_free(&whole);
}
END_TEST

#define CALL(rest) "{'choices':[{'index':0,'delta':{'tool_calls':[{" rest "}]}}]}\n"

/* How calls come in chunks: names once, arguments in pieces; by index, or without one. */
START_TEST(calls_in_pieces) {
    static const char *const rows[] = {
        CALL("'index':0,'id':'c1','function':{'name':'f','arguments':''}")
            CALL("'index':0,'function':{'arguments':'{\\'a\\''}")
                CALL("'index':0,'function':{'arguments':':1}'}")
                    CALL("'index':1,'id':'c2','function':{'name':'g','arguments':'{}'}"),
        CALL("'id':'c1','function':{'name':'f','arguments':'{\\'a\\''}")
            CALL("'function':{'arguments':':1}'}")
                CALL("'id':'c2','function':{'name':'g','arguments':'{}'}"),
        CALL("'index':0,'id':'c1','function':{'name':'f','arguments':'{\\'a\\':1}'}},{"
             "'index':1,'id':'c2','function':{'name':'g','arguments':''}"),
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum chat_finish finish;
        struct usage usage = {.prompt_tokens = 1, .completion_tokens = 2};
        struct buf whole;
        buf_clear(&lines);
        ck_assert_int_eq(translate_lines(FORM_CHAT, bytes_from_str(js(rows[i])), &finish),
                         OUTCOME_OK);
        ck_assert(compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
        buf_init(&whole, 0);
        ck_assert(form_of(FORM_MESSAGES)->collect(&reader, buf_bytes(&lines), &arena, &whole));
        same_answer(FORM_MESSAGES, buf_bytes(&whole),
                    "{'said':[{'type':'tool_use','id':'c1','name':'f','input':{'a':1}},{"
                    "'type':'tool_use','id':'c2','name':'g','input':{}}],'why':'tool_use',"
                    "'usage':{'input_tokens':1,'cache_creation_input_tokens':0,"
                    "'cache_read_input_tokens':0,'output_tokens':2}}");
        buf_free(&whole);
        compose_fini(&compose);
    }
    begin(FORM_CHAT, false);
}
END_TEST

/* Blocks cannot be opened again: a stream that goes back to an earlier call is none. */
START_TEST(calls_that_are_mixed_up) {
    static const char *const rows[] = {
        CALL("'index':0,'id':'c1','function':{'name':'f','arguments':'{'}")
            CALL("'index':1,'id':'c2','function':{'name':'g','arguments':'{}'}")
                CALL("'index':0,'function':{'arguments':'}'}"),
        CALL("'index':0,'function':{'arguments':'{}'}"), /* of nobody knows what */
        CALL("'function':{'arguments':'{}'}"),
        CALL("'index':-1,'id':'c1','function':{'name':'f','arguments':'{}'}"),
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum chat_finish finish;
        ck_assert_int_eq(translate_lines(FORM_CHAT, bytes_from_str(js(rows[i])), &finish),
                         OUTCOME_BAD_SCHEMA);
        compose_fini(&compose);
    }
    begin(FORM_CHAT, false);
}
END_TEST

#define BLOCK(index, block) \
    "{'type':'content_block_start','index':" index ",'content_block':" block "}\n"
#define INPUT(index, json)                                                                \
    "{'type':'content_block_delta','index':" index ",'delta':{'type':'input_json_delta'," \
    "'partial_json':'" json "'}}\n"
#define TOOL(index, id) BLOCK(index, "{'type':'tool_use','id':'" id "','name':'f','input':{}}")
#define SEARCH(index) \
    BLOCK(index, "{'type':'server_tool_use','id':'s','name':'web_search','input':{}}")

/* What a provider asks of its own tools is not told, and not mixed into a call of the client's. */
START_TEST(input_of_other_blocks) {
    static const struct {
        const char *events;
        bool good;
    } rows[] = {
        {SEARCH("0") INPUT("0", "{\\'q\\':1}") TOOL("1", "a") INPUT("1", "{\\'x\\':")
             INPUT("1", "2}"),
         true},
        {TOOL("0", "a") INPUT("0", "{\\'x\\':2}") SEARCH("1") INPUT("1", "{\\'q\\':1}"), true},
        {TOOL("0", "a") TOOL("1", "b") INPUT("0", "{}"), false}, /* goes back to the first */
        {TOOL("0", "a") BLOCK("1", "{'type':'text','text':''}") INPUT("0", "{}"), false},
        {INPUT("0", "{}"), false}, /* of a block that was not opened */
        {TOOL("0", "a") SEARCH("9223372036854775807") INPUT("1", "{}"), false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum chat_finish finish;
        struct usage usage = {.prompt_tokens = 1, .completion_tokens = 2};
        struct buf whole;
        buf_init(&whole, 0);
        buf_clear(&lines);
        enum outcome outcome =
            translate_lines(FORM_MESSAGES, bytes_from_str(js(rows[i].events)), &finish);
        ck_assert_int_eq(outcome, rows[i].good ? OUTCOME_OK : OUTCOME_BAD_SCHEMA);
        if (rows[i].good) {
            ck_assert(compose_end(&compose, FINISH_TOOLS, &usage, &out, &span));
            ck_assert(form_of(FORM_CHAT)->collect(&reader, buf_bytes(&lines), &arena, &whole));
            read_bytes(buf_bytes(&whole));
            int message =
                json_get(&reader, json_first(&reader, json_get(&reader, 0, "choices")), "message");
            int calls = json_get(&reader, message, "tool_calls");
            ck_assert_int_eq(json_count(&reader, calls), 1);
            int function = json_get(&reader, json_first(&reader, calls), "function");
            ck_assert(json_string_equals(&reader, json_get(&reader, function, "arguments"),
                                         bytes_from_str("{\"x\":2}")));
        }
        buf_free(&whole);
        compose_fini(&compose);
    }
    begin(FORM_CHAT, false);
}
END_TEST

/* Signs of life, and what is not for readers, say nothing. */
START_TEST(events_that_say_nothing) {
    static const char nothing[] =
        "{'type':'ping'}\n"
        "{'type':'content_block_start','index':0,'content_block':{'type':'text','text':''}}\n"
        "{'type':'content_block_delta','index':0,'delta':{'type':'signature_delta',"
        "'signature':'x'}}\n"
        "{'type':'content_block_delta','index':0,'delta':{'type':'new_delta','x':'y'}}\n"
        "{'type':'content_block_stop','index':0}\n{'type':'something_new'}\n";
    enum chat_finish finish;
    ck_assert_int_eq(translate_lines(FORM_MESSAGES, bytes_from_str(js(nothing)), &finish),
                     OUTCOME_OK);
    struct form_reading reading = {.usage_state = USAGE_NONE};
    while (lines.size > 0) { /* at most a first chunk, with the role */
        size_t size = bytes_find(buf_bytes(&lines), '\n');
        read_bytes(bytes_make(lines.data, size));
        ck_assert_int_eq(form_of(FORM_CHAT)->read_event(&reader, &arena, &reading), OUTCOME_OK);
        ck_assert(!reading.is_content);
        buf_consume(&lines, size + 1);
    }
}
END_TEST

/* -- there and back -----------------------------------------------------------------------------
 */

/* What can be said in both APIs is the same again after two translations. */
START_TEST(there_and_back) {
    static const char said[] =
        "{'model':'its-model','max_tokens':7,'temperature':0.5,'top_p':0.9,'stop':['a'],"
        "'user':'u','reasoning_effort':'low','tools':[{'type':'function','function':{'name':'f',"
        "'description':'d','strict':true,'parameters':{'type':'object'}}}],'tool_choice':{"
        "'type':'function','function':{'name':'f'}},'parallel_tool_calls':false,'messages':[{"
        "'role':'system','content':'s'},{'role':'user','content':[{'type':'text','text':'a'},{"
        "'type':'image_url','image_url':{'url':'data:image/png;base64,AA=='}}]},{"
        "'role':'assistant','content':'b','tool_calls':[{'id':'c','type':'function','function':{"
        "'name':'f','arguments':'{\\'a\\':1}'}}]},{'role':'tool','tool_call_id':'c',"
        "'content':'r'},{'role':'user','content':'e'}]}";
    char between[4096];
    ck_assert_int_eq(translate(FORM_CHAT, FORM_MESSAGES, said), OUTCOME_OK);
    ck_assert_uint_lt(out.size, sizeof(between));
    snprintf(between, sizeof(between), "%.*s", (int)out.size, out.data);
    translates(FORM_MESSAGES, FORM_CHAT, between, said);
    begin(FORM_CHAT, false);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("translate_answers");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, whole_answers, 0, COUNT(goldens));
    tcase_add_loop_test(tcase, streams, 0, COUNT(goldens));
    tcase_add_test(tcase, calls_in_pieces);
    tcase_add_test(tcase, calls_that_are_mixed_up);
    tcase_add_test(tcase, input_of_other_blocks);
    tcase_add_test(tcase, events_that_say_nothing);
    tcase_add_test(tcase, there_and_back);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

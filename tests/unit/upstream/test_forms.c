/* What each form's answers and events say: text, tokens, reasons, calls, ends and errors; what no
 * answer is. Shapes as in the public API references, and as known servers send them. Streams made
 * whole and back: test_forms_replay.c.
 */
#include "config.h"

#include "upstream_test.h"

#include <stdio.h>

static struct form_reading reading;

static void setup(void) {
    documents_open();
}

static void teardown(void) {
    documents_close();
}

static enum outcome read_answer(enum chat_form form, const char *json) {
    read_json(js(json));
    reading = (struct form_reading){.usage_state = USAGE_NONE};
    return form_of(form)->read_answer(&reader, &arena, &reading);
}

static enum outcome read_event(enum chat_form form, const char *json) {
    read_json(js(json));
    reading = (struct form_reading){.usage_state = USAGE_NONE};
    return form_of(form)->read_event(&reader, &arena, &reading);
}

static void same_usage(const struct usage *wanted) {
    ck_assert_int_eq(reading.usage.prompt_tokens, wanted->prompt_tokens);
    ck_assert_int_eq(reading.usage.cached_tokens, wanted->cached_tokens);
    ck_assert_int_eq(reading.usage.cache_write_tokens, wanted->cache_write_tokens);
    ck_assert_int_eq(reading.usage.cache_write_1h_tokens, wanted->cache_write_1h_tokens);
    ck_assert_int_eq(reading.usage.completion_tokens, wanted->completion_tokens);
    ck_assert_int_eq(reading.usage.reasoning_tokens, wanted->reasoning_tokens);
}

/* -- whole answers ------------------------------------------------------------------------------
 */

/* Golden answers of chats and messages, with their prices, are in test_dialects.c. */
static const struct golden {
    enum chat_form form;
    const char *json, *text;
    enum usage_state state;
    struct usage usage;
    enum chat_finish finish;
    bool has_tools;
    size_t delivered; /* bytes that the model has written */
} goldens[] = {
    {FORM_CHAT,
     "{'choices':[{'message':{'role':'assistant','content':null,'tool_calls':[{'id':'call_1',"
     "'type':'function','function':{'name':'f','arguments':'{\\'a\\':1}'}}]},"
     "'finish_reason':'tool_calls'}],'usage':{'prompt_tokens':9,'completion_tokens':4,"
     "'completion_tokens_details':{'reasoning_tokens':4}}}",
     "",
     USAGE_KNOWN,
     {.prompt_tokens = 9, .completion_tokens = 4, .reasoning_tokens = 4},
     FINISH_TOOLS,
     true,
     10},
    {FORM_CHAT, /* of several choices the text is the first one's, the reason the weightiest */
     "{'choices':[{'index':0,'message':{'content':'one'},'finish_reason':'stop'},"
     "{'index':1,'message':{'content':'three'},'finish_reason':'length'}],"
     "'usage':{'prompt_tokens':9,'completion_tokens':4}}",
     "one",
     USAGE_KNOWN,
     {.prompt_tokens = 9, .completion_tokens = 4},
     FINISH_LENGTH,
     false,
     8},
    {FORM_CHAT, /* without usage; the old way of calling */
     "{'choices':[{'message':{'content':null,'function_call':{'name':'f','arguments':'{}'}},"
     "'finish_reason':'function_call'}]}",
     "",
     USAGE_NONE,
     {0},
     FINISH_TOOLS,
     true,
     3},
    {FORM_COMPLETIONS,
     "{'id':'cmpl-1','object':'text_completion','created':1,'model':'m','choices':[{'text':'\\nHi',"
     "'index':0,'logprobs':null,'finish_reason':'length'}],'usage':{'prompt_tokens':5,"
     "'completion_tokens':7,'total_tokens':12,'prompt_tokens_details':{'cached_tokens':3}}}",
     "\nHi",
     USAGE_KNOWN,
     {.prompt_tokens = 5, .cached_tokens = 3, .completion_tokens = 7},
     FINISH_LENGTH,
     false,
     4},
    {FORM_COMPLETIONS, "{'choices':[{'text':''}]}", "", USAGE_NONE, {0}, FINISH_UNKNOWN, false, 0},
    {FORM_EMBEDDINGS,
     "{'object':'list','data':[{'object':'embedding','index':0,'embedding':[0.1,-2e-3]}],"
     "'model':'m','usage':{'prompt_tokens':8,'total_tokens':8}}",
     "",
     USAGE_KNOWN,
     {.prompt_tokens = 8},
     FINISH_STOP,
     false,
     0},
    {FORM_EMBEDDINGS,
     "{'data':[{'embedding':'AACAPw=='}]}",
     "",
     USAGE_NONE,
     {0},
     FINISH_STOP,
     false,
     0},
    {FORM_RESPONSES,
     "{'id':'resp_1','object':'response','status':'completed','output':[{'type':'reasoning',"
     "'id':'rs_1','summary':[{'type':'summary_text','text':'hm'}]},{'type':'message','id':'msg_1',"
     "'role':'assistant','status':'completed','content':[{'type':'output_text','text':'Hello',"
     "'annotations':[]}]}],'usage':{'input_tokens':36,'input_tokens_details':{'cached_tokens':30},"
     "'output_tokens':87,'output_tokens_details':{'reasoning_tokens':80},'total_tokens':123}}",
     "",
     USAGE_KNOWN,
     {.prompt_tokens = 36, .cached_tokens = 30, .completion_tokens = 87, .reasoning_tokens = 80},
     FINISH_STOP,
     false,
     7},
    {FORM_RESPONSES,
     "{'status':'completed','output':[{'type':'function_call','id':'fc_1','call_id':'call_1',"
     "'name':'f','arguments':'{}','status':'completed'}],'usage':null}",
     "",
     USAGE_NONE,
     {0},
     FINISH_STOP,
     true,
     3},
    {FORM_RESPONSES,
     "{'status':'incomplete','incomplete_details':{'reason':'max_output_tokens'},"
     "'output':[]}",
     "",
     USAGE_NONE,
     {0},
     FINISH_LENGTH,
     false,
     0},
    {FORM_RESPONSES,
     "{'status':'incomplete','incomplete_details':{'reason':'content_filter'},"
     "'output':[]}",
     "",
     USAGE_NONE,
     {0},
     FINISH_FILTER,
     false,
     0},
    {FORM_RESPONSES,
     "{'status':'failed','output':[]}",
     "",
     USAGE_NONE,
     {0},
     FINISH_UNKNOWN,
     false,
     0},
    {FORM_MESSAGES,
     "{'id':'msg_1','type':'message','content':[{'type':'text','text':'Let me see. '},"
     "{'type':'tool_use','id':'toolu_1','name':'f','input':{'city':'Paris'}}],"
     "'stop_reason':'tool_use','usage':{'input_tokens':10,'cache_creation_input_tokens':3,"
     "'cache_read_input_tokens':4,'output_tokens':20}}",
     "Let me see. ",
     USAGE_KNOWN,
     {.prompt_tokens = 17, .cached_tokens = 4, .cache_write_tokens = 3, .completion_tokens = 20},
     FINISH_TOOLS,
     true,
     18},
};

START_TEST(whole_answers) {
    const struct golden *golden = &goldens[_i];
    ck_assert_int_eq(read_answer(golden->form, golden->json), OUTCOME_OK);
    ck_assert(bytes_equal_str(reading.text, golden->text));
    ck_assert_int_eq(reading.usage_state, golden->state);
    if (golden->state == USAGE_KNOWN) {
        same_usage(&golden->usage);
    }
    ck_assert_int_eq(reading.finish, golden->finish);
    ck_assert_int_eq(reading.has_tools, golden->has_tools);
    ck_assert_uint_eq(reading.delivered, golden->delivered);
}
END_TEST

START_TEST(the_text_of_a_chat_has_its_place) {
    ck_assert_int_eq(read_answer(FORM_CHAT, "{'choices':[{'message':{'content' : 'a\\nb' }}]}"),
                     OUTCOME_OK);
    struct bytes span = bytes_make(reader.text.data + reading.text_span.at, reading.text_span.size);
    ck_assert(bytes_equal_str(span, "\"a\\nb\""));
    ck_assert_int_eq(read_answer(FORM_CHAT, "{'choices':[{'message':{'content':[{'text':'a'}]}}]}"),
                     OUTCOME_OK);
    ck_assert_uint_eq(reading.text_span.size, 0); /* in parts it is not one string */
}
END_TEST

/* Every word that either API has for why a model stopped. */
START_TEST(reasons) {
    static const struct {
        enum chat_form form;
        const char *word;
        enum chat_finish finish;
    } rows[] = {
        {FORM_CHAT, "'stop'", FINISH_STOP},
        {FORM_CHAT, "'length'", FINISH_LENGTH},
        {FORM_CHAT, "'tool_calls'", FINISH_TOOLS},
        {FORM_CHAT, "'function_call'", FINISH_TOOLS},
        {FORM_CHAT, "'content_filter'", FINISH_FILTER},
        {FORM_CHAT, "'eos_token'", FINISH_STOP}, /* an end, whatever it is called */
        {FORM_CHAT, "null", FINISH_UNKNOWN},
        {FORM_CHAT, "''", FINISH_UNKNOWN},
        {FORM_MESSAGES, "'end_turn'", FINISH_STOP},
        {FORM_MESSAGES, "'stop_sequence'", FINISH_STOP},
        {FORM_MESSAGES, "'max_tokens'", FINISH_LENGTH},
        {FORM_MESSAGES, "'model_context_window_exceeded'", FINISH_LENGTH},
        {FORM_MESSAGES, "'tool_use'", FINISH_TOOLS},
        {FORM_MESSAGES, "'refusal'", FINISH_FILTER},
        {FORM_MESSAGES, "'pause_turn'", FINISH_UNKNOWN}, /* it wants to go on */
        {FORM_MESSAGES, "'compaction'", FINISH_UNKNOWN},
        {FORM_MESSAGES, "null", FINISH_UNKNOWN},
    };
    char json[256];
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool is_chat = rows[i].form == FORM_CHAT;
        snprintf(json, sizeof(json),
                 is_chat ? "{'choices':[{'message':{'content':'x'},'finish_reason':%s}]}"
                         : "{'content':[{'type':'text','text':'x'}],'stop_reason':%s}",
                 rows[i].word);
        ck_assert_int_eq(read_answer(rows[i].form, json), OUTCOME_OK);
        ck_assert_msg(reading.finish == rows[i].finish, "%s", rows[i].word);
        snprintf(json, sizeof(json),
                 is_chat ? "{'choices':[{'delta':{},'finish_reason':%s}]}"
                         : "{'type':'message_delta','delta':{'stop_reason':%s}}",
                 rows[i].word);
        ck_assert_int_eq(read_event(rows[i].form, json), OUTCOME_OK);
        ck_assert_msg(reading.finish == rows[i].finish, "%s in a stream", rows[i].word);
    }
}
END_TEST

START_TEST(what_is_no_answer) {
    static const struct {
        enum chat_form form;
        const char *json;
    } rows[] = {
        {FORM_COMPLETIONS, "{}"},
        {FORM_COMPLETIONS, "[]"},
        {FORM_COMPLETIONS, "{'choices':null}"},
        {FORM_COMPLETIONS, "{'choices':[]}"},
        {FORM_COMPLETIONS, "{'choices':[{'text':null}]}"},
        {FORM_COMPLETIONS, "{'choices':[{'text':'x'},{'text':7}]}"},
        {FORM_COMPLETIONS, "{'choices':[{'message':{'content':'x'}}]}"},
        {FORM_CHAT, "{'choices':[{'message':{'content':'x'}},{}]}"},
        {FORM_CHAT, "{'choices':[{'delta':{'content':'x'}}]}"},
        {FORM_EMBEDDINGS, "{}"},
        {FORM_EMBEDDINGS, "{'data':[]}"},
        {FORM_EMBEDDINGS, "{'data':[{'embedding':[]}]}"},
        {FORM_EMBEDDINGS, "{'data':[{'embedding':[1]},{'object':'embedding'}]}"},
        {FORM_RESPONSES, "{}"},
        {FORM_RESPONSES, "{'output':null}"},
        {FORM_RESPONSES, "{'output':'x'}"},
        {FORM_MESSAGES, "{}"},
        {FORM_MESSAGES, "7"},
        {FORM_MESSAGES, "{'content':null}"},
        {FORM_MESSAGES, "{'content':[{'text':'x'}]}"}, /* a block of no type */
        {FORM_MESSAGES, "{'type':'error','error':{'type':'overloaded_error'}}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ck_assert_msg(read_answer(rows[i].form, rows[i].json) == OUTCOME_BAD_SCHEMA, "%s",
                      rows[i].json);
    }
}
END_TEST

/* Row 45, for the forms that test_dialects.c does not have. */
START_TEST(usage_that_cannot_be) {
    static const struct {
        enum chat_form form;
        const char *json;
    } rows[] = {
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':1}}"},
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':-1,'output_tokens':1}}"},
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':1.0,'output_tokens':1}}"},
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':1,'output_tokens':1,"
                         "'input_tokens_details':{'cached_tokens':2}}}"},
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':1,'output_tokens':1,"
                         "'output_tokens_details':{'reasoning_tokens':2}}}"},
        {FORM_RESPONSES, "{'output':[],'usage':{'input_tokens':1,'output_tokens':1000000001}}"},
        {FORM_EMBEDDINGS, "{'data':[{'embedding':[1]}],'usage':{}}"},
        {FORM_EMBEDDINGS, "{'data':[{'embedding':[1]}],'usage':{'prompt_tokens':-8}}"},
        {FORM_COMPLETIONS, "{'choices':[{'text':'x'}],'usage':'many'}"},
        {FORM_MESSAGES, "{'content':[],'usage':{'output_tokens':1}}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ck_assert_int_eq(read_answer(rows[i].form, rows[i].json), OUTCOME_OK);
        ck_assert_msg(reading.usage_state == USAGE_INVALID, "%s", rows[i].json);
    }
}
END_TEST

/* -- events -------------------------------------------------------------------------------------
 */

/* What is said of an event beside its tokens. */
enum { CONTENT = 1, LAST = 2, USAGE_ONLY = 4, IGNORABLE = 8, ERROR = 16, TOOLS = 32 };

static const struct event_golden {
    enum chat_form form;
    const char *json, *text;
    unsigned is;
    size_t delivered;
} events[] = {
    /* chats */
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{'role':'assistant','content':''}}]}", "", 0, 0},
    {FORM_CHAT,
     "{'choices':[{'index':0,'delta':{'role':'assistant','content':null,"
     "'refusal':null,'tool_calls':[]}}]}",
     "", 0, 0},
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{'content':'H\\u00e9'}}],'usage':null}",
     "H\xc3\xa9", CONTENT, 7},
    {FORM_CHAT, "{'choices':[{'index':1,'delta':{'content':'other'}}]}", "", CONTENT, 5},
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{'refusal':'No.'}}]}", "No.", CONTENT, 3},
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{'reasoning_content':'hm'}}]}", "", CONTENT, 2},
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{'something_new':{'x':'abc'}}}]}", "", CONTENT, 3},
    {FORM_CHAT,
     "{'choices':[{'index':0,'delta':{'tool_calls':[{'index':0,'id':'call_1',"
     "'type':'function','function':{'name':'f','arguments':''}}]}}]}",
     "", CONTENT | TOOLS, 1},
    {FORM_CHAT, "{'choices':[{'index':0,'delta':{},'finish_reason':'stop'}]}", "", 0, 0},
    {FORM_CHAT, "{'choices':[],'usage':{'prompt_tokens':1,'completion_tokens':2}}", "", USAGE_ONLY,
     0},
    {FORM_CHAT, "{'choices':null,'usage':{'prompt_tokens':1,'completion_tokens':2}}", "",
     USAGE_ONLY, 0},
    {FORM_CHAT, "{'choices':null,'usage':null}", "", 0, 0},
    {FORM_CHAT, "{'choices':[],'prompt_filter_results':[]}", "", 0, 0}, /* Azure's first */
    {FORM_CHAT, "{'object':'something.new'}", "", 0, 0},
    {FORM_CHAT, "{'error':{'message':'x','type':'server_error','code':null}}", "", ERROR, 0},
    {FORM_CHAT, "{'error':'overloaded','choices':[]}", "", ERROR, 0},
    {FORM_CHAT, "{'error':null,'choices':[]}", "", 0, 0},
    {FORM_CHAT, "{'error':{},'choices':[]}", "", 0, 0},
    {FORM_COMPLETIONS, "{'choices':[{'text':'a\\n','index':0,'finish_reason':null}]}", "a\n",
     CONTENT, 3},
    {FORM_COMPLETIONS, "{'choices':[{'text':'','index':0,'finish_reason':'stop'}]}", "", 0, 0},
    /* messages */
    {FORM_MESSAGES, "{'type':'message_start','message':{'id':'m','content':[]}}", "", 0, 0},
    {FORM_MESSAGES, "{'type':'ping'}", "", IGNORABLE, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_start','index':0,'content_block':{'type':'text',"
     "'text':''}}",
     "", 0, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_start','index':0,'content_block':{'type':'thinking',"
     "'thinking':'','signature':''}}",
     "", 0, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_start','index':0,'content_block':{'type':'tool_use',"
     "'id':'t','name':'f','input':{}}}",
     "", CONTENT | TOOLS, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_start','index':0,'content_block':{"
     "'type':'redacted_thinking','data':'abcd'}}",
     "", CONTENT, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_delta','index':0,'delta':{'type':'text_delta',"
     "'text':'Hi'}}",
     "Hi", CONTENT, 2},
    {FORM_MESSAGES,
     "{'type':'content_block_delta','index':0,'delta':{'type':'thinking_delta',"
     "'thinking':'hmm'}}",
     "", CONTENT, 3},
    {FORM_MESSAGES,
     "{'type':'content_block_delta','index':0,'delta':{'type':'signature_delta',"
     "'signature':'EqQ'}}",
     "", 0, 0},
    {FORM_MESSAGES,
     "{'type':'content_block_delta','index':0,'delta':{'type':'input_json_delta',"
     "'partial_json':'{'}}",
     "", CONTENT, 1},
    {FORM_MESSAGES,
     "{'type':'content_block_delta','index':0,'delta':{'type':'input_json_delta',"
     "'partial_json':''}}",
     "", 0, 0},
    {FORM_MESSAGES, "{'type':'content_block_stop','index':0}", "", 0, 0},
    {FORM_MESSAGES, "{'type':'message_stop'}", "", LAST, 0},
    {FORM_MESSAGES, "{'type':'error','error':{'type':'overloaded_error','message':'x'}}", "", ERROR,
     0},
    {FORM_MESSAGES, "{'type':'something_new'}", "", 0, 0},
    /* responses */
    {FORM_RESPONSES, "{'type':'response.created','response':{'status':'in_progress','output':[]}}",
     "", 0, 0},
    {FORM_RESPONSES, "{'type':'response.output_item.added','item':{'type':'message'}}", "", 0, 0},
    {FORM_RESPONSES, "{'type':'response.output_text.delta','delta':'Hi'}", "Hi", CONTENT, 2},
    {FORM_RESPONSES, "{'type':'response.function_call_arguments.delta','delta':'{\\'a\\''}", "",
     CONTENT, 6},
    {FORM_RESPONSES, "{'type':'response.reasoning_summary_text.delta','delta':'hm'}", "", CONTENT,
     2},
    {FORM_RESPONSES, "{'type':'response.output_item.done','item':{'type':'web_search_call'}}", "",
     CONTENT, 0},
    {FORM_RESPONSES,
     "{'type':'response.completed','response':{'status':'completed','output':[{"
     "'type':'function_call','name':'f'}]}}",
     "", LAST | TOOLS, 0},
    {FORM_RESPONSES,
     "{'type':'response.incomplete','response':{'status':'incomplete',"
     "'output':[]}}",
     "", LAST, 0},
    {FORM_RESPONSES, "{'type':'response.failed','response':{'status':'failed','output':[]}}", "",
     ERROR, 0},
    {FORM_RESPONSES, "{'type':'error','code':'server_error','message':'x'}", "", ERROR, 0},
    {FORM_RESPONSES, "{'type':'response.something_new'}", "", 0, 0},
};

START_TEST(single_events) {
    const struct event_golden *golden = &events[_i];
    ck_assert_int_eq(read_event(golden->form, golden->json), OUTCOME_OK);
    unsigned is = (reading.is_content ? CONTENT : 0U) | (reading.is_last ? LAST : 0U) |
                  (reading.is_usage_only ? USAGE_ONLY : 0U) |
                  (reading.is_ignorable ? IGNORABLE : 0U) | (reading.is_error ? ERROR : 0U) |
                  (reading.has_tools ? TOOLS : 0U);
    ck_assert_msg(bytes_equal_str(reading.text, golden->text), "%s", golden->json);
    ck_assert_msg(is == golden->is, "%s: %u", golden->json, is);
    ck_assert_msg(reading.delivered == golden->delivered, "%s: %zu", golden->json,
                  reading.delivered);
}
END_TEST

START_TEST(what_is_no_event) {
    static const struct {
        enum chat_form form;
        const char *json;
    } rows[] = {
        {FORM_CHAT, "7"},
        {FORM_CHAT, "[]"},
        {FORM_COMPLETIONS, "'x'"},
        {FORM_MESSAGES, "{}"},
        {FORM_MESSAGES, "{'type':7}"},
        {FORM_RESPONSES, "[]"},
        {FORM_RESPONSES, "{'type':null}"},
        {FORM_RESPONSES, "{'type':'response.completed'}"},
        {FORM_RESPONSES, "{'type':'response.completed','response':{'output':null}}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ck_assert_msg(read_event(rows[i].form, rows[i].json) == OUTCOME_BAD_SCHEMA, "%s",
                      rows[i].json);
    }
    ck_assert_ptr_null(form_of(FORM_EMBEDDINGS)->read_event);
}
END_TEST

static const struct usage_golden {
    enum chat_form form;
    const char *json;
    enum usage_state state;
    struct usage usage;
} usages[] = {
    {FORM_CHAT,
     "{'choices':[],'usage':{'prompt_tokens':20,'completion_tokens':9,'prompt_tokens_details':{"
     "'cached_tokens':16},'completion_tokens_details':{'reasoning_tokens':5}}}",
     USAGE_KNOWN,
     {.prompt_tokens = 20, .cached_tokens = 16, .completion_tokens = 9, .reasoning_tokens = 5}},
    {FORM_CHAT, "{'choices':[{'delta':{'content':'x'}}],'usage':null}", USAGE_NONE, {0}},
    {FORM_CHAT, "{'choices':[{'delta':{'content':'x'}}],'usage':7}", USAGE_INVALID, {0}},
    {FORM_CHAT,
     "{'choices':[],'usage':{'prompt_tokens':1,'completion_tokens':-1}}",
     USAGE_INVALID,
     {0}},
    /* what was read is known at the beginning; output_tokens there is no final count */
    {FORM_MESSAGES,
     "{'type':'message_start','message':{'usage':{'input_tokens':25,"
     "'cache_creation_input_tokens':30,'cache_read_input_tokens':100,'cache_creation':{"
     "'ephemeral_5m_input_tokens':10,'ephemeral_1h_input_tokens':20},'output_tokens':1}}}",
     USAGE_PARTIAL,
     {.prompt_tokens = 155,
      .cached_tokens = 100,
      .cache_write_tokens = 10,
      .cache_write_1h_tokens = 20,
      .completion_tokens = -1}},
    /* and what was written at the end */
    {FORM_MESSAGES,
     "{'type':'message_delta','delta':{},'usage':{'output_tokens':15}}",
     USAGE_PARTIAL,
     {.prompt_tokens = -1,
      .cached_tokens = -1,
      .cache_write_tokens = -1,
      .cache_write_1h_tokens = -1,
      .completion_tokens = 15}},
    {FORM_MESSAGES,
     "{'type':'message_delta','delta':{},'usage':{'input_tokens':5,'cache_read_input_tokens':2,"
     "'cache_creation_input_tokens':0,'output_tokens':15}}",
     USAGE_KNOWN,
     {.prompt_tokens = 7,
      .cached_tokens = 2,
      .cache_write_1h_tokens = -1, /* not said again */
      .completion_tokens = 15}},
    {FORM_MESSAGES,
     "{'type':'message_delta','delta':{},'usage':{'output_tokens':-15}}",
     USAGE_INVALID,
     {0}},
    {FORM_MESSAGES, "{'type':'message_start','message':{}}", USAGE_NONE, {0}},
    {FORM_RESPONSES,
     "{'type':'response.completed','response':{'status':'completed','output':[],'usage':{"
     "'input_tokens':3,'output_tokens':4,'output_tokens_details':{'reasoning_tokens':4}}}}",
     USAGE_KNOWN,
     {.prompt_tokens = 3, .completion_tokens = 4, .reasoning_tokens = 4}},
    {FORM_RESPONSES,
     "{'type':'response.created','response':{'output':[],'usage':null}}",
     USAGE_NONE,
     {0}},
};

START_TEST(tokens_in_events) {
    const struct usage_golden *golden = &usages[_i];
    ck_assert_int_eq(read_event(golden->form, golden->json), OUTCOME_OK);
    ck_assert_int_eq(reading.usage_state, golden->state);
    if (golden->state == USAGE_KNOWN || golden->state == USAGE_PARTIAL) {
        same_usage(&golden->usage);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("forms");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, whole_answers, 0, COUNT(goldens));
    tcase_add_test(tcase, the_text_of_a_chat_has_its_place);
    tcase_add_test(tcase, reasons);
    tcase_add_test(tcase, what_is_no_answer);
    tcase_add_test(tcase, usage_that_cannot_be);
    tcase_add_loop_test(tcase, single_events, 0, COUNT(events));
    tcase_add_test(tcase, what_is_no_event);
    tcase_add_loop_test(tcase, tokens_in_events, 0, COUNT(usages));
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

/* Streams made whole, and whole answers made streams: what comes out has every member that went in
 * (FIELD 14). Each whole answer goes round: as events, in one piece and in words, and back.
 */
#include "config.h"

#include "upstream_test.h"

#include <stdio.h>

static struct buf lines; /* data of events, each on a line */
static struct buf out;

static void setup(void) {
    documents_open();
    buf_init(&lines, 0);
    buf_init(&out, 0);
}

static void teardown(void) {
    buf_free(&lines);
    buf_free(&out);
    documents_close();
}

static bool collect(enum chat_form form, struct bytes events) {
    buf_clear(&out);
    return form_of(form)->collect(&reader, events, &arena, &out);
}

/* -- streams made whole -------------------------------------------------------------------------
 */

#define CHUNK(rest) "{'id':'c','object':'chat.completion.chunk','created':1,'model':'m'," rest "}\n"
#define START                                                                          \
    "{'type':'message_start','message':{'id':'m','type':'message','role':'assistant'," \
    "'model':'c','content':[],'stop_reason':null,'stop_sequence':null,'usage':{"       \
    "'input_tokens':5,'output_tokens':1}}}\n"
#define OPEN(index, block) \
    "{'type':'content_block_start','index':" index ",'content_block':" block "}\n"
#define DELTA(index, delta) "{'type':'content_block_delta','index':" index ",'delta':" delta "}\n"
#define CLOSE(index) "{'type':'content_block_stop','index':" index "}\n"
#define END                                                                            \
    "{'type':'message_delta','delta':{'stop_reason':'end_turn','stop_sequence':null}," \
    "'usage':{'output_tokens':9}}\n{'type':'message_stop'}\n"

static const struct golden {
    enum chat_form form;
    const char *events, *whole; /* whole NULL: they are not a complete answer */
} goldens[] = {
    {FORM_CHAT,
     CHUNK("'service_tier':'default','system_fingerprint':'fp','usage':null,'choices':[{'index':0,"
           "'delta':{'role':'assistant','content':'','refusal':null},'logprobs':null,"
           "'finish_reason':null}],'obfuscation':'x'")
         CHUNK("'choices':[{'index':0,'delta':{'content':'Hel\\n'},'logprobs':{'content':[{"
               "'token':'Hel','logprob':-0.5,'bytes':[72],'top_logprobs':[{'token':'Hel',"
               "'logprob':-0.5}]}],'refusal':null},'finish_reason':null}],'obfuscation':'yy'")
             CHUNK("'choices':[{'index':0,'delta':{'content':'lo'},'logprobs':{'content':[{"
                   "'token':'lo','logprob':-0.1,'bytes':null,'top_logprobs':[]}],"
                   "'refusal':null},'finish_reason':null}]")
                 CHUNK("'choices':[{'index':0,'delta':{},'logprobs':null,'finish_reason':'stop'}]")
                     CHUNK("'choices':[],'usage':{'prompt_tokens':1,'completion_tokens':2}"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','service_tier':'default',"
     "'system_fingerprint':'fp','choices':[{'index':0,'message':{'role':'assistant',"
     "'content':'Hel\\nlo','refusal':null},'logprobs':{'content':[{'token':'Hel','logprob':-0.5,"
     "'bytes':[72],'top_logprobs':[{'token':'Hel','logprob':-0.5}]},{'token':'lo','logprob':-0.1,"
     "'bytes':null,'top_logprobs':[]}],'refusal':null},'finish_reason':'stop'}],"
     "'usage':{'prompt_tokens':1,'completion_tokens':2}}"},
    /* two calls, in pieces, their names said again and again */
    {FORM_CHAT,
     CHUNK("'choices':[{'index':0,'delta':{'role':'assistant','content':null,'tool_calls':[{"
           "'index':0,'id':'call_a','type':'function','function':{'name':'f','arguments':''}}]}}]")
         CHUNK("'choices':[{'index':0,'delta':{'tool_calls':[{'index':0,'id':'call_a',"
               "'type':'function','function':{'name':'f','arguments':'{\\'a\\''}}]}}]")
             CHUNK("'choices':[{'index':0,'delta':{'tool_calls':[{'index':1,'id':'call_b',"
                   "'type':'function','function':{'name':'g','arguments':'{}'}},{'index':0,"
                   "'function':{'arguments':':1}'}}]}}]")
                 CHUNK("'choices':[{'index':0,'delta':{},'finish_reason':'tool_calls'}]"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':null,'tool_calls':[{'id':'call_a',"
     "'type':'function','function':{'name':'f','arguments':'{\\'a\\':1}'}},{'id':'call_b',"
     "'type':'function','function':{'name':'g','arguments':'{}'}}]},"
     "'finish_reason':'tool_calls'}]}"},
    /* several choices, mixed, the second one first; thoughts; the last chunk of some servers */
    {FORM_CHAT,
     CHUNK("'choices':[{'index':1,'delta':{'role':'assistant','reasoning_content':'h'}}]")
         CHUNK("'choices':[{'index':0,'delta':{'role':'assistant','content':'A'}},{'index':1,"
               "'delta':{'reasoning_content':'m'}}]")
             CHUNK("'choices':[{'index':1,'delta':{'content':'B'},'finish_reason':'length',"
                   "'stop_reason':7}]")
                 CHUNK("'choices':[{'index':0,'delta':{'content':'a'},'finish_reason':'stop'}]")
                     CHUNK("'choices':null,'usage':{'prompt_tokens':1,'completion_tokens':4}"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':'Aa'},'finish_reason':'stop'},{'index':1,"
     "'message':{'role':'assistant','content':'B','reasoning_content':'hm'},"
     "'finish_reason':'length','stop_reason':7}],"
     "'usage':{'prompt_tokens':1,'completion_tokens':4}}"},
    /* a refusal; no role; the old way of calling; what nobody knows yet */
    {FORM_CHAT,
     CHUNK("'choices':[{'index':0,'delta':{'refusal':'No'}}]")
         CHUNK("'choices':[{'index':0,'delta':{'refusal':'.','new':{'deep':['x']}},"
               "'finish_reason':'stop'}]"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':null,'refusal':'No.','new':{'deep':['x']}},"
     "'finish_reason':'stop'}]}"},
    {FORM_CHAT,
     CHUNK("'choices':[{'delta':{'function_call':{'name':'f','arguments':'{'}}}]")
         CHUNK("'choices':[{'delta':{'function_call':{'arguments':'}'}},"
               "'finish_reason':'function_call'}]"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{"
     "'message':{'role':'assistant','content':null,'function_call':{'name':'f',"
     "'arguments':'{}'}},'finish_reason':'function_call'}]}"},
    /* what stands beside the choices is whole each time */
    {FORM_CHAT,
     CHUNK("'citations':['u'],'choices':[{'index':0,'delta':{'content':'a'}}]")
         CHUNK("'citations':['u','v'],'usage':{'prompt_tokens':1,'completion_tokens':1},"
               "'choices':[{'index':0,'delta':{},'finish_reason':'stop'}]"),
     "{'id':'c','object':'chat.completion','created':1,'model':'m','citations':['u','v'],"
     "'choices':[{'index':0,'message':{'role':'assistant','content':'a'},'finish_reason':'stop'}],"
     "'usage':{'prompt_tokens':1,'completion_tokens':1}}"},
    {FORM_CHAT, CHUNK("'choices':[{'index':0,'delta':{'content':'cut'}}]"), NULL},
    {FORM_CHAT,
     CHUNK("'choices':[{'index':0,'delta':{'content':'a'},'finish_reason':'stop'},{'index':1,"
           "'delta':{'content':'b'}}]"),
     NULL}, /* one of two has not ended */
    {FORM_CHAT, CHUNK("'choices':[],'usage':{'prompt_tokens':1,'completion_tokens':0}"), NULL},
    {FORM_CHAT, CHUNK("'choices':[{'index':0,'finish_reason':'stop'}]"), NULL},
    {FORM_CHAT, "", NULL},
    {FORM_CHAT, "[DONE]\n", NULL},
    {FORM_COMPLETIONS,
     "{'id':'c','object':'text_completion','created':1,'model':'m','choices':[{'index':0,"
     "'text':'\\nH','logprobs':{'tokens':['\\nH'],'token_logprobs':[-0.5],'top_logprobs':null,"
     "'text_offset':[0]},'finish_reason':null}]}\n"
     "{'id':'c','object':'text_completion','created':1,'model':'m','choices':[{'index':0,"
     "'text':'i','logprobs':{'tokens':['i'],'token_logprobs':[-0.1],'top_logprobs':null,"
     "'text_offset':[2]},'finish_reason':null}]}\n"
     "{'id':'c','object':'text_completion','created':1,'model':'m','choices':[{'index':0,"
     "'text':'','logprobs':null,'finish_reason':'stop'}]}\n",
     "{'id':'c','object':'text_completion','created':1,'model':'m','choices':[{'index':0,"
     "'text':'\\nHi','logprobs':{'tokens':['\\nH','i'],'token_logprobs':[-0.5,-0.1],"
     "'top_logprobs':null,'text_offset':[0,2]},'finish_reason':'stop'}]}"},
    {FORM_COMPLETIONS, "{'choices':[{'index':0,'text':'cut','finish_reason':null}]}\n", NULL},
    {FORM_MESSAGES,
     START OPEN("0", "{'type':'thinking','thinking':'','signature':''}")
         DELTA("0", "{'type':'thinking_delta','thinking':'h'}")
             DELTA("0", "{'type':'thinking_delta','thinking':'m'}")
                 DELTA("0", "{'type':'signature_delta','signature':'EqQB'}")
                     CLOSE("0") "{'type':'ping'}\n" OPEN("1", "{'type':'text','text':''}") DELTA(
                         "1", "{'type':'text_delta','text':'Hel'}")
                         DELTA("1", "{'type':'text_delta','text':'lo'}") CLOSE("1") OPEN(
                             "2", "{'type':'tool_use','id':'t','name':'f','input':{}}")
                             DELTA("2", "{'type':'input_json_delta','partial_json':''}") DELTA(
                                 "2", "{'type':'input_json_delta',"
                                      "'partial_json':'{\\'a\\':'}")
                                 DELTA("2", "{'type':'input_json_delta',"
                                            "'partial_json':'[1]}'}")
                                     CLOSE("2") "{'type':'message_delta','delta':{'stop_reason':'"
                                                "tool_use','stop_sequence':null},"
                                                "'usage':{'output_tokens':9,'cache_read_input_"
                                                "tokens':3},'context_management':{"
                                                "'applied_edits':[]}}\n{'type':'message_stop'}\n",
     "{'id':'m','type':'message','role':'assistant','model':'c','content':[{'type':'thinking',"
     "'thinking':'hm','signature':'EqQB'},{'type':'text','text':'Hello'},{'type':'tool_use',"
     "'id':'t','name':'f','input':{'a':[1]}}],'stop_reason':'tool_use','stop_sequence':null,"
     "'usage':{'input_tokens':5,'output_tokens':9,'cache_read_input_tokens':3},"
     "'context_management':{'applied_edits':[]}}"},
    /* a tool without input; a search's result, whole in its start; citations */
    {FORM_MESSAGES,
     START OPEN("0", "{'type':'tool_use','id':'t','name':'f','input':{}}") CLOSE("0")
         OPEN("1", "{'type':'web_search_tool_result','tool_use_id':'s','content':[{'url':'u'}]}")
             CLOSE("1") OPEN("2", "{'type':'text','text':'','citations':[]}")
                 DELTA("2", "{'type':'citations_delta','citation':{'type':'char_location',"
                            "'cited_text':'x'}}")
                     DELTA("2", "{'type':'citations_delta','citation':{'type':'char_location',"
                                "'cited_text':'y'}}") DELTA("2", "{'type':'text_delta','text':'T'}")
                         CLOSE("2") END,
     "{'id':'m','type':'message','role':'assistant','model':'c','content':[{'type':'tool_use',"
     "'id':'t','name':'f','input':{}},{'type':'web_search_tool_result','tool_use_id':'s',"
     "'content':[{'url':'u'}]},{'type':'text','text':'T','citations':[{'type':'char_location',"
     "'cited_text':'x'},{'type':'char_location','cited_text':'y'}]}],'stop_reason':'end_turn',"
     "'stop_sequence':null,'usage':{'input_tokens':5,'output_tokens':9}}"},
    {FORM_MESSAGES, START END,
     "{'id':'m','type':'message','role':'assistant','model':'c','content':[],"
     "'stop_reason':'end_turn','stop_sequence':null,'usage':{'input_tokens':5,"
     "'output_tokens':9}}"},
    {FORM_MESSAGES, START OPEN("0", "{'type':'text','text':''}"), NULL},
    {FORM_MESSAGES, START "{'type':'message_delta','delta':{'stop_reason':'end_turn'}}\n", NULL},
    {FORM_MESSAGES, END, NULL},
    {FORM_MESSAGES, "{'type':'message_start','message':7}\n" END, NULL},
    {FORM_MESSAGES, START DELTA("0", "{'type':'text_delta','text':'x'}") END, NULL},
    {FORM_MESSAGES,
     START OPEN("0", "{'type':'tool_use','id':'t','name':'f','input':{}}")
         DELTA("0", "{'type':'input_json_delta','partial_json':'{\\'a\\':'}") CLOSE("0") END,
     NULL},
    /* a kind that is new: what would be lost is not kept at all */
    {FORM_MESSAGES,
     START OPEN("0", "{'type':'text','text':''}") DELTA("0", "{'type':'new_delta','x':'y'}")
         CLOSE("0") END,
     NULL},
    {FORM_MESSAGES, START "{'type':'something_new'}\n" END, NULL},
    /* one that begins anew: what was said before would be lost */
    {FORM_MESSAGES, START OPEN("0", "{'type':'text','text':'x'}") CLOSE("0") START END, NULL},
    /* a call that goes on without saying which it is: nobody knows that it is no second one */
    {FORM_CHAT,
     CHUNK("'choices':[{'index':0,'delta':{'tool_calls':[{'id':'c','function':{'name':'f',"
           "'arguments':'{\\'a\\''}}]}}]")
         CHUNK("'choices':[{'index':0,'delta':{'tool_calls':[{'function':{'arguments':':1}'}}]},"
               "'finish_reason':'tool_calls'}]"),
     NULL},
    {FORM_CHAT,
     CHUNK("'choices':[{'index':0,'delta':{'tool_calls':[null]},'finish_reason':'stop'}]"), NULL},
    {FORM_MESSAGES, START OPEN("'0'", "{'type':'text','text':''}") END, NULL},
    {FORM_RESPONSES,
     "{'type':'response.created','response':{'id':'r','status':'in_progress'}}\n"
     "{'type':'response.completed','response':{'id':'r','status':'completed','output':[],"
     "'new':1}}\n",
     "{'id':'r','status':'completed','output':[],'new':1}"},
    {FORM_RESPONSES,
     "{'type':'response.incomplete','response':{'id':'r','status':'incomplete','output':[]}}\n",
     NULL},
    {FORM_RESPONSES, "{'type':'response.output_text.delta','delta':'x'}\n", NULL},
    {FORM_RESPONSES, "{'type':'response.completed'}\n", NULL},
    {FORM_RESPONSES, "", NULL},
};

START_TEST(streams_made_whole) {
    const struct golden *golden = &goldens[_i];
    struct form_reading reading = {.usage_state = USAGE_NONE};
    bool complete = collect(golden->form, bytes_from_str(js(golden->events)));
    ck_assert_int_eq(complete, golden->whole != NULL);
    if (complete) {
        same_json(buf_bytes(&out), js(golden->whole));
        read_bytes(buf_bytes(&out)); /* and it is an answer */
        ck_assert_int_eq(form_of(golden->form)->read_answer(&reader, &arena, &reading), OUTCOME_OK);
    }
}
END_TEST

/* No member of a hostile stream makes the work of one event long. */
START_TEST(a_stream_of_choices_without_end_is_refused) {
    for (unsigned i = 0; i < 1000; i++) {
        buf_printf(&lines,
                   "{\"choices\":[{\"index\":%u,\"delta\":{\"content\":\"x\"},"
                   "\"finish_reason\":\"stop\"}]}\n",
                   i);
    }
    ck_assert(!lines.failed);
    ck_assert(!collect(FORM_CHAT, buf_bytes(&lines)));
}
END_TEST

/* -- whole answers made streams, and whole again ------------------------------------------------
 */

static const struct whole {
    enum chat_form form;
    const char *json;
    const char *text; /* of all events together */
    unsigned words;   /* events with a text, when it comes in words */
} wholes[] = {
    {FORM_CHAT,
     "{'id':'c','object':'chat.completion','created':1,'model':'m','service_tier':'default',"
     "'system_fingerprint':'fp','new':{'a':[1,2.50]},'choices':[{'index':0,'message':{"
     "'role':'assistant','content':'Two words\\nand \\u00e9\\ud83d\\ude00','refusal':null,"
     "'annotations':[{'type':'url_citation','url_citation':{'url':'u'}}],"
     "'reasoning_content':'let me think'},'logprobs':{'content':[{'token':'Two','logprob':-1,"
     "'bytes':[84],'top_logprobs':[]}],'refusal':null},'finish_reason':'stop',"
     "'content_filter_results':{'hate':{'filtered':false}}}],'usage':{'prompt_tokens':1,"
     "'completion_tokens':2,'total_tokens':3,'prompt_tokens_details':{'cached_tokens':0}}}",
     "Two words\nand \xc3\xa9\xf0\x9f\x98\x80", 3},
    {FORM_CHAT,
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':null,'tool_calls':[{'id':'call_a',"
     "'type':'function','function':{'name':'f','arguments':'{\\'a\\': 1}'}},{'id':'call_b',"
     "'type':'custom','custom':{'name':'g','input':'x y'}}]},'logprobs':null,"
     "'finish_reason':'tool_calls'}],'usage':{'prompt_tokens':1,'completion_tokens':2}}",
     "", 0},
    {FORM_CHAT, /* n = 2, and what vLLM adds */
     "{'id':'c','object':'chat.completion','created':1,'model':'m','prompt_logprobs':null,"
     "'choices':[{'index':0,'message':{'role':'assistant','content':'a b','tool_calls':[]},"
     "'logprobs':null,'finish_reason':'stop','stop_reason':null},{'index':1,'message':{"
     "'role':'assistant','content':'','audio':{'id':'x','data':'AA==','expires_at':1,"
     "'transcript':'t'}},'logprobs':null,'finish_reason':'length','stop_reason':7}],"
     "'usage':{'prompt_tokens':1,'completion_tokens':2}}",
     "a b", 2},
    {FORM_CHAT, /* who reads one text reads the first */
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':'a b'},'logprobs':null,'finish_reason':'stop'},{"
     "'index':1,'message':{'role':'assistant','content':'c d'},'logprobs':null,"
     "'finish_reason':'stop'}],'usage':{'prompt_tokens':1,'completion_tokens':2}}",
     "a b", 2},
    {FORM_CHAT, /* parts, as some servers have them */
     "{'id':'c','object':'chat.completion','created':1,'model':'m','choices':[{'index':0,"
     "'message':{'role':'assistant','content':[{'type':'text','text':'a'},{'type':'text',"
     "'text':'b'}]},'logprobs':null,'finish_reason':'stop'}],'usage':{'prompt_tokens':1,"
     "'completion_tokens':2}}",
     "ab", 1},
    {FORM_COMPLETIONS,
     "{'id':'c','object':'text_completion','created':1,'model':'m','choices':[{'index':0,"
     "'text':' one \\'two\\'','logprobs':{'tokens':[' one'],'token_logprobs':[-1],"
     "'top_logprobs':[{' one':-1}],'text_offset':[0]},'finish_reason':'stop'},{'index':1,"
     "'text':'','logprobs':null,'finish_reason':'length'}],'usage':{'prompt_tokens':1,"
     "'completion_tokens':2}}",
     " one \"two\"", 2},
    {FORM_MESSAGES,
     "{'id':'m','type':'message','role':'assistant','model':'c','content':[{'type':'thinking',"
     "'thinking':'hm hm','signature':'EqQB'},{'type':'redacted_thinking','data':'ab'},"
     "{'type':'text','text':'Two words','citations':[{'type':'char_location','cited_text':'x'}]},"
     "{'type':'text','text':'more','citations':null},{'type':'text','text':'','citations':[]},"
     "{'type':'tool_use','id':'t','name':'f','input':{'a': [1, '\\n\\'x\\'']},"
     "'caller':{'type':'direct'}},{'type':'tool_use','id':'u','name':'g','input':{}},"
     "{'type':'server_tool_use','id':'s','name':'web_search','input':{'query':'q'}},"
     "{'type':'web_search_tool_result','tool_use_id':'s','content':[{'url':'u'}]}],"
     "'stop_reason':'stop_sequence','stop_sequence':'END','stop_details':null,"
     "'container':{'id':'k'},'usage':{'input_tokens':5,'cache_creation_input_tokens':1,"
     "'cache_read_input_tokens':2,'cache_creation':{'ephemeral_5m_input_tokens':1,"
     "'ephemeral_1h_input_tokens':0},'output_tokens':9,'service_tier':'standard',"
     "'server_tool_use':{'web_search_requests':1}}}",
     "Two wordsmore", 3},
    {FORM_MESSAGES,
     "{'id':'m','type':'message','role':'assistant','model':'c','content':[],"
     "'stop_reason':'end_turn','stop_sequence':null,'usage':{'input_tokens':5,"
     "'output_tokens':2}}",
     "", 0},
    {FORM_RESPONSES,
     "{'id':'r','object':'response','created_at':1,'status':'completed','error':null,"
     "'incomplete_details':null,'model':'m','output':[{'type':'reasoning','id':'rs',"
     "'summary':[{'type':'summary_text','text':'hm'}]},{'type':'message','id':'msg',"
     "'status':'completed','role':'assistant','content':[{'type':'output_text',"
     "'text':'Two words','annotations':[],'logprobs':[]},{'type':'refusal','refusal':'No'}]},"
     "{'type':'function_call','id':'fc','call_id':'call_1','name':'f','arguments':'{\\'a\\':1}',"
     "'status':'completed'}],'usage':{'input_tokens':1,'output_tokens':2,'total_tokens':3},"
     "'metadata':{},'new':[1]}",
     "Two words", 2},
};

static struct told {
    struct buf text;
    unsigned events, texts, lasts;
    bool after_last;
} told;

static void on_event(void *user, const struct chat_event *event) {
    (void)user;
    struct json_fault fault;
    ck_assert_msg(json_validate(event->data, &fault) == 0, "%s in %.*s", fault.reason,
                  (int)event->data.size, event->data.data);
    ck_assert_uint_eq(bytes_find(event->data, '\n'), event->data.size);
    buf_append_bytes(&lines, event->data);
    buf_append_char(&lines, '\n');
    buf_append_bytes(&told.text, event->text);
    told.events++;
    told.texts += event->text.size > 0;
    ck_assert(event->text.size == 0 || event->is_content);
    told.after_last = told.after_last || told.lasts > 0;
    told.lasts += event->is_last;
}

static bool replay(enum chat_form form, bool wants_usage, bool in_words) {
    struct form_replay how = {.event = on_event, .wants_usage = wants_usage, .in_words = in_words};
    buf_clear(&lines);
    buf_clear(&told.text);
    told.events = told.texts = told.lasts = 0;
    told.after_last = false;
    return form_of(form)->replay(&reader, &arena, &how);
}

/* Every event is one that the form's own reader understands in the same way. */
static void read_all_again(enum chat_form form) {
    struct bytes left = buf_bytes(&lines);
    unsigned lasts = 0;
    while (left.size > 0) {
        struct form_reading reading = {.usage_state = USAGE_NONE};
        size_t size = bytes_find(left, '\n');
        read_bytes(bytes_make(left.data, size));
        left = bytes_make(left.data + size + 1, left.size - size - 1);
        ck_assert_int_eq(form_of(form)->read_event(&reader, &arena, &reading), OUTCOME_OK);
        ck_assert(!reading.is_error);
        lasts += reading.is_last;
    }
    ck_assert_uint_eq(lasts, told.lasts);
}

START_TEST(whole_answers_go_round) {
    const struct whole *whole = &wholes[_i / 2];
    bool in_words = _i % 2 == 1;
    const char *json = js(whole->json);
    buf_init(&told.text, 0);
    read_json(json);
    ck_assert(replay(whole->form, true, in_words));
    ck_assert_msg(bytes_equal_str(buf_bytes(&told.text), whole->text), "%.*s", (int)told.text.size,
                  told.text.data);
    if (in_words) {
        ck_assert_uint_eq(told.texts, whole->words);
    }
    ck_assert(!told.after_last);
    ck_assert_uint_eq(told.lasts, form_of(whole->form)->ends_by_done ? 0 : 1);
    read_all_again(whole->form);
    ck_assert(collect(whole->form, buf_bytes(&lines)));
    same_json(buf_bytes(&out), json);
    buf_free(&told.text);
}
END_TEST

/* Told in words, a long answer with much beside its text does not become too long to be kept: the
 * words come several at a time then. */
START_TEST(long_answers_are_told_in_handfuls) {
    struct buf json;
    size_t all = 0;
    buf_init(&json, 0);
    buf_init(&told.text, 0);
    buf_append_str(&json, "{\"object\":\"chat.completion\",\"beside\":\"");
    for (int i = 0; i < 20000; i++) {
        buf_append_char(&json, 'x');
    }
    buf_append_str(&json, "\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":{"
                          "\"role\":\"assistant\",\"content\":\"");
    for (int i = 0; i < 20000; i++) {
        buf_append_str(&json, "word ");
    }
    buf_append_str(&json, "\"}}]}");
    read_bytes(buf_bytes(&json));
    ck_assert(replay(FORM_CHAT, false, true));
    all = lines.size;
    ck_assert_uint_eq(told.text.size, 100000);
    ck_assert_uint_gt(told.texts, 8);
    ck_assert_uint_lt(all, 4 * 1024 * 1024);
    buf_free(&told.text);
    buf_free(&json);
}
END_TEST

/* OpenAI's streams have the usage only for who asks for it. */
START_TEST(usage_is_told_to_who_wants_it) {
    const char *json = js(wholes[0].json);
    buf_init(&told.text, 0);
    read_json(json);
    ck_assert(replay(FORM_CHAT, true, false));
    unsigned events = told.events;
    buf_append_char(&lines, '\0');
    ck_assert_ptr_nonnull(strstr(lines.data, "\"choices\":[],\"usage\":{\"prompt_tokens\":1,"));
    ck_assert_ptr_nonnull(strstr(lines.data, "\"usage\":null"));
    read_json(json);
    ck_assert(replay(FORM_CHAT, false, false));
    ck_assert_uint_eq(told.events, events - 1);
    buf_append_char(&lines, '\0');
    ck_assert_ptr_null(strstr(lines.data, "\"usage\""));
    buf_free(&told.text);
}
END_TEST

START_TEST(an_answer_that_was_cut_ends_as_such) {
    buf_init(&told.text, 0);
    read_json(js("{'id':'r','status':'incomplete','incomplete_details':{"
                 "'reason':'max_output_tokens'},'output':[]}"));
    ck_assert(replay(FORM_RESPONSES, false, false));
    buf_append_char(&lines, '\0');
    ck_assert_ptr_nonnull(strstr(lines.data, "{\"type\":\"response.incomplete\""));
    ck_assert_ptr_null(strstr(lines.data, "response.completed"));
    buf_free(&told.text);
}
END_TEST

START_TEST(what_is_no_answer_makes_no_stream) {
    static const struct {
        enum chat_form form;
        const char *json;
    } rows[] = {
        {FORM_CHAT, "{}"},
        {FORM_CHAT, "{'choices':[]}"},
        {FORM_CHAT, "{'choices':[{'index':0,'text':'x'}]}"},
        {FORM_CHAT, "[]"},
        {FORM_COMPLETIONS, "{'choices':[{'message':{'content':'x'}}]}"},
        {FORM_COMPLETIONS, "{'choices':[{'text':null}]}"},
        {FORM_MESSAGES, "{'content':'x'}"},
        {FORM_MESSAGES, "7"},
        {FORM_RESPONSES, "{'output':{}}"},
    };
    buf_init(&told.text, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        read_json(js(rows[i].json));
        ck_assert_msg(!replay(rows[i].form, true, false), "%s", rows[i].json);
    }
    buf_free(&told.text);
    ck_assert_ptr_null(form_of(FORM_EMBEDDINGS)->replay);
    ck_assert_ptr_null(form_of(FORM_EMBEDDINGS)->collect);
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("forms_replay");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, streams_made_whole, 0, COUNT(goldens));
    tcase_add_test(tcase, a_stream_of_choices_without_end_is_refused);
    tcase_add_loop_test(tcase, whole_answers_go_round, 0, 2 * COUNT(wholes));
    tcase_add_test(tcase, long_answers_are_told_in_handfuls);
    tcase_add_test(tcase, usage_is_told_to_who_wants_it);
    tcase_add_test(tcase, an_answer_that_was_cut_ends_as_such);
    tcase_add_test(tcase, what_is_no_answer_makes_no_stream);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

/* OpenAI requests said in the Anthropic API: golden requests, and every member that the OpenAI
 * reference names: translated, left out on purpose, or refused by name. Never lost.
 */
#include "config.h"

#include "translate_test.h"

#include <stdio.h>

#define ASK(rest) "{'model':'x','messages':[{'role':'user','content':'hi'}]" rest "}"
#define SAID "'model':'its-model','max_tokens':4096"
#define HI "'messages':[{'role':'user','content':[{'type':'text','text':'hi'}]}]"
#define USER(content) "{'model':'x','messages':[{'role':'user','content':" content "}]}"
#define USER_SAID(content) "{" SAID ",'messages':[{'role':'user','content':" content "}]}"

struct golden {
    const char *asked, *said;
};

/* -- members of the request ---------------------------------------------------------------------
 */

static const struct golden members[] = {
    {ASK(""), "{" SAID "," HI "}"},
    {ASK(",'max_tokens':7"), "{'model':'its-model','max_tokens':7," HI "}"},
    {ASK(",'max_tokens':7,'max_completion_tokens':8"),
     "{'model':'its-model','max_tokens':8," HI "}"},
    {ASK(",'stream':true,'stream_options':{'include_usage':true,'include_obfuscation':false}"),
     "{" SAID ",'stream':true," HI "}"},
    {ASK(",'stream':false"), "{" SAID "," HI "}"},
    {ASK(",'temperature':1,'top_p':0.50,'top_k':3"),
     "{" SAID ",'temperature':1,'top_p':0.50,'top_k':3," HI "}"},
    {ASK(",'temperature':null,'top_p':null"), "{" SAID "," HI "}"},
    {ASK(",'stop':'END\\n'"), "{" SAID ",'stop_sequences':['END\\n']," HI "}"},
    {ASK(",'stop':['a','b']"), "{" SAID ",'stop_sequences':['a','b']," HI "}"},
    {ASK(",'stop':null"), "{" SAID "," HI "}"},
    {ASK(",'user':'u-1'"), "{" SAID ",'metadata':{'user_id':'u-1'}," HI "}"},
    {ASK(",'reasoning_effort':'low'"), "{" SAID ",'output_config':{'effort':'low'}," HI "}"},
    {ASK(",'reasoning_effort':'xhigh'"), "{" SAID ",'output_config':{'effort':'xhigh'}," HI "}"},
    {ASK(",'response_format':{'type':'text'}"), "{" SAID "," HI "}"},
    {ASK(",'reasoning_effort':'high','response_format':{'type':'json_schema','json_schema':{"
         "'name':'answer','strict':true,'schema':{'type':'object'}}}"),
     "{" SAID ",'output_config':{'effort':'high','format':{'type':'json_schema','schema':{"
     "'type':'object'}}}," HI "}"},
    /* what a schema is for stands in it, unless it says so itself */
    {ASK(",'response_format':{'type':'json_schema','json_schema':{'name':'a','description':'why',"
         "'schema':{'type':'object'}}}"),
     "{" SAID ",'output_config':{'format':{'type':'json_schema','schema':{'description':'why',"
     "'type':'object'}}}," HI "}"},
    {ASK(",'response_format':{'type':'json_schema','json_schema':{'name':'a','description':'why',"
         "'schema':{}}}"),
     "{" SAID
     ",'output_config':{'format':{'type':'json_schema','schema':{'description':'why'}}}," HI "}"},
    {ASK(",'response_format':{'type':'json_schema','json_schema':{'name':'a','description':'why',"
         "'schema':{'description':'own'}}}"),
     "{" SAID
     ",'output_config':{'format':{'type':'json_schema','schema':{'description':'own'}}}," HI "}"},
    /* what means nothing may be said; what is no part of the question is left out */
    {ASK(",'n':1,'store':false,'logprobs':false,'top_logprobs':0,'logit_bias':{},"
         "'presence_penalty':0,'frequency_penalty':0.0,'service_tier':'auto',"
         "'modalities':['text'],'metadata':{'a':'b'},'prompt_cache_key':'k',"
         "'prompt_cache_retention':'24h','safety_identifier':'s','parallel_tool_calls':true,"
         "'tools':[],'tool_choice':'auto','seed':null,'audio':null,'functions':null"),
     "{" SAID "," HI "}"},
    {ASK(",'service_tier':'default','tools':null,'tool_choice':'none'"), "{" SAID "," HI "}"},
};

START_TEST(members_of_a_chat) {
    translates(FORM_CHAT, FORM_MESSAGES, members[_i].asked, members[_i].said);
}
END_TEST

/* Values that cannot be said, and members that have no place there. Those of the reference first:
 * with the ones above they are all that it names. */
static const struct {
    const char *asked, *place;
} refused[] = {
    {",'audio':{'voice':'alloy','format':'wav'}", "audio"},
    {",'frequency_penalty':0.1", "frequency_penalty"},
    {",'function_call':'auto'", "function_call"},
    {",'functions':[{'name':'f'}]", "functions"},
    {",'logit_bias':{'50256':-100}", "logit_bias"},
    {",'logprobs':true", "logprobs"},
    {",'modalities':['text','audio']", "modalities"},
    {",'modalities':['audio']", "modalities"},
    {",'n':2", "n"},
    {",'prediction':{'type':'content','content':'x'}", "prediction"},
    {",'presence_penalty':-0.5", "presence_penalty"},
    {",'reasoning_effort':'minimal'", "reasoning_effort"},
    {",'reasoning_effort':'none'", "reasoning_effort"},
    {",'response_format':{'type':'json_object'}", "response_format"},
    {",'response_format':{'type':'grammar','grammar':'x'}", "response_format"},
    {",'response_format':{'type':'json_schema','json_schema':{'name':'a'}}", "response_format"},
    {",'response_format':{'type':'json_schema','json_schema':{'schema':{},'new':1}}",
     "response_format.json_schema.new"},
    {",'seed':7", "seed"},
    {",'service_tier':'flex'", "service_tier"},
    {",'service_tier':'priority'", "service_tier"},
    {",'store':true", "store"},
    {",'temperature':1.5", "temperature"},
    {",'temperature':2", "temperature"},
    {",'top_logprobs':5", "top_logprobs"},
    {",'verbosity':'low'", "verbosity"},
    {",'web_search_options':{'search_context_size':'low'}", "web_search_options"},
    /* what other servers have, and what nobody knows */
    {",'min_p':0.1", "min_p"},
    {",'repetition_penalty':1.1", "repetition_penalty"},
    {",'guided_json':{'type':'object'}", "guided_json"},
    {",'a_new_one':false", "a_new_one"},
    {",'a_\\u006eew_one':1", "a_\\u006eew_one"},
    {",'tool_choice':'required'", "tool_choice"},
    {",'prompt':'of another endpoint'", "prompt"},
    {",'tools':[],'tool_choice':{'type':'function','function':{'name':'f'}}", "tool_choice"},
};

START_TEST(members_that_cannot_be_said) {
    char body[512];
    snprintf(body, sizeof(body), ASK("%s"), refused[_i].asked);
    refuses(FORM_CHAT, FORM_MESSAGES, body, refused[_i].place);
}
END_TEST

START_TEST(a_name_without_end_is_cut_in_a_refusal) {
    char body[256];
    char name[101];
    memset(name, 'a', 100);
    name[100] = '\0';
    snprintf(body, sizeof(body), ASK(",'%s':1"), name);
    name[64] = '\0';
    refuses(FORM_CHAT, FORM_MESSAGES, body, name);
}
END_TEST

/* -- content ------------------------------------------------------------------------------------
 */

static const struct golden contents[] = {
    {USER("'a\\n\\u00e9'"), USER_SAID("[{'type':'text','text':'a\\n\\u00e9'}]")},
    {USER("[{'type':'text','text':'a'},{'type':'text','text':''},{'type':'text','text':'b',"
          "'cache_control':{'type':'ephemeral'}}]"),
     USER_SAID("[{'type':'text','text':'a'},{'type':'text','text':'b','cache_control':{"
               "'type':'ephemeral'}}]")},
    {USER("[{'type':'text','text':'what?'},{'type':'image_url','image_url':{"
          "'url':'data:image/png;base64,iVBORw0KGgo=','detail':'high'}}]"),
     USER_SAID("[{'type':'text','text':'what?'},{'type':'image','source':{'type':'base64',"
               "'media_type':'image/png','data':'iVBORw0KGgo='}}]")},
    {USER("[{'type':'image_url','image_url':{'url':'https:\\/\\/h.example\\/a?b=\\u0026'},"
          "'cache_control':{'type':'ephemeral','ttl':'1h'}}]"),
     USER_SAID("[{'type':'image','source':{'type':'url','url':'https://h.example/a?b=&'},"
               "'cache_control':{'type':'ephemeral','ttl':'1h'}}]")},
    {USER("[{'type':'file','file':{'filename':'a.pdf',"
          "'file_data':'data:application/pdf;base64,JVBERi0='}}]"),
     USER_SAID("[{'type':'document','source':{'type':'base64','media_type':'application/pdf',"
               "'data':'JVBERi0='},'title':'a.pdf'}]")},
    /* several system prompts, wherever they stand, in order */
    {"{'messages':[{'role':'system','content':'one'},{'role':'user','content':'hi'},"
     "{'role':'developer','content':[{'type':'text','text':'two'},{'type':'text','text':'three',"
     "'cache_control':{'type':'ephemeral'}}]},{'role':'assistant','content':'ho'},"
     "{'role':'user','content':'so?'}]}",
     "{" SAID ",'system':[{'type':'text','text':'one'},{'type':'text','text':'two'},"
     "{'type':'text','text':'three','cache_control':{'type':'ephemeral'}}],'messages':["
     "{'role':'user','content':[{'type':'text','text':'hi'}]},{'role':'assistant','content':["
     "{'type':'text','text':'ho'}]},{'role':'user','content':[{'type':'text','text':'so?'}]}]}"},
    /* turns of one side in a row are one; thoughts and notes of the answer stay out */
    {"{'messages':[{'role':'user','content':'a'},{'role':'user','content':'b'},"
     "{'role':'assistant','content':'c','refusal':null,'annotations':[],'audio':null,"
     "'function_call':null,'tool_calls':null,'reasoning_content':'hm'},"
     "{'role':'assistant','content':[{'type':'text','text':'d'},{'type':'refusal',"
     "'refusal':'no'}]},{'role':'assistant','content':null,'refusal':'No.'},"
     "{'role':'user','content':'e'}]}",
     "{" SAID ",'messages':[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text',"
     "'text':'b'}]},{'role':'assistant','content':[{'type':'text','text':'c'},{'type':'text',"
     "'text':'d'},{'type':'text','text':'no'},{'type':'text','text':'No.'}]},{'role':'user',"
     "'content':[{'type':'text','text':'e'}]}]}"},
    /* who says nothing has no turn: the API refuses blank texts and empty turns */
    {"{'messages':[{'role':'system','content':''},{'role':'user','content':'a'},"
     "{'role':'assistant','content':''},{'role':'user','content':' \\n\\t'},"
     "{'role':'user','content':'b'}]}",
     "{" SAID ",'messages':[{'role':'user','content':[{'type':'text','text':'a'},"
     "{'type':'text','text':'b'}]}]}"},
    {"{'messages':[{'role':'user','content':''},{'role':'assistant','content':'a'},"
     "{'role':'user','content':'b'},{'role':'assistant','content':[]}]}",
     "{" SAID ",'messages':[{'role':'assistant','content':[{'type':'text','text':'a'}]},"
     "{'role':'user','content':[{'type':'text','text':'b'}]}]}"},
    /* a beginning of the answer must not end in a blank */
    {"{'messages':[{'role':'user','content':'a '},{'role':'assistant','content':'b \\\\n "
     "\\r\\n'}]}",
     "{" SAID ",'messages':[{'role':'user','content':[{'type':'text','text':'a '}]},"
     "{'role':'assistant','content':[{'type':'text','text':'b \\\\n'}]}]}"},
};

START_TEST(content_of_a_chat) {
    translates(FORM_CHAT, FORM_MESSAGES, contents[_i].asked, contents[_i].said);
}
END_TEST

static const struct {
    const char *asked, *place;
} bad_contents[] = {
    {USER("[{'type':'text','text':'a'},{'type':'input_audio','input_audio':{'data':'AA=='}}]"),
     "messages[0].content[1]"},
    {USER("[{'type':'video_url','video_url':{'url':'https://h/v'}}]"), "messages[0].content[0]"},
    {USER("[{'type':'file','file':{'file_id':'file-1'}}]"), "messages[0].content[0].file.file_id"},
    {USER("[{'type':'file','file':{'file_data':'JVBERi0='}}]"), "messages[0].content[0]"},
    {USER("[{'type':'image_url','image_url':{'url':'file:///etc/passwd'}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'image_url','image_url':{'url':'data:image/png,raw'}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'image_url','image_url':{'url':'https://h/i','new':1}}]"),
     "messages[0].content[0].image_url.new"},
    {USER("[{'type':'image_url'}]"), "messages[0].content[0]"},
    {USER("[{'type':'text','text':'a','new':{'x':1}}]"), "messages[0].content[0].new"},
    {USER("[{'type':'text'}]"), "messages[0].content[0]"},
    {USER("['a']"), "messages[0].content[0]"},
    {USER("7"), "messages[0].content"},
    {USER("''"), "messages"},
    {"{'messages':[]}", "messages"},
    {"{'messages':[{'role':'user','content':'a','name':'bob'}]}", "messages[0].name"},
    {"{'messages':[{'role':'critic','content':'a'}]}", "messages[0].role"},
    {"{'messages':[{'role':'user','content':'a','tool_calls':[]}]}", "messages[0].tool_calls"},
    {"{'messages':[{'role':'user','content':'a','refusal':'no'}]}", "messages[0].refusal"},
    {"{'messages':[{'role':'assistant','content':'a','tool_call_id':'c'}]}",
     "messages[0].tool_call_id"},
    {"{'messages':[{'role':'function','content':'a'}]}", "messages[0].role"},
    {"{'messages':[{'content':'a'}]}", "messages[0].role"},
    {"{'messages':[{'role':'user','content':'a'},{'role':'assistant','audio':{'id':'a1'}}]}",
     "messages[1].audio"},
    {"{'messages':[{'role':'assistant','function_call':{'name':'f','arguments':'{}'}}]}",
     "messages[0].function_call"},
    {"{'messages':[{'role':'system','content':[{'type':'new'}]},{'role':'user','content':'a'}]}",
     "messages[0].content[0]"},
};

START_TEST(content_that_cannot_be_said) {
    refuses(FORM_CHAT, FORM_MESSAGES, bad_contents[_i].asked, bad_contents[_i].place);
}
END_TEST

/* -- tools --------------------------------------------------------------------------------------
 */

#define TOOL "{'type':'function','function':{'name':'f','parameters':{'type':'object'}}}"
#define TOOL_SAID "{'name':'f','input_schema':{'type':'object'}}"
#define CALL(id, arguments) \
    "{'id':'" id "','type':'function','function':{'name':'f','arguments':" arguments "}}"

static const struct golden tools[] = {
    {ASK(",'tools':[{'type':'function','function':{'name':'f','description':'does','strict':true,"
         "'parameters':{'type':'object','properties':{'a':{'type':'number'}}}}},"
         "{'type':'function','function':{'name':'g'}},{'type':'function','function':{'name':'h',"
         "'description':null,'strict':null,'parameters':{}},'cache_control':{"
         "'type':'ephemeral'}}]"),
     "{" SAID ",'tools':[{'name':'f','description':'does','strict':true,'input_schema':{"
     "'type':'object','properties':{'a':{'type':'number'}}}},{'name':'g','input_schema':{"
     "'type':'object','properties':{}}},{'name':'h','input_schema':{'type':'object',"
     "'properties':{}},'cache_control':{'type':'ephemeral'}}]," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':'auto'"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'auto'}," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':'none','parallel_tool_calls':false"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'none'}," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':'required','parallel_tool_calls':true"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'any'}," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':'required','parallel_tool_calls':false"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'any',"
     "'disable_parallel_tool_use':true}," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'function','function':{'name':'f'}}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'tool','name':'f'}," HI "}"},
    {ASK(",'tools':[" TOOL "],'parallel_tool_calls':false,'tool_choice':{'type':'function',"
         "'function':{'name':'f'}}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'tool','name':'f',"
     "'disable_parallel_tool_use':true}," HI "}"},
    {ASK(",'tools':[" TOOL "],'parallel_tool_calls':false"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'auto',"
     "'disable_parallel_tool_use':true}," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':null"), "{" SAID ",'tools':[" TOOL_SAID "]," HI "}"},
    /* Turns with calls and results. A text goes before the calls; results stand first in the
     * user's turn, right behind them, whatever the user says then. */
    {"{'messages':[{'role':'user','content':'hi'},{'role':'assistant','content':'I look.',"
     "'tool_calls':[" CALL("c1", "'{\\'a\\': 1}'") "," CALL(
         "c2",
         "''") "]},"
               "{'role':'tool','tool_call_id':'c1','content':'one'},{'role':'tool','tool_call_id':'"
               "c2',"
               "'content':[{'type':'text','text':'two'},{'type':'text','text':'2'}]},"
               "{'role':'user','content':'and?'},{'role':'assistant','content':null,'tool_calls':"
               "[" CALL("c3", "' {}'") "]},{'role':'tool','tool_call_id':'c3','content':''}]}",
     "{" SAID ",'messages':[{'role':'user','content':[{'type':'text','text':'hi'}]},"
     "{'role':'assistant','content':[{'type':'text','text':'I look.'},{'type':'tool_use',"
     "'id':'c1','name':'f','input':{'a':1}},{'type':'tool_use','id':'c2','name':'f','input':{}}]},"
     "{'role':'user','content':[{'type':'tool_result','tool_use_id':'c1','content':[{"
     "'type':'text','text':'one'}]},{'type':'tool_result','tool_use_id':'c2','content':[{"
     "'type':'text','text':'two'},{'type':'text','text':'2'}]},{'type':'text','text':'and?'}]},"
     "{'role':'assistant','content':[{'type':'tool_use','id':'c3','name':'f','input':{}}]},"
     "{'role':'user','content':[{'type':'tool_result','tool_use_id':'c3'}]}]}"},
};

START_TEST(tools_of_a_chat) {
    translates(FORM_CHAT, FORM_MESSAGES, tools[_i].asked, tools[_i].said);
}
END_TEST

#define CALLED(call) "{'messages':[{'role':'assistant','tool_calls':[" call "]}]}"

static const struct {
    const char *asked, *place;
} bad_tools[] = {
    {ASK(",'tools':[" TOOL ",{'type':'custom','custom':{'name':'g'}}]"), "tools[1]"},
    {ASK(",'tools':[{'type':'web_search'}]"), "tools[0]"},
    {ASK(",'tools':[{'type':'function','function':{'description':'no name'}}]"), "tools[0]"},
    {ASK(",'tools':[{'type':'function','function':{'name':'f','new':true}}]"),
     "tools[0].function.new"},
    {ASK(",'tools':[{'type':'function','function':{'name':'f'},'new':true}]"), "tools[0].new"},
    {ASK(",'tools':[" TOOL "],'tool_choice':'sometimes'"), "tool_choice"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'function'}"), "tool_choice"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'custom','custom':{'name':'f'}}"),
     "tool_choice"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'allowed_tools','allowed_tools':{"
         "'mode':'auto','tools':[]}}"),
     "tool_choice"},
    {CALLED(CALL("c", "'{\\'a\\''")), "messages[0].tool_calls[0].function.arguments"},
    {CALLED(CALL("c", "'[1]'")), "messages[0].tool_calls[0].function.arguments"},
    {CALLED(CALL("c", "'7'")), "messages[0].tool_calls[0].function.arguments"},
    {CALLED(CALL("c", "'{}'") ",{'id':'d','type':'custom','custom':{'name':'g','input':'x'}}"),
     "messages[0].tool_calls[1]"},
    {CALLED("{'type':'function','function':{'name':'f','arguments':'{}'}}"),
     "messages[0].tool_calls[0]"},
    {CALLED("{'id':'c','type':'function','function':{'name':'f','arguments':'{}'},'new':1}"),
     "messages[0].tool_calls[0].new"},
    {CALLED("{'id':'c','type':'function','function':{'name':'f','arguments':'{}','new':1}}"),
     "messages[0].tool_calls[0].function.new"},
    {"{'messages':[{'role':'tool','content':'x'}]}", "messages[0].tool_call_id"},
};

START_TEST(tools_that_cannot_be_said) {
    refuses(FORM_CHAT, FORM_MESSAGES, bad_tools[_i].asked, bad_tools[_i].place);
}
END_TEST

/* -- prompts ------------------------------------------------------------------------------------
 */

START_TEST(prompts) {
    static const char said[] =
        "{'model':'its-model','max_tokens':16,'messages':[{'role':'user','content':'Once'}]}";
    translates(FORM_COMPLETIONS, FORM_MESSAGES, "{'prompt':'Once','max_tokens':16}", said);
    translates(FORM_COMPLETIONS, FORM_MESSAGES,
               "{'model':'x','prompt':['Once'],'max_tokens':16,'best_of':1,'echo':false,'n':1,"
               "'logprobs':null,'suffix':null,'seed':null,'logit_bias':null}",
               said);
    translates(FORM_COMPLETIONS, FORM_MESSAGES,
               "{'prompt':'Once','stop':['.'],'temperature':0,'user':'u','stream':true}",
               "{" SAID ",'stream':true,'stop_sequences':['.'],'temperature':0,'metadata':{"
               "'user_id':'u'},'messages':[{'role':'user','content':'Once'}]}");
}
END_TEST

START_TEST(prompts_that_cannot_be_said) {
    static const struct {
        const char *asked, *place;
    } rows[] = {
        {"{'prompt':['a','b']}", "prompt"},
        {"{'prompt':[1,2,3]}", "prompt"},
        {"{'prompt':[[1,2]]}", "prompt"},
        {"{'prompt':[]}", "prompt"},
        {"{'max_tokens':1}", "prompt"},
        {"{'prompt':'a','suffix':'z'}", "suffix"},
        {"{'prompt':'a','messages':[]}", "messages"},
        {"{'prompt':'a','echo':true}", "echo"},
        {"{'prompt':'a','best_of':2}", "best_of"},
        {"{'prompt':'a','n':3}", "n"},
        {"{'prompt':'a','logprobs':0}", "logprobs"}, /* here 0 asks for them too */
        {"{'prompt':'a','logprobs':5}", "logprobs"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        refuses(FORM_COMPLETIONS, FORM_MESSAGES, rows[i].asked, rows[i].place);
    }
}
END_TEST

/* -- and if there is no memory ------------------------------------------------------------------
 */

START_TEST(without_memory_it_is_no_refusal) {
    struct arena small;
    arena_init(&small, 64, 64);
    ask(FORM_CHAT, USER("[{'type':'image_url','image_url':{'url':'https:\\/\\/h.example\\/"
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}}]"));
    attempt.arena = &small;
    ck_assert_int_eq(translate_asked(FORM_MESSAGES), OUTCOME_NO_MEMORY);
    attempt.arena = &arena;
    arena_fini(&small);
    struct dialect_body little = {.count = 0};
    char memory[64];
    for (size_t size = 0; size <= sizeof(memory); size++) {
        buf_init_fixed(&little.own, memory, size);
        ask(FORM_CHAT, "{'messages':[{'role':'user','content':'a'},{'role':'assistant',"
                       "'content':' b '}]}");
        ck_assert_int_eq(translate_into_pieces(&attempt, FORM_MESSAGES, &reader, &little),
                         OUTCOME_NO_MEMORY);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("translate_to_messages");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, translate_open, translate_close);
    tcase_add_loop_test(tcase, members_of_a_chat, 0, COUNT(members));
    tcase_add_loop_test(tcase, members_that_cannot_be_said, 0, COUNT(refused));
    tcase_add_test(tcase, a_name_without_end_is_cut_in_a_refusal);
    tcase_add_loop_test(tcase, content_of_a_chat, 0, COUNT(contents));
    tcase_add_loop_test(tcase, content_that_cannot_be_said, 0, COUNT(bad_contents));
    tcase_add_loop_test(tcase, tools_of_a_chat, 0, COUNT(tools));
    tcase_add_loop_test(tcase, tools_that_cannot_be_said, 0, COUNT(bad_tools));
    tcase_add_test(tcase, prompts);
    tcase_add_test(tcase, prompts_that_cannot_be_said);
    tcase_add_test(tcase, without_memory_it_is_no_refusal);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

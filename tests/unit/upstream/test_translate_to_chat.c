/* Anthropic requests said in the OpenAI API: golden requests, and every member that the Anthropic
 * reference names: translated, left out on purpose, or refused by name. Never lost.
 */
#include "config.h"

#include "translate_test.h"

#include <stdio.h>

#define ASK(rest) "{'model':'x','max_tokens':7,'messages':[{'role':'user','content':'hi'}]" rest "}"
#define SAID "'model':'its-model','max_tokens':7"
#define HI "'messages':[{'role':'user','content':'hi'}]"
#define USER(content) "{'max_tokens':7,'messages':[{'role':'user','content':" content "}]}"
#define USER_SAID(content) "{" SAID ",'messages':[{'role':'user','content':" content "}]}"

struct golden {
    const char *asked, *said;
};

/* -- members of the request ---------------------------------------------------------------------
 */

static const struct golden members[] = {
    {ASK(""), "{" SAID "," HI "}"},
    {ASK(",'stream':true"),
     "{" SAID ",'stream':true,'stream_options':{'include_usage':true}," HI "}"},
    {ASK(",'stream':false"), "{" SAID "," HI "}"},
    {ASK(",'temperature':0.30,'top_p':0.9"), "{" SAID ",'temperature':0.30,'top_p':0.9," HI "}"},
    {ASK(",'stop_sequences':['a','b\\n']"), "{" SAID ",'stop':['a','b\\n']," HI "}"},
    {ASK(",'stop_sequences':[]"), "{" SAID "," HI "}"}, /* OpenAI refuses an empty list */
    {ASK(",'metadata':{'user_id':'u-1'}"), "{" SAID ",'user':'u-1'," HI "}"},
    {ASK(",'metadata':{'user_id':null},'service_tier':'standard_only','cache_control':{"
         "'type':'ephemeral'},'top_k':null,'container':null,'tools':[],'tool_choice':{"
         "'type':'auto'}"),
     "{" SAID "," HI "}"},
    {ASK(",'tools':[],'tool_choice':{'type':'none'}"), "{" SAID "," HI "}"},
    {ASK(",'thinking':{'type':'disabled'}"), "{" SAID "," HI "}"},
    {ASK(",'thinking':{'type':'adaptive','display':'omitted'}"), "{" SAID "," HI "}"},
    {ASK(",'thinking':{'type':'enabled','budget_tokens':1024}"),
     "{" SAID ",'reasoning_effort':'low'," HI "}"},
    {ASK(",'thinking':{'type':'enabled','budget_tokens':10000}"),
     "{" SAID ",'reasoning_effort':'medium'," HI "}"},
    {ASK(",'thinking':{'type':'enabled','budget_tokens':32000}"),
     "{" SAID ",'reasoning_effort':'high'," HI "}"},
    {ASK(",'thinking':{'type':'enabled','budget_tokens':32000},'output_config':{'effort':'low'}"),
     "{" SAID ",'reasoning_effort':'low'," HI "}"},
    {ASK(",'output_config':{'effort':'xhigh','format':{'type':'json_schema','schema':{"
         "'type':'object'}}}"),
     "{" SAID ",'reasoning_effort':'xhigh','response_format':{'type':'json_schema',"
     "'json_schema':{'name':'answer','strict':true,'schema':{'type':'object'}}}," HI "}"},
    {ASK(",'output_config':{}"), "{" SAID "," HI "}"},
    /* system prompts: a text, blocks, nothing */
    {ASK(",'system':'be \\n brief'"),
     "{" SAID ",'messages':[{'role':'system','content':'be \\n brief'},{'role':'user',"
     "'content':'hi'}]}"},
    {ASK(",'system':[{'type':'text','text':'a'},{'type':'text','text':'b\\'','cache_control':{"
         "'type':'ephemeral'}}]"),
     "{" SAID ",'messages':[{'role':'system','content':'a\\nb\\''},{'role':'user',"
     "'content':'hi'}]}"},
    {ASK(",'system':''"), "{" SAID "," HI "}"},
    {ASK(",'system':[]"), "{" SAID "," HI "}"},
};

START_TEST(members_of_a_message) {
    translates(FORM_MESSAGES, FORM_CHAT, members[_i].asked, members[_i].said);
}
END_TEST

START_TEST(openai_itself_has_another_name_for_the_limit) {
    provider.url = "https://api.openai.com/v1";
    translates(FORM_MESSAGES, FORM_CHAT, ASK(""),
               "{'model':'its-model','max_completion_tokens':7," HI "}");
    provider.url = "https://api.openai.com.example/v1";
    translates(FORM_MESSAGES, FORM_CHAT, ASK(""), "{" SAID "," HI "}");
}
END_TEST

static const struct {
    const char *asked, *place;
} refused[] = {
    {",'top_k':40", "top_k"},
    {",'container':'container_1'", "container"},
    {",'inference_geo':'us'", "inference_geo"},
    {",'mcp_servers':[{'type':'url','url':'https://h','name':'n'}]", "mcp_servers"},
    {",'context_management':{'edits':[]}", "context_management"},
    {",'speed':'fast'", "speed"},
    {",'a_new_one':0", "a_new_one"},
    {",'thinking':{'type':'enabled','budget_tokens':1024,'new':1}", "thinking.new"},
    {",'thinking':{'type':'new'}", "thinking.type"},
    {",'thinking':{}", "thinking.type"},
    {",'output_config':{'effort':'max'}", "output_config.effort"},
    {",'output_config':{'task_budget':{'type':'tokens','total':7}}", "output_config.task_budget"},
    {",'output_config':{'format':{'type':'grammar'}}", "output_config.format"},
    {",'output_config':{'format':{'type':'json_schema'}}", "output_config.format"},
    {",'output_config':{'format':{'type':'json_schema','schema':{},'new':1}}",
     "output_config.format.new"},
    {",'system':[{'type':'image','source':{}}]", "system"},
    {",'system':[{'type':'text','text':'a'},{'type':'text','text':'b','new':1}]", "system[1].new"},
    {",'tool_choice':{'type':'any'}", "tool_choice"},
    {",'tools':[],'tool_choice':{'type':'tool','name':'f'}", "tool_choice"},
};

START_TEST(members_that_cannot_be_said) {
    char body[512];
    snprintf(body, sizeof(body), ASK("%s"), refused[_i].asked);
    refuses(FORM_MESSAGES, FORM_CHAT, body, refused[_i].place);
}
END_TEST

/* -- content ------------------------------------------------------------------------------------
 */

static const struct golden contents[] = {
    {USER("'a\\n\\u00e9'"), USER_SAID("'a\\n\\u00e9'")},
    {USER("[{'type':'text','text':'a','cache_control':{'type':'ephemeral'},'citations':null}]"),
     USER_SAID("'a'")},
    {USER("[{'type':'text','text':'a'},{'type':'text','text':'b'}]"),
     USER_SAID("[{'type':'text','text':'a'},{'type':'text','text':'b'}]")},
    {USER("[{'type':'image','source':{'type':'base64','media_type':'image/png',"
          "'data':'iVBORw0KGgo='},'cache_control':{'type':'ephemeral'}},{'type':'image',"
          "'source':{'type':'url','url':'https://h.example/a'}},{'type':'text','text':'what?'}]"),
     USER_SAID("[{'type':'image_url','image_url':{'url':'data:image/png;base64,iVBORw0KGgo='}},"
               "{'type':'image_url','image_url':{'url':'https://h.example/a'}},{'type':'text',"
               "'text':'what?'}]")},
    {USER("[{'type':'document','source':{'type':'base64','media_type':'application/pdf',"
          "'data':'JVBERi0='},'title':'a.pdf','context':'from Bob','citations':{'enabled':false}},"
          "{'type':'document','source':{'type':'base64','media_type':'application/pdf',"
          "'data':'JVBERi0='}}]"),
     USER_SAID("[{'type':'text','text':'from Bob'},{'type':'file','file':{'filename':'a.pdf',"
               "'file_data':'data:application/pdf;base64,JVBERi0='}},{'type':'file','file':{"
               "'filename':'document.pdf','file_data':'data:application/pdf;base64,JVBERi0='}}]")},
    {USER("[{'type':'document','source':{'type':'text','media_type':'text/plain','data':'words'},"
          "'title':'T','context':'C'},{'type':'document','source':{'type':'text',"
          "'media_type':'text/plain','data':'more'}}]"),
     USER_SAID("[{'type':'text','text':'T'},{'type':'text','text':'C'},{'type':'text',"
               "'text':'words'},{'type':'text','text':'more'}]")},
    /* the assistant's turn is one text; thoughts, signed or hidden, stay out */
    {"{'max_tokens':7,'messages':[{'role':'user','content':'a'},{'role':'assistant','content':["
     "{'type':'thinking','thinking':'hm','signature':'EqQB'},{'type':'redacted_thinking',"
     "'data':'ab'},{'type':'text','text':'b','citations':[]},{'type':'text','text':'c'}]},"
     "{'role':'user','content':'d'},{'role':'assistant','content':'e'},{'role':'user',"
     "'content':[]},{'role':'user','content':'f'}]}",
     "{" SAID ",'messages':[{'role':'user','content':'a'},{'role':'assistant',"
     "'content':'b\\nc'},{'role':'user','content':'d'},{'role':'assistant','content':'e'},"
     "{'role':'user','content':'f'}]}"},
};

START_TEST(content_of_a_message) {
    translates(FORM_MESSAGES, FORM_CHAT, contents[_i].asked, contents[_i].said);
}
END_TEST

#define LAST(content)                                                                         \
    "{'max_tokens':7,'messages':[{'role':'user','content':'a'},{'role':'assistant','content'" \
    ":" content "},{'role':'user','content':'b'}]}"

static const struct {
    const char *asked, *place;
} bad_contents[] = {
    {USER("[{'type':'image','source':{'type':'file','file_id':'file_1'}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'image'}]"), "messages[0].content[0]"},
    {USER("[{'type':'image','source':{'type':'url','url':'https://h'},'new':1}]"),
     "messages[0].content[0].new"},
    {USER("[{'type':'document','source':{'type':'url','url':'https://h/a.pdf'}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'document','source':{'type':'content','content':'x'}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'document','source':{'type':'text','data':'x'},'citations':{"
          "'enabled':true}}]"),
     "messages[0].content[0]"},
    {USER("[{'type':'text','text':'a'},{'type':'search_result','source':'s','title':'t',"
          "'content':[]}]"),
     "messages[0].content[1]"},
    {USER("[{'type':'container_upload','file_id':'f'}]"), "messages[0].content[0]"},
    {USER("[{'type':'text','text':'a','new':1}]"), "messages[0].content[0].new"},
    {USER("[{'type':'text','text':'a'},{'type':'text','text':'b','new':1}]"),
     "messages[0].content[1].new"},
    {USER("['a']"), "messages[0].content[0]"},
    {USER("7"), "messages[0].content"},
    {"{'max_tokens':7,'messages':[{'role':'user'}]}", "messages[0].content"},
    {"{'max_tokens':7,'messages':[{'role':'user','content':'a','new':1}]}", "messages[0].new"},
    {"{'max_tokens':7,'messages':[{'role':'system','content':'a'}]}", "messages[0].role"},
    {"{'max_tokens':7,'messages':[{'content':'a'}]}", "messages[0].role"},
    /* a beginning that the answer goes on from: here it would begin anew */
    {"{'max_tokens':7,'messages':[{'role':'user','content':'a'},{'role':'assistant',"
     "'content':'The answer is ('}]}",
     "messages[1].role"},
    {LAST("[{'type':'server_tool_use','id':'s','name':'web_search','input':{}}]"),
     "messages[1].content[0]"},
    {LAST("[{'type':'text','text':'x'},{'type':'web_search_tool_result','tool_use_id':'s',"
          "'content':[]}]"),
     "messages[1].content[1]"},
    {LAST("[{'type':'text','text':'x','citations':[{'type':'char_location'}]}]"),
     "messages[1].content[0].citations"},
    {LAST("[{'type':'image','source':{'type':'url','url':'https://h'}}]"),
     "messages[1].content[0]"},
};

START_TEST(content_that_cannot_be_said) {
    refuses(FORM_MESSAGES, FORM_CHAT, bad_contents[_i].asked, bad_contents[_i].place);
}
END_TEST

/* -- tools --------------------------------------------------------------------------------------
 */

#define TOOL "{'name':'f','input_schema':{'type':'object'}}"
#define TOOL_SAID "{'type':'function','function':{'name':'f','parameters':{'type':'object'}}}"

static const struct golden tools[] = {
    {ASK(",'tools':[{'type':'custom','name':'f','description':'does','strict':true,"
         "'input_schema':{'type':'object'},'cache_control':{'type':'ephemeral'},"
         "'eager_input_streaming':true,'defer_loading':false},{'type':null,'name':'g',"
         "'input_schema':{'type':'object'}}]"),
     "{" SAID ",'tools':[{'type':'function','function':{'name':'f','description':'does',"
     "'strict':true,'parameters':{'type':'object'}}},{'type':'function','function':{'name':'g',"
     "'parameters':{'type':'object'}}}]," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'auto'}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':'auto'," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'auto','disable_parallel_tool_use':true}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':'auto','parallel_tool_calls':false," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'any','disable_parallel_tool_use':false}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':'required'," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'none'}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':'none'," HI "}"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'tool','name':'f',"
         "'disable_parallel_tool_use':true}"),
     "{" SAID ",'tools':[" TOOL_SAID "],'tool_choice':{'type':'function','function':{"
     "'name':'f'}},'parallel_tool_calls':false," HI "}"},
    /* results are messages of their own, first, right behind the calls; a failure says that it is
     * one */
    {"{'max_tokens':7,'messages':[{'role':'user','content':'hi'},{'role':'assistant','content':["
     "{'type':'text','text':'I look.'},{'type':'tool_use','id':'t1','name':'f','input':{"
     "'a': '\\n'},'caller':{'type':'direct'}},{'type':'tool_use','id':'t2','name':'g',"
     "'input':{}}]},{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1',"
     "'content':'one','cache_control':{'type':'ephemeral'}},{'type':'tool_result',"
     "'tool_use_id':'t2','is_error':true,'content':[{'type':'text','text':'no'},{'type':'text',"
     "'text':'way'}]},{'type':'text','text':'and?'}]},{'role':'assistant','content':[{"
     "'type':'tool_use','id':'t3','name':'f','input':{}}]},{'role':'user','content':[{"
     "'type':'tool_result','tool_use_id':'t3','is_error':false}]}]}",
     "{" SAID ",'messages':[{'role':'user','content':'hi'},{'role':'assistant',"
     "'content':'I look.','tool_calls':[{'id':'t1','type':'function','function':{'name':'f',"
     "'arguments':'{\\'a\\': \\'\\\\n\\'}'}},{'id':'t2','type':'function','function':{"
     "'name':'g','arguments':'{}'}}]},{'role':'tool','tool_call_id':'t1','content':'one'},"
     "{'role':'tool','tool_call_id':'t2','content':'Error: no\\nway'},{'role':'user',"
     "'content':'and?'},{'role':'assistant','content':'','tool_calls':[{'id':'t3',"
     "'type':'function','function':{'name':'f','arguments':'{}'}}]},{'role':'tool',"
     "'tool_call_id':'t3','content':''}]}"},
    /* a result behind the user's words goes before them: OpenAI wants it right behind the call */
    {"{'max_tokens':7,'messages':[{'role':'assistant','content':[{'type':'tool_use','id':'t1',"
     "'name':'f','input':{}}]},{'role':'user','content':[{'type':'text','text':'a'},{"
     "'type':'tool_result','tool_use_id':'t1','content':'r'},{'type':'text','text':'b'}]}]}",
     "{" SAID ",'messages':[{'role':'assistant','content':'','tool_calls':[{'id':'t1',"
     "'type':'function','function':{'name':'f','arguments':'{}'}}]},{'role':'tool',"
     "'tool_call_id':'t1','content':'r'},{'role':'user','content':[{'type':'text','text':'a'},"
     "{'type':'text','text':'b'}]}]}"},
};

START_TEST(tools_of_a_message) {
    translates(FORM_MESSAGES, FORM_CHAT, tools[_i].asked, tools[_i].said);
}
END_TEST

static const struct {
    const char *asked, *place;
} bad_tools[] = {
    {ASK(",'tools':[" TOOL ",{'type':'web_search_20250305','name':'web_search'}]"), "tools[1]"},
    {ASK(",'tools':[{'type':'computer_20250124','name':'computer','display_width_px':1}]"),
     "tools[0]"},
    {ASK(",'tools':[{'name':'f','input_schema':{},'input_examples':[{}]}]"),
     "tools[0].input_examples"},
    {ASK(",'tools':[{'name':'f','input_schema':{},'allowed_callers':['direct']}]"),
     "tools[0].allowed_callers"},
    {ASK(",'tools':[{'name':'f','input_schema':{},'defer_loading':true}]"),
     "tools[0].defer_loading"},
    {ASK(",'tools':[{'name':'f','input_schema':{},'new':1}]"), "tools[0].new"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'new'}"), "tool_choice"},
    {ASK(",'tools':[" TOOL "],'tool_choice':{'type':'auto','new':1}"), "tool_choice.new"},
    {USER("[{'type':'tool_result','tool_use_id':'t','content':[{'type':'image','source':{"
          "'type':'url','url':'https://h'}}]}]"),
     "messages[0].content[0].content"},
    {USER("[{'type':'tool_result','tool_use_id':'t','content':[{'type':'text','text':'a',"
          "'new':1}]}]"),
     "messages[0].content[0].content[0].new"},
    {USER("[{'type':'tool_result','tool_use_id':'t','new':1}]"), "messages[0].content[0].new"},
    {LAST("[{'type':'text','text':'x'},{'type':'tool_use','id':'t','name':'f','input':{},"
          "'toolset_name':'s'}]"),
     "messages[1].content[1].toolset_name"},
};

START_TEST(tools_that_cannot_be_said) {
    refuses(FORM_MESSAGES, FORM_CHAT, bad_tools[_i].asked, bad_tools[_i].place);
}
END_TEST

START_TEST(without_memory_it_is_no_refusal) {
    struct dialect_body little = {.count = 0};
    char memory[128];
    for (size_t size = 0; size <= sizeof(memory); size++) {
        buf_init_fixed(&little.own, memory, size);
        ask(FORM_MESSAGES, ASK(",'system':'be brief','tools':[" TOOL "]"));
        ck_assert_int_eq(translate_into_pieces(&attempt, FORM_CHAT, &reader, &little),
                         OUTCOME_NO_MEMORY);
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("translate_to_chat");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, translate_open, translate_close);
    tcase_add_loop_test(tcase, members_of_a_message, 0, COUNT(members));
    tcase_add_test(tcase, openai_itself_has_another_name_for_the_limit);
    tcase_add_loop_test(tcase, members_that_cannot_be_said, 0, COUNT(refused));
    tcase_add_loop_test(tcase, content_of_a_message, 0, COUNT(contents));
    tcase_add_loop_test(tcase, content_that_cannot_be_said, 0, COUNT(bad_contents));
    tcase_add_loop_test(tcase, tools_of_a_message, 0, COUNT(tools));
    tcase_add_loop_test(tcase, tools_that_cannot_be_said, 0, COUNT(bad_tools));
    tcase_add_test(tcase, without_memory_it_is_no_refusal);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

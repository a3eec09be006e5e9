/* How each dialect asks: address, header lines, body. What its answers say is in test_dialects.c.
 */
#include "config.h"

#include "dialect_test.h"

#include <stdio.h>

static struct dialect_body body;

static void setup(void) {
    dialect_open();
    body = (struct dialect_body){.count = 0};
    buf_init(&body.own, 0);
}

static void teardown(void) {
    buf_free(&body.own);
    dialect_close();
}

static const char *address_of(const struct dialect *dialect) {
    buf_clear(&out);
    ck_assert_int_eq(dialect->address(&attempt, dialect->form[chat.form], &out), OUTCOME_OK);
    return text_of(&out);
}

static const char *fields_of(const struct dialect *dialect) {
    buf_clear(&out);
    dialect->fields(&provider, &out);
    return text_of(&out);
}

static const char *request_fields_of(const struct dialect *dialect) {
    buf_clear(&out);
    dialect->request_fields(&attempt, &out);
    return text_of(&out);
}

/* Where the value of a member stands in the body; `inside` another one, or NULL. */
static struct chat_span place(const char *inside, const char *name) {
    int object = inside != NULL ? json_get(&reader, 0, inside) : 0;
    int value = json_get(&reader, object, name);
    return value < 0
               ? (struct chat_span){0, 0}
               : (struct chat_span){json_offset(&reader, value), json_whole(&reader, value).size};
}

/* The body as it is passed on; what the API knows of it is what api_chat.c would have read. */
static const char *spliced(const char *json, bool wants_usage, const char *limit_name) {
    chat.body = bytes_from_str(js(json));
    read_bytes(chat.body);
    chat.model = place(NULL, "model");
    chat.stream = place(NULL, "stream");
    chat.stream_options = place(NULL, "stream_options");
    chat.include_usage = place("stream_options", "include_usage");
    buf_clear(&body.own);
    body.count = 0;
    body.size = 0;
    ck_assert(dialect_splice(&attempt, wants_usage, limit_name, &body));
    buf_clear(&out);
    for (unsigned i = 0; i < body.count; i++) {
        buf_append_bytes(&out, body.pieces[i]);
    }
    ck_assert_uint_eq(out.size, body.size);
    read_bytes(buf_bytes(&out));
    return text_of(&out);
}

/* Byte for byte what the client wrote, but for the model's name and what must be added. */
START_TEST(a_body_is_passed_on_as_it_came) {
    static const struct {
        const char *body, *passed;
        bool wants_stream, wants_usage;
    } rows[] = {
        {"{'model':'x','messages':[{'role':'user','content':'\\u00e9 \\/'}],'new':[1.0, 1e2]}",
         "{'model':'m/1\\'','messages':[{'role':'user','content':'\\u00e9 \\/'}],'new':[1.0, 1e2]}",
         false, false},
        {" { 'new' : { 'model' : 'y' } , 'model' : 'x' } ",
         " { 'new' : { 'model' : 'y' } , 'model' : 'm/1\\'' } ", false, false},
        /* streams: asked for, and for their usage */
        {"{'model':'x','messages':[]}", "{'stream':true,'model':'m/1\\'','messages':[]}", true,
         false},
        {"{'model':'x','stream':true}",
         "{'stream_options':{'include_usage':true},'model':'m/1\\'','stream':true}", true, true},
        {"{'stream_options':{},'model':'x','stream':true}",
         "{'stream_options':{'include_usage':true},'model':'m/1\\'','stream':true}", true, true},
        {"{'stream_options':{ \n },'model':'x','stream':true}",
         "{'stream_options':{'include_usage':true \n },'model':'m/1\\'','stream':true}", true,
         true},
        {"{'stream_options':null,'model':'x','stream':true}",
         "{'stream_options':{'include_usage':true},'model':'m/1\\'','stream':true}", true, true},
        {"{'stream':true,'stream_options':{'new':1},'model':'x'}",
         "{'stream':true,'stream_options':{'include_usage':true,'new':1},'model':'m/1\\''}", true,
         true},
        {"{'stream':true,'stream_options':{'new':1,'include_usage':false},'model':'x'}",
         "{'stream':true,'stream_options':{'new':1,'include_usage':true},'model':'m/1\\''}", true,
         true},
        {"{'stream':true,'stream_options':{'include_usage':true},'model':'x'}",
         "{'stream':true,'stream_options':{'include_usage':true},'model':'m/1\\''}", true, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        chat.wants_stream = rows[i].wants_stream;
        ck_assert_str_eq(spliced(rows[i].body, rows[i].wants_usage, NULL), js(rows[i].passed));
    }
}
END_TEST

/* A limit that we chose has the name that the server knows; the client's own stays. */
START_TEST(the_name_of_the_limit) {
    static const char ours[] = "{'max_tokens':100,'model':'x'}";
    ck_assert_str_eq(spliced(ours, false, "max_completion_tokens"),
                     js("{'max_tokens':100,'model':'m/1\\''}"));
    chat.limit_name = (struct chat_span){1, strlen("\"max_tokens\"")};
    ck_assert_str_eq(spliced(ours, false, "max_completion_tokens"),
                     js("{'max_completion_tokens':100,'model':'m/1\\''}"));
    ck_assert_str_eq(spliced(ours, false, NULL), js("{'max_tokens':100,'model':'m/1\\''}"));
}
END_TEST

START_TEST(which_form_is_asked) {
    static const struct {
        const struct dialect *dialect;
        enum chat_form asked[FORM_COUNT];
    } rows[] = {
        {&prov_openai_dialect,
         {[FORM_CHAT] = FORM_CHAT,
          [FORM_COMPLETIONS] = FORM_COMPLETIONS,
          [FORM_EMBEDDINGS] = FORM_EMBEDDINGS,
          [FORM_RESPONSES] = FORM_RESPONSES,
          [FORM_MESSAGES] = FORM_CHAT}},
        {&prov_anthropic_dialect,
         {[FORM_CHAT] = FORM_MESSAGES,
          [FORM_COMPLETIONS] = FORM_MESSAGES,
          [FORM_EMBEDDINGS] = FORM_COUNT,
          [FORM_RESPONSES] = FORM_COUNT,
          [FORM_MESSAGES] = FORM_MESSAGES}},
        {&prov_huggingface_dialect, /* it has an API of its own */
         {FORM_COUNT, FORM_COUNT, FORM_COUNT, FORM_COUNT, FORM_COUNT}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int form = 0; form < FORM_COUNT; form++) {
            ck_assert_int_eq(rows[i].dialect->form[form], rows[i].asked[form]);
        }
        ck_assert_int_eq(rows[i].dialect->encode != NULL,
                         rows[i].dialect == &prov_huggingface_dialect);
    }
}
END_TEST

START_TEST(openai_asks) {
    provider.url = "https://api.openai.com/v1";
    static const char *const addresses[FORM_COUNT] = {
        [FORM_CHAT] = "https://api.openai.com/v1/chat/completions",
        [FORM_COMPLETIONS] = "https://api.openai.com/v1/completions",
        [FORM_EMBEDDINGS] = "https://api.openai.com/v1/embeddings",
        [FORM_RESPONSES] = "https://api.openai.com/v1/responses",
        [FORM_MESSAGES] = "https://api.openai.com/v1/chat/completions"};
    for (int form = 0; form < FORM_COUNT; form++) {
        chat.form = (enum chat_form)form;
        ck_assert_str_eq(address_of(&prov_openai_dialect), addresses[form]);
    }
    ck_assert_str_eq(fields_of(&prov_openai_dialect),
                     "Content-Type: application/json\nAccept: application/json\n");
    provider.api_key = "sk-1";
    ck_assert_str_eq(fields_of(&prov_openai_dialect),
                     "Content-Type: application/json\nAccept: application/json\n"
                     "Authorization: Bearer sk-1\n");
    ck_assert_str_eq(request_fields_of(&prov_openai_dialect), "");
    chat.openai_beta = BYTES_LITERAL("assistants=v2");
    chat.anthropic_beta = BYTES_LITERAL("not ours");
    ck_assert_str_eq(request_fields_of(&prov_openai_dialect), "OpenAI-Beta: assistants=v2\n");
}
END_TEST

START_TEST(anthropic_asks) {
    ck_assert_str_eq(address_of(&prov_anthropic_dialect), "http://127.0.0.1:1/v1/messages");
    provider.url = "https://api.anthropic.com";
    ck_assert_str_eq(address_of(&prov_anthropic_dialect), "https://api.anthropic.com/v1/messages");
    provider.api_key = "sk-ant";
    ck_assert_str_eq(fields_of(&prov_anthropic_dialect),
                     "Content-Type: application/json\nAccept: application/json\n"
                     "anthropic-version: 2023-06-01\nx-api-key: sk-ant\n");
    /* what the client said of the API is said on, if it spoke this one */
    chat.anthropic_version = BYTES_LITERAL("2024-01-01");
    chat.anthropic_beta = BYTES_LITERAL("a-2025,b-2025");
    chat.openai_beta = BYTES_LITERAL("not ours");
    ck_assert_str_eq(request_fields_of(&prov_anthropic_dialect), "");
    chat.form = FORM_MESSAGES;
    ck_assert_str_eq(request_fields_of(&prov_anthropic_dialect),
                     "anthropic-version: 2024-01-01\nanthropic-beta: a-2025,b-2025\n");
    chat.anthropic_version = BYTES_LITERAL("2023-06-01"); /* the site's own line says it */
    ck_assert_str_eq(request_fields_of(&prov_anthropic_dialect), "anthropic-beta: a-2025,b-2025\n");
}
END_TEST

static enum outcome encode_huggingface(enum chat_form form, const char *json) {
    chat.form = form;
    chat.body = bytes_from_str(js(json));
    attempt.refusal[0] = '\0';
    buf_clear(&out);
    return prov_huggingface_dialect.encode(&attempt, &reader, &out);
}

#define PROMPT "'messages':[{'role':'user','content':'say \\'hi\\'\\n\xc3\xa9'}]"

START_TEST(huggingface_asks) {
    ck_assert_int_eq(encode_huggingface(FORM_CHAT, "{" PROMPT ",'max_tokens':7}"), OUTCOME_OK);
    same_json(buf_bytes(&out), js("{'inputs':'say \\'hi\\'\\n\xc3\xa9','parameters':{"
                                  "'max_new_tokens':7,'return_full_text':false,'details':true}}"));
    chat.max_tokens = 0;
    ck_assert_int_eq(encode_huggingface(FORM_COMPLETIONS, "{'prompt':'once','stop':'.','seed':1,"
                                                          "'top_p':0.5,'echo':false,'n':1}"),
                     OUTCOME_OK);
    same_json(buf_bytes(&out), js("{'inputs':'once','parameters':{'return_full_text':false,"
                                  "'details':true,'stop':['.'],'seed':1,'top_p':0.5}}"));
    ck_assert_int_eq(encode_huggingface(FORM_MESSAGES, "{'messages':[{'role':'user','content':[{"
                                                       "'type':'text','text':'a'},{'type':'text',"
                                                       "'text':'b'}]}],'stop_sequences':['x']}"),
                     OUTCOME_OK);
    same_json(buf_bytes(&out), js("{'inputs':'ab','parameters':{'return_full_text':false,"
                                  "'details':true,'stop':['x']}}"));
}
END_TEST

START_TEST(huggingface_asks_at_a_temperature) {
    static const struct {
        const char *temperature, *said;
    } rows[] = {{"0", "'do_sample':false"},
                {"0.000", "'do_sample':false"},
                {"0e5", "'do_sample':false"},
                {"1e-3", "'temperature':1e-3"},
                {"0.7", "'temperature':0.7"}};
    char wanted[256];
    for (size_t i = 0; i < COUNT(rows); i++) {
        chat.temperature = bytes_from_str(rows[i].temperature);
        ck_assert_int_eq(encode_huggingface(FORM_CHAT, "{" PROMPT "}"), OUTCOME_OK);
        snprintf(wanted, sizeof(wanted),
                 "{'inputs':'say \\'hi\\'\\n\xc3\xa9','parameters':{'max_new_tokens':7,"
                 "'return_full_text':false,'details':true,%s}}",
                 rows[i].said);
        same_json(buf_bytes(&out), js(wanted));
    }
}
END_TEST

/* One text goes in, without tools and without a word on who spoke. */
START_TEST(what_huggingface_cannot_be_asked) {
    static const struct {
        enum chat_form form;
        const char *body, *place;
    } rows[] = {
        {FORM_CHAT, "{'messages':[{'role':'user','content':'a'},{'role':'user','content':'b'}]}",
         "messages"},
        {FORM_CHAT, "{'messages':[{'role':'assistant','content':'a'}]}", "messages"},
        {FORM_CHAT, "{'messages':[]}", "messages"},
        {FORM_CHAT, "{" PROMPT ",'tools':[{'type':'function'}]}", "tools"},
        {FORM_CHAT, "{" PROMPT ",'response_format':{'type':'json_object'}}", "response_format"},
        {FORM_CHAT, "{" PROMPT ",'n':2}", "n"},
        {FORM_CHAT, "{" PROMPT ",'logprobs':true}", "logprobs"},
        {FORM_CHAT, "{" PROMPT ",'a_new_one':1}", "a_new_one"},
        {FORM_COMPLETIONS, "{'prompt':['a','b']}", "prompt"},
        {FORM_COMPLETIONS, "{'prompt':'a','suffix':'b'}", "suffix"},
        {FORM_MESSAGES, "{" PROMPT ",'system':'s'}", "system"},
        {FORM_MESSAGES, "{" PROMPT ",'thinking':{'type':'enabled'}}", "thinking"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ck_assert_msg(encode_huggingface(rows[i].form, rows[i].body) == OUTCOME_UNTRANSLATABLE,
                      "%s", rows[i].body);
        ck_assert_str_eq(attempt.refusal, rows[i].place);
    }
}
END_TEST

/* The model is part of the address, and a client may name it. */
START_TEST(a_models_name_cannot_leave_its_place_in_the_address) {
    static const struct {
        const char *name, *address;
    } rows[] = {
        {"gpt2", "http://127.0.0.1:1/v1/gpt2"},
        {"mistralai/Mistral-7B-Instruct-v0.2",
         "http://127.0.0.1:1/v1/mistralai/Mistral-7B-Instruct-v0.2"},
        {"a b?c#d%e\r\n\xc3\xa9", "http://127.0.0.1:1/v1/a%20b%3Fc%23d%25e%0D%0A%C3%A9"},
        {"..", NULL},
        {"a/../../whoami", NULL},
        {"a/./b", NULL},
        {"/a", NULL},
        {"a/", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        model.name = rows[i].name;
        buf_clear(&out);
        enum outcome outcome = prov_huggingface_dialect.address(&attempt, FORM_COUNT, &out);
        ck_assert_msg(outcome == (rows[i].address != NULL ? OUTCOME_OK : OUTCOME_BAD_MODEL), "%s",
                      rows[i].name);
        if (rows[i].address != NULL) {
            ck_assert_str_eq(text_of(&out), rows[i].address);
        }
    }
}
END_TEST

static Suite *make_suite(void) {
    Suite *suite = suite_create("dialects_ask");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_body_is_passed_on_as_it_came);
    tcase_add_test(tcase, the_name_of_the_limit);
    tcase_add_test(tcase, which_form_is_asked);
    tcase_add_test(tcase, openai_asks);
    tcase_add_test(tcase, anthropic_asks);
    tcase_add_test(tcase, huggingface_asks);
    tcase_add_test(tcase, huggingface_asks_at_a_temperature);
    tcase_add_test(tcase, what_huggingface_cannot_be_asked);
    tcase_add_test(tcase, a_models_name_cannot_leave_its_place_in_the_address);
    suite_add_tcase(suite, tcase);
    return suite;
}

UNIT_MAIN(make_suite)

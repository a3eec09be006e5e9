/* The table of providers: which file serves which type of the configuration. Adding a provider is
 * adding its file and its row.
 */
#include "upstream/provider.h"

#include "base/panic.h"
#include "dialect.h"
#include "upstream/prov_simulated.h"

#define HTTP(type_, dialect_)                                                        \
    {                                                                                \
        .type = (type_), .start = prov_http_start, .cancel = prov_http_cancel,       \
        .pause = prov_http_pause, .resume = prov_http_resume, .dialect = &(dialect_) \
    }

static const struct provider_ops http_rows[] = {
    [CONF_OPENAI] = HTTP("openai", prov_openai_dialect),
    [CONF_ANTHROPIC] = HTTP("anthropic", prov_anthropic_dialect),
    [CONF_HUGGINGFACE] = HTTP("huggingface", prov_huggingface_dialect),
};

const struct provider_ops *provider_ops_for(const struct conf_provider *provider) {
    if (provider->simulated) {
        return &prov_simulated_ops;
    }
    ASSERT((size_t)provider->type < sizeof(http_rows) / sizeof(http_rows[0]) &&
           http_rows[provider->type].start != NULL);
    return &http_rows[provider->type];
}

bool provider_serves(const struct conf_provider *provider, enum chat_form form) {
    bool has_text = form == FORM_CHAT || form == FORM_COMPLETIONS || form == FORM_MESSAGES;
    const struct dialect *dialect = provider_ops_for(provider)->dialect;
    if (dialect == NULL || dialect->encode != NULL) {
        return has_text;
    }
    return dialect->form[form] != FORM_COUNT;
}

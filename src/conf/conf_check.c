/* conf_check: what concerns keys of several sections; see conf_read.h. What concerns one section
 * alone stands with it (conf_provider.c, conf_route.c).
 */
#include "config.h"

#include "conf_read.h"
#include "conf_value.h"

static void check_tls(struct conf_reader *reader) {
    const struct conf_tls *tls = &reader->conf->tls;
    const struct conf_node *section = conf_tree_find(reader->root, "tls");
    if ((tls->certificate[0] != '\0') == (tls->key[0] != '\0')) {
        return;
    }
    const char *given = tls->key[0] != '\0' ? "key" : "certificate";
    const char *missing = tls->key[0] != '\0' ? "certificate" : "key";
    conf_complain(reader, conf_tree_find(section->value, given), "tls: `%s` without `%s`", given,
                  missing);
}

static void check_metrics_address(struct conf_reader *reader) {
    const struct conf *conf = reader->conf;
    const struct conf_node *metrics = conf_tree_find(reader->root, "metrics_listen");
    const struct conf_node *listen = conf_tree_find(reader->root, "listen");
    for (unsigned i = 0; i < conf->listen_count; i++) {
        if (conf_address_equal(&conf->listen[i], &conf->metrics_listen)) {
            conf_complain(reader, metrics != NULL ? metrics->value : listen->value,
                          "metrics_listen: `%s` is in `listen` too", conf->metrics_listen.text);
        }
    }
}

void conf_check(struct conf_reader *reader) {
    check_tls(reader);
    check_metrics_address(reader);
}

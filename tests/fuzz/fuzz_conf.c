/* fuzz_conf: any bytes as a configuration file: errors with a position, or a configuration whose -T
 * output loads again to the same -T output.
 */
#include <stdint.h>
#include <stdlib.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf *load(struct bytes text, struct conf_errors *errors) {
    struct conf *conf = conf_load_text("fuzz", text, errors);
    if ((conf == NULL) != (errors->count > 0)) {
        abort();
    }
    return conf;
}

/* From the second line on: the first one names the source. */
static struct bytes without_head(const struct buf *printed) {
    struct bytes all = buf_bytes(printed);
    size_t head = bytes_find(all, '\n');
    return bytes_make(all.data + head, all.size - head);
}

static void check_round_trip(const struct conf *first, struct conf_errors *errors) {
    struct buf printed;
    struct buf again;
    buf_init(&printed, 0);
    buf_init(&again, 0);
    conf_print(first, &printed);
    /* Escapes may make it longer than a file can be. */
    if (printed.size <= CONF_MAX_FILE_BYTES) {
        struct conf *second = load(buf_bytes(&printed), errors);
        if (second == NULL) {
            abort();
        }
        conf_print(second, &again);
        if (!bytes_equal(without_head(&printed), without_head(&again))) {
            abort();
        }
        conf_free(second);
    }
    buf_free(&printed);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct conf_errors errors;
    conf_errors_init(&errors);
    struct conf *conf = load(bytes_make((const char *)data, size), &errors);
    if (conf != NULL) {
        check_round_trip(conf, &errors);
    }
    conf_free(conf);
    conf_errors_fini(&errors);
    return 0;
}

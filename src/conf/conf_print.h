/* conf_print: one key of a configuration as YAML. Private to layer conf; conf_print itself is in
 * conf/conf.h. */
#ifndef OPTIROUTE_CONF_PRINT_H
#define OPTIROUTE_CONF_PRINT_H

#include "base/bytes.h"
#include "conf/conf.h"
#include "conf_table.h"

/* Appends "key: value" lines; base is the structure of the row's table. Nothing when it has no
 * value. */
void conf_print_key(const struct conf *conf, const struct conf_key *row, const void *base,
                    unsigned indent, struct buf *out);

#endif

/* http_rules: what the parts of a head mean, once their bytes are known to be legal; private to
 * src/http.
 *
 * http_parse.c finds lines, names and values; the rules here judge them: target forms, Host, the
 * framing fields and how they exclude each other. Each returns false with the fault filled.
 */
#ifndef OPTIROUTE_SRC_HTTP_HTTP_RULES_H
#define OPTIROUTE_SRC_HTTP_HTTP_RULES_H

#include "http/http_parse.h"

enum http_method http_rules_method(struct bytes text);
/* Fills head->target, path and query. */
bool http_rules_target(enum http_method method, struct bytes target, struct http_head *head,
                       struct http_fault *fault);
/* Learns from one field; fields without a rule pass. */
bool http_rules_field(struct http_parser *parser, struct bytes name, struct bytes value,
                      struct http_fault *fault);
/* The head is complete: what is missing, and the sums into head. */
bool http_rules_finish(const struct http_parser *parser, struct http_head *head,
                       struct http_fault *fault);

/* Always false, so that a rule can end with `return http_refuse(...)`. */
static inline bool http_refuse(struct http_fault *fault, int status, const char *reason) {
    fault->status = status;
    fault->reason = reason;
    fault->code = NULL;
    return false;
}

#endif

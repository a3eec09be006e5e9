/* api: the endpoints: from an HTTP request to the gateway and back.
 *
 * One per worker. The table of routes (path, methods, handler, metric label) is in api.c; adding an
 * endpoint is adding a row and a file.
 */
#ifndef OPTIROUTE_API_API_H
#define OPTIROUTE_API_API_H

#include "gateway/gateway.h"
#include "http/http_server.h"

struct api;

/* The gateway outlives the api. NULL without memory. */
struct api *api_new(struct gateway *gateway);
/* No exchange may be under way. */
void api_free(struct api *api);
/* Are there pages for a browser, / and /dashboard? */
bool api_has_pages(void);
/* Once a second: keeps the history of the last hour going. */
void api_tick(struct api *api);
/* What the worker gives to http_server_new, with the api as context. */
extern const struct http_callbacks api_callbacks;
/* What the worker gives to it as busy_answer. */
extern const struct bytes api_busy_answer;

#endif

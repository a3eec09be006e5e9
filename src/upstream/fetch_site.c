/* A site, what all requests to one provider have in common, and the header lines of its requests.
 *
 * Runs in workers. Its one surprise: a request with lines of its own has a whole list instead of
 * the site's, since libcurl takes only one.
 */
#include "fetch_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void free_fields(struct curl_slist *fields) {
    for (struct curl_slist *line = fields; line != NULL; line = line->next) {
        explicit_bzero(line->data, strlen(line->data)); /* one may hold a key */
    }
    curl_slist_free_all(fields);
}

static bool has_same_name(const char *a, struct bytes b) {
    size_t size = strcspn(a, ":");
    return size == bytes_find(b, ':') && strncasecmp(a, b.data, size) == 0;
}

static bool is_replaced(const char *line, struct bytes fields) {
    while (fields.size > 0) {
        if (has_same_name(line, bytes_cut(&fields, '\n'))) {
            return true;
        }
    }
    return false;
}

/* Appends to the list, which is freed on failure. */
static struct curl_slist *append_line(struct curl_slist *list, const char *line) {
    struct curl_slist *longer = curl_slist_append(list, line);
    if (longer == NULL) {
        free_fields(list);
    }
    return longer;
}

static struct curl_slist *append_fields(struct curl_slist *list, struct bytes fields) {
    while (fields.size > 0 && list != NULL) {
        char line[8192];
        struct bytes field = bytes_cut(&fields, '\n');
        if (field.size >= sizeof(line)) {
            /* a key has at most 4096 bytes; only a client's line is longer */
            free_fields(list);
            return NULL;
        }
        memcpy(line, field.data, field.size);
        line[field.size] = '\0';
        list = append_line(list, line);
        explicit_bzero(line, field.size);
    }
    return list;
}

static struct curl_slist *parse_fields(struct bytes fields) {
    /* This one removes what libcurl would add for a large body: no waiting for 100 Continue. */
    return append_fields(curl_slist_append(NULL, "Expect:"), fields);
}

bool fetch_take_fields(struct fetch *fetch, struct bytes fields) {
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (struct curl_slist *line = fetch->site->fields; line != NULL && list != NULL;
         line = line->next) {
        if (!has_same_name(line->data, BYTES_LITERAL("Expect:")) &&
            !is_replaced(line->data, fields)) {
            list = append_line(list, line->data);
        }
    }
    fetch->own_fields = list != NULL ? append_fields(list, fields) : NULL;
    return fetch->own_fields != NULL &&
           curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->own_fields) == CURLE_OK;
}

void fetch_drop_fields(struct fetch *fetch) {
    if (fetch->own_fields != NULL) {
        (void)curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->site->fields);
        free_fields(fetch->own_fields);
        fetch->own_fields = NULL;
    }
}

struct fetch_site *fetch_site_new(struct fetcher *fetcher, const struct conf_provider *provider,
                                  struct bytes fields) {
    struct fetch_site *site = calloc(1, sizeof(*site));
    if (site == NULL) {
        return NULL;
    }
    site->fetcher = fetcher;
    site->provider = provider;
    site->is_tls = bytes_start_with(bytes_from_str(provider->url), BYTES_LITERAL("https:"));
    site->host = lookup_host(fetcher, provider->url);
    site->fields = parse_fields(fields);
    if (site->host == NULL || site->fields == NULL) {
        free_fields(site->fields);
        free(site);
        return NULL;
    }
    site->next = fetcher->sites;
    fetcher->sites = site;
    return site;
}

void fetch_site_free(struct fetch_site *site) {
    free_fields(site->fields);
    free(site);
}

/* models: the model names seen so far with their orders and counts, and the server's counters.
 *
 * The surprise: a reset comes while answers are under way. Their end must not be counted in the
 * new period, so each answer remembers the period (`epoch`) it began in; the two gauges, in_flight
 * and open, are of the moment and know no periods.
 */
#include "config.h"

#include "mock.h"

#include <stdlib.h>

#include "base/hash.h"

#define BUCKETS (sizeof(((struct mock *)0)->models) / sizeof(struct model *))

static struct model **bucket_of(struct mock *mock, uint64_t hash) {
    return &mock->models[hash % BUCKETS];
}

static struct model *find(struct mock *mock, struct bytes name, uint64_t hash) {
    for (struct model *model = *bucket_of(mock, hash); model != NULL; model = model->next) {
        if (model->hash == hash && bytes_equal(bytes_make(model->name, model->size), name)) {
            return model;
        }
    }
    return NULL;
}

struct model *model_find(struct mock *mock, struct bytes name) {
    return find(mock, name, hash64(name.data, name.size, 0));
}

struct model *model_of(struct mock *mock, struct bytes name) {
    uint64_t hash = hash64(name.data, name.size, 0);
    struct model *model = find(mock, name, hash);
    if (model != NULL || mock->model_count == MODELS_MAX) {
        return model;
    }
    model = calloc(1, sizeof(*model) + name.size);
    if (model == NULL) {
        return NULL;
    }
    model->hash = hash;
    model->size = name.size;
    memcpy(model->name, name.data, name.size);
    model->makes_sense = orders_read(bytes_make(model->name, name.size), &model->orders) == 0;
    orders_calm(&model->orders, &model->calm);
    model->next = *bucket_of(mock, hash);
    *bucket_of(mock, hash) = model;
    mock->model_count++;
    return model;
}

/* Frees the names nobody uses, zeroes the others. */
static void sweep(struct mock *mock, bool all) {
    for (size_t i = 0; i < BUCKETS; i++) {
        struct model **at = &mock->models[i];
        while (*at != NULL) {
            struct model *model = *at;
            if (all || model->in_flight == 0) {
                *at = model->next;
                free(model);
                mock->model_count--;
                continue;
            }
            model->seen = model->requests = model->answered = model->aborted = 0;
            at = &model->next;
        }
    }
}

void models_free(struct mock *mock) {
    sweep(mock, true);
}

void counters_reset(struct mock *mock) {
    mock->counters = (struct counters){
        .in_flight = mock->counters.in_flight,
        .max_in_flight = mock->counters.in_flight,
        .open = mock->counters.open,
    };
    mock->epoch++;
    mock->noted = 0;
    sweep(mock, false);
}

void count_connection(struct conn *conn) {
    if (!conn->is_api) {
        conn->is_api = true;
        conn->number = ++conn->mock->numbered;
        conn->mock->counters.connections++;
        conn->mock->counters.open++;
    }
}

void count_closed(struct conn *conn) {
    if (conn->is_api) {
        conn->mock->counters.open--;
    }
}

void count_request(struct conn *conn) {
    struct counters *counters = &conn->mock->counters;
    struct answer *answer = &conn->answer;
    answer->counted = true;
    answer->epoch = conn->mock->epoch;
    counters->requests++;
    counters->in_flight++;
    if (counters->in_flight > counters->max_in_flight) {
        counters->max_in_flight = counters->in_flight;
    }
}

void count_model(struct conn *conn, struct model *model) {
    conn->answer.model = model;
    model->requests++;
    model->seen++;
    model->in_flight++;
}

void count_end(struct conn *conn, bool aborted) {
    struct counters *counters = &conn->mock->counters;
    struct answer *answer = &conn->answer;
    if (!answer->counted) {
        return;
    }
    answer->counted = false;
    bool same_period = answer->epoch == conn->mock->epoch;
    counters->in_flight--;
    counters->answered += same_period && !aborted;
    counters->aborted += same_period && aborted;
    if (answer->model != NULL) {
        answer->model->in_flight--;
        answer->model->answered += same_period && !aborted;
        answer->model->aborted += same_period && aborted;
    }
}

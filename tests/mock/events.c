/* events: the walk through a dialect's table of events (events.h), and the counts that tables
 * share. How an event looks on the wire, and what goes wrong with it, is stream.c's.
 *
 * The surprise: a count is asked again before every event, so a stream that is as long as some
 * number of bytes (`flood`) simply counts one more as long as these are not sent.
 */
#include "config.h"

#include "events.h"

#define FRAGMENTS ((int64_t)(sizeof(tool_call.fragments) / sizeof(tool_call.fragments[0])))
#define THOUGHTS ((int64_t)(sizeof(thoughts) / sizeof(thoughts[0])))

int64_t count_per_choice(const struct answer *answer) {
    return answer->choices;
}

int64_t count_words(const struct answer *answer) {
    const struct orders *orders = answer->orders;
    if (orders->tool && answer->dialect != DIALECT_COMPLETIONS) {
        return 0; /* the call stands instead; completions know none */
    }
    if (orders->flood > 0) {
        return answer->body_bytes < orders->flood ? answer->repeat + 1 : answer->repeat;
    }
    return orders->tokens * answer->choices;
}

int64_t count_thought_pieces(const struct answer *answer) {
    return answer->orders->reasoning_text ? THOUGHTS * answer->choices : 0;
}

int64_t count_fragments(const struct answer *answer) {
    return answer->orders->tool ? FRAGMENTS * answer->choices : 0;
}

int64_t count_unless_no_done(const struct answer *answer) {
    return answer->orders->no_done ? 0 : 1;
}

void put_word(struct json_writer *writer, struct conn *conn, const char *key, int64_t i) {
    struct buf *text = &conn->mock->text;
    buf_clear(text);
    append_word(text, conn->answer.orders, i);
    json_key(writer, key);
    json_put_string(writer, buf_bytes(text));
}

static const struct step *const tables[] = {
    [DIALECT_CHAT] = chat_steps,
    [DIALECT_COMPLETIONS] = completions_steps,
    [DIALECT_RESPONSES] = responses_steps,
    [DIALECT_MESSAGES] = messages_steps,
};

bool events_are_left(struct answer *answer) {
    const struct step *step = &tables[answer->dialect][answer->step];
    while (step->count != NULL && answer->repeat >= step->count(answer)) {
        step++;
        answer->step++;
        answer->repeat = 0;
    }
    return step->count != NULL;
}

const char *events_compose(struct conn *conn) {
    struct answer *answer = &conn->answer;
    const struct step *step = &tables[answer->dialect][answer->step];
    struct buf *out = &conn->mock->body;
    buf_clear(out);
    if (step->raw != NULL) {
        buf_append_str(out, step->raw);
    } else {
        struct json_writer writer;
        json_write_init(&writer, out);
        json_object_begin(&writer);
        step->write(&writer, conn, answer->repeat);
        json_object_end(&writer);
    }
    answer->repeat++;
    return step->name;
}

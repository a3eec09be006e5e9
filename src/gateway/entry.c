/* Encoding and decoding of stored answers. Pure; runs in workers. */
#include "gateway/entry.h"

#include <string.h>

#define ENTRY_ESTIMATED 1u

/* Exactly ENTRY_HEAD_SIZE bytes without padding, as drawn in the header. */
struct entry_head {
    int64_t cost_nusd;
    int64_t prompt_tokens;
    int64_t completion_tokens;
    uint32_t json_size;
    uint16_t provider_size;
    uint16_t routed_to_size;
    uint16_t model_size;
    uint16_t reason_size;
    uint32_t flags;
    uint32_t text_at;
    uint32_t text_size;
};
_Static_assert(sizeof(struct entry_head) == ENTRY_HEAD_SIZE, "the entry head has no padding");

void entry_encode(const struct entry *entry, struct buf *out) {
    if (entry->json.size > UINT32_MAX || entry->provider.size > UINT16_MAX ||
        entry->routed_to.size > UINT16_MAX || entry->model.size > UINT16_MAX ||
        entry->reason.size > UINT16_MAX) {
        out->failed = true;
        return;
    }
    struct entry_head head = {
        .cost_nusd = entry->cost_nusd,
        .prompt_tokens = entry->usage.prompt_tokens,
        .completion_tokens = entry->usage.completion_tokens,
        .json_size = (uint32_t)entry->json.size,
        .provider_size = (uint16_t)entry->provider.size,
        .routed_to_size = (uint16_t)entry->routed_to.size,
        .model_size = (uint16_t)entry->model.size,
        .reason_size = (uint16_t)entry->reason.size,
        .flags = entry->usage.estimated ? ENTRY_ESTIMATED : 0,
        .text_at = (uint32_t)entry->text.at,
        .text_size = (uint32_t)entry->text.size,
    };
    buf_append(out, &head, sizeof(head));
    buf_append_bytes(out, entry->provider);
    buf_append_bytes(out, entry->routed_to);
    buf_append_bytes(out, entry->model);
    buf_append_bytes(out, entry->reason);
    buf_append_bytes(out, entry->json);
}

static struct bytes take(const char **at, size_t size) {
    struct bytes piece = bytes_make(*at, size);
    *at += size;
    return piece;
}

int entry_decode(struct bytes value, struct entry *entry) {
    struct entry_head head;
    if (value.size < sizeof(head)) {
        return -1;
    }
    memcpy(&head, value.data, sizeof(head));
    size_t strings = (size_t)head.provider_size + head.routed_to_size + head.model_size +
                     head.reason_size + head.json_size;
    if (value.size - sizeof(head) != strings || head.text_at > head.json_size ||
        head.text_size > head.json_size - head.text_at) {
        return -1;
    }
    const char *at = value.data + sizeof(head);
    entry->cost_nusd = head.cost_nusd;
    entry->usage = (struct usage){.prompt_tokens = head.prompt_tokens,
                                  .completion_tokens = head.completion_tokens,
                                  .estimated = (head.flags & ENTRY_ESTIMATED) != 0};
    entry->provider = take(&at, head.provider_size);
    entry->routed_to = take(&at, head.routed_to_size);
    entry->model = take(&at, head.model_size);
    entry->reason = take(&at, head.reason_size);
    entry->json = take(&at, head.json_size);
    entry->text = (struct chat_span){head.text_at, head.text_size};
    return 0;
}

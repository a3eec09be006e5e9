/* json_canon: one spelling for JSON values that mean the same request.
 *
 * Object members sorted by their decoded key bytes at every level, no white space, strings
 * re-encoded minimally (json_escape), numbers byte for byte (1 and 1.0 differ: a cache miss, never
 * a wrong hit), array order kept. A doubled key at any depth is refused. Used for cache keys only;
 * what goes upstream is never re-serialised.
 */
#ifndef OPTIROUTE_BASE_JSON_CANON_H
#define OPTIROUTE_BASE_JSON_CANON_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/json_read.h"

enum json_canon_result { JSON_CANON_OK, JSON_CANON_DOUBLED_KEY, JSON_CANON_NO_MEMORY };

/* Appends the canonical form of the value to out; scratch comes from the arena. On DOUBLED_KEY
 * *fault_offset is the second key's offset. */
enum json_canon_result json_canon(const struct json_reader *reader, int value, struct arena *arena,
                                  struct buf *out, size_t *fault_offset);

#endif

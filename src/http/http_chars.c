/* http_chars: the table behind src/http/http_chars.h. */
#include "http_chars.h"

#define T HTTP_CHAR_TOKEN
#define G HTTP_CHAR_TARGET
#define V HTTP_CHAR_VALUE
#define H HTTP_CHAR_HOST

const uint8_t http_chars[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | G | V | H,
    ['"'] = G | V,
    ['#'] = T | V,
    ['$' ... '\''] = T | G | V | H,
    ['(' ... ')'] = G | V | H,
    ['*' ... '+'] = T | G | V | H,
    [','] = G | V,
    ['-' ... '.'] = T | G | V | H,
    ['/'] = G | V,
    ['0' ... '9'] = T | G | V | H,
    [':'] = G | V,
    [';'] = G | V | H,
    ['<'] = G | V,
    ['='] = G | V | H,
    ['>' ... '@'] = G | V,
    ['A' ... 'Z'] = T | G | V | H,
    ['[' ... ']'] = G | V,
    ['^'] = T | G | V,
    ['_'] = T | G | V | H,
    ['`'] = T | G | V,
    ['a' ... 'z'] = T | G | V | H,
    ['{'] = G | V,
    ['|'] = T | G | V,
    ['}'] = G | V,
    ['~'] = T | G | V | H,
    [0x80 ... 0xff] = V,
};

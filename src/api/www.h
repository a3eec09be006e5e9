/* The pages, as the build embeds them (src/www/embed.sh makes www_data.c). */
#ifndef OPTIROUTE_SRC_WWW_H
#define OPTIROUTE_SRC_WWW_H

#include <stddef.h>

struct www_file {
    const char *path; /* what a browser asks for: "/", "/static/base.css" */
    const char *content_type;
    const char *tag; /* hash of the content, hexadecimal */
    const unsigned char *plain;
    size_t plain_size;
    const unsigned char *gzip; /* NULL when it would not be smaller */
    size_t gzip_size;
};

extern const struct www_file www_files[]; /* one row more than there are */
extern const size_t www_file_count;       /* 0: built without pages */

#endif

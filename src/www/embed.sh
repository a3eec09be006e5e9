#!/bin/sh
# embed: prints the pages as C: the table www_files of src/api/www.h.
#
#   src/www/embed.sh PATH=FILE...    PATH is what a browser asks for
#
# Runs at build time. Each file comes as it is and, where that is smaller, as gzip makes it (-n: the
# same bytes whenever it is built). The entity tag is of the content, so a browser keeps what did not
# change over restarts and upgrades. Without arguments the table is empty (./configure --without-www).
set -eu
export LC_ALL=C

type_of() {
    case $1 in
        *.html) echo 'text/html; charset=utf-8' ;;
        *.css) echo 'text/css; charset=utf-8' ;;
        *.js) echo 'text/javascript; charset=utf-8' ;;
        *.svg) echo 'image/svg+xml' ;;
        *)
            echo "embed.sh: $1: its media type is not known here" >&2
            exit 1
            ;;
    esac
}

# array NAME <BYTES
array() {
    echo "static const unsigned char $1[] = {"
    od -An -v -tu1 | sed 's/ *\([0-9][0-9]*\)/\1,/g'
    echo '};'
}

packed=$(mktemp)
rows=$(mktemp)
trap 'rm -f "$packed" "$rows"' EXIT
echo '/* Made by src/www/embed.sh; do not edit. */'
echo '#include "config.h"'
echo '#include "src/api/www.h"'
count=0
for pair in "$@"; do
    path=${pair%%=*}
    file=${pair#*=}
    type=$(type_of "$file")
    tag=$(sha256sum <"$file" | cut -c1-32)
    array "plain_$count" <"$file"
    gzip -9nc <"$file" >"$packed"
    gzip="NULL, 0"
    if [ "$(wc -c <"$packed")" -lt "$(wc -c <"$file")" ]; then
        array "gzip_$count" <"$packed"
        gzip="gzip_$count, sizeof(gzip_$count)"
    fi
    echo "    {\"$path\", \"$type\", \"$tag\"," >>"$rows"
    echo "     plain_$count, sizeof(plain_$count), $gzip}," >>"$rows"
    count=$((count + 1))
done
echo 'const struct www_file www_files[] = {'
cat "$rows"
echo '    {NULL, NULL, NULL, NULL, 0, NULL, 0},'
echo '};'
echo "const size_t www_file_count = $count;"

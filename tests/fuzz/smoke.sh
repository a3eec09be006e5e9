#!/bin/sh
# Builds one fuzz target with libFuzzer and lets it run for FUZZ_SECONDS; `make fuzz-smoke` calls it.
#   smoke.sh NAME "sources" "libraries" compiler and flags...
# New inputs go to a directory that is thrown away; what crashes stays as tests/fuzz/crash-*.
set -eu
name=$1
sources=$2
libraries=$3
shift 3

files=${srcdir:?}/tests/fuzz/fuzz_$name.c
for source in $sources; do
    case $source in
        *.c) files="$files $srcdir/$source" ;;
    esac
done
mkdir -p tests/fuzz
program=tests/fuzz/fuzz_$name.smoke
# shellcheck disable=SC2086 # lists of words
"$@" -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -o "$program" $files $libraries

found=$(mktemp -d)
trap 'rm -rf "$found" "$program"' EXIT
"$program" -max_total_time="$FUZZ_SECONDS" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix=tests/fuzz/ "$found" "$srcdir/tests/fuzz/corpus/$name"

#!/bin/sh
# lint: reads the sources and changes nothing (but for `fix`).
#
#   contrib/lint.sh [layers|shellcheck|cppcheck|clang-tidy|format|fix]...
#
# Without arguments: the first four (`make lint`). format: would clang-format change a file
# (`make format-check`); fix: let it (`make format`). CACHE names a directory where what was found
# clean is remembered, so that a second run looks only at what changed. JOBS: how many at a time.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
jobs=${JOBS:-2}
cflags="-std=gnu11 -Iinclude"

# Sources only, never what a build left in the tree.
sources() {
    find src include tests contrib -name "$1" -type f | LC_ALL=C sort
}

run_layers() {
    srcdir=. sh tests/layers.sh
}

run_shellcheck() {
    # shellcheck disable=SC2046 # file names without spaces
    shellcheck .ci/run contrib/container/healthcheck contrib/debian/optiroute.postrm $(sources '*.sh')
}

run_cppcheck() {
    dir=${CACHE:-}
    if [ -n "$dir" ]; then
        dir=$dir/cppcheck
        mkdir -p "$dir"
        set -- "--cppcheck-build-dir=$dir"
    else
        set --
    fi
    cppcheck "$@" -j "$jobs" --quiet --std=c11 --language=c --error-exitcode=1 --inline-suppr \
        --enable=warning,performance,portability --suppress=missingIncludeSystem \
        --suppress=checkersReport '-D_Noreturn=__attribute__((noreturn))' -D_GNU_SOURCE -DSYSCONFDIR='"/etc"' -Iinclude src
}

# One file; skipped when the same bytes, with the same headers and settings, were clean before.
tidy_one() {
    if [ -n "${CACHE:-}" ]; then
        mkdir -p "$CACHE/tidy"
        # shellcheck disable=SC2086 # lists of words
        key=$({ clang -E -P $cflags "$1"; cat "$1" .clang-tidy; } | sha256sum | cut -c1-64)
        [ ! -e "$CACHE/tidy/$key" ] || return 0
    fi
    # shellcheck disable=SC2086
    clang-tidy --quiet "$1" -- $cflags || return 1
    [ -z "${CACHE:-}" ] || : >"$CACHE/tidy/$key"
}

# config.h is configure's, and so are a few -D; the stand-in has what the code asks of them.
run_clang_tidy() {
    config=$(mktemp -d)
    trap 'rm -rf "$config"' EXIT
    printf '#define %s\n' _GNU_SOURCE 'PACKAGE_VERSION "0"' 'SYSCONFDIR "/etc"' >"$config/config.h"
    TIDY_INCLUDE=$config
    export TIDY_INCLUDE
    find src -name '*.c' | sort | xargs -P "$jobs" -n 1 "$0" tidy-one
}

run_format() {
    sources '*.[ch]' | xargs clang-format --dry-run -Werror
}

run_fix() {
    sources '*.[ch]' | xargs clang-format -i
}

[ $# != 0 ] || set -- layers shellcheck cppcheck clang-tidy
if [ "$1" = tidy-one ]; then
    cflags="$cflags -include $TIDY_INCLUDE/config.h -I$TIDY_INCLUDE"
    tidy_one "$2"
    exit
fi
bad=0
for name in "$@"; do
    case $name in
        layers) run_layers || bad=1 ;;
        shellcheck) run_shellcheck || bad=1 ;;
        cppcheck) run_cppcheck || bad=1 ;;
        clang-tidy) run_clang_tidy || bad=1 ;;
        format) run_format || bad=1 ;;
        fix) run_fix || bad=1 ;;
        *)
            echo "lint.sh: no such check: $name" >&2
            exit 1
            ;;
    esac
done
exit $bad

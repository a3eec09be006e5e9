#!/bin/sh
# quickstart: from a fresh clone on Debian 12 to a gateway that answers on http://127.0.0.1:8000.
#
#   contrib/quickstart.sh [--build-only] [ARGUMENT OF optirouted]...
#
# Installs the Debian packages that are missing (as root or through sudo), builds what is not up to
# date, reads .env and becomes `src/optirouted -f`; stop it with Ctrl-C. The second run takes a second.
# .env in the project's root may hold KEY=VALUE lines, for the keys of your own
# configuration (-c FILE). What the environment sets already wins over the file.
set -eu
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p;}' contrib/quickstart.sh
}

say() {
    echo "quickstart: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

# Builds in the tree, or in build/ where a developer has configured there. `make` itself knows what is
# not up to date, also when a build list or configure.ac has changed.
build() {
    if [ ! -f Makefile ] && [ -f build/Makefile ]; then
        dir=build
    fi
    if [ ! -f "$dir/Makefile" ]; then
        [ -w . ] || fail "cannot write to $(pwd): run this as its owner"
        [ -x configure ] || { say "autoreconf"; autoreconf -fi; }
        say "configure"
        ./configure --quiet
    fi
    say "make"
    make -C "$dir" --no-print-directory -j "$(nproc)"
}

unquoted() {
    case $1 in
        \"*\" | \'*\')
            inner=${1#?}
            echo "${inner%?}"
            ;;
        *) echo "$1" ;;
    esac
}

# Takes the lines as text: nothing in the file is run, and no value is shown.
read_env() {
    number=0
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        line=${line%"$(printf '\r')"}
        line=${line#export }
        case $line in
            '' | '#'*) continue ;;
        esac
        key=${line%%=*}
        case $key in
            "$line" | '' | [0-9]* | *[!A-Za-z0-9_]*) fail ".env:$number: not a KEY=VALUE line" ;;
        esac
        if ! printenv "$key" >/dev/null; then
            export "$key=$(unquoted "${line#*=}")"
        fi
    done <.env
}

build_only=no
case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
    --build-only)
        build_only=yes
        shift
        ;;
esac
dir=.
contrib/packages.sh install build >&2
build
if [ $build_only = yes ]; then
    say "built $dir/src/optirouted"
    exit 0
fi
if [ -f .env ]; then
    say "reading .env"
    read_env
fi
say "starting $dir/src/optirouted -f${*:+ $*}"
exec "$dir/src/optirouted" -f "$@"

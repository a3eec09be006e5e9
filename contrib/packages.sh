#!/bin/sh
# packages: the one list of Debian 12 packages that OptiRoute needs, by purpose.
#
#   contrib/packages.sh list GROUP...      print the names
#   contrib/packages.sh missing GROUP...   print those that are not installed
#   contrib/packages.sh install GROUP...   install those that are not, as root or through sudo
#
# Groups: build (make), test (contrib/test.sh, on top of build), package (contrib/package.sh on top of build, and
# its stage of contrib/test.sh), node (contrib/test.sh, where no Node.js is from elsewhere), bench (make bench).
# When nothing is missing, nothing is downloaded and no root is needed. Its one surprise: a package
# that starts a service when it is installed (prometheus, nginx) has that service stopped and switched
# off again, because it would hold a port; one that was there before is left as it is.
set -eu
export LC_ALL=C

build="autoconf automake ca-certificates check gcc gzip libc6-dev libcurl4-openssl-dev
    libevent-dev libjs-chart.js libjs-marked libjsmn-dev libssl-dev libxxhash-dev libyaml-dev
    make pkg-config"
test="binutils chromium chromium-driver clang clang-format clang-tidy cppcheck curl fonts-dejavu-core
    groff-base libclang-rt-14-dev mandoc openssl procps prometheus python3 python3-jsonschema
    python3-locust python3-pytest python3-pytest-xdist python3-selenium python3-venv python3-yaml
    rsync shellcheck xz-utils"
node="nodejs npm"
package="debhelper dpkg-dev lintian logrotate mmdebstrap mount systemd systemd-container systemd-sysv util-linux"
bench="nginx procps python3 strace util-linux wrk"
services="nginx prometheus"

fail() {
    echo "packages.sh: $*" >&2
    exit 1
}

names() {
    for group in "$@"; do
        case $group in
            build) echo "$build" ;;
            test) echo "$test" ;;
            node) echo "$node" ;;
            package) echo "$package" ;;
            bench) echo "$bench" ;;
            *) fail "no such group: $group (build, test, package, node, bench)" ;;
        esac
    done | tr -s ' ' '\n' | sed '/^$/d' | sort -u
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing() {
    for name in $(names "$@"); do
        is_installed "$name" || echo "$name"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Before and after the installation, to know which services are new.
known_services() {
    for name in $services; do
        if [ -e "/etc/init.d/$name" ]; then
            echo "$name"
        fi
    done
}

stop_new_services() {
    for name in $(known_services); do
        case " $1 " in
            *" $name "*) continue ;;
        esac
        echo "packages.sh: the service $name is not needed; stopping it"
        as_root service "$name" stop >/dev/null 2>&1 || true
        as_root update-rc.d "$name" disable >/dev/null 2>&1 || true
    done
}

install_missing() {
    wanted=$(missing "$@" | tr '\n' ' ')
    if [ -z "$wanted" ]; then
        echo "packages.sh: every Debian package of the groups '$*' is installed"
        return
    fi
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        fail "neither root nor sudo; as root, run: apt-get install $wanted"
    fi
    before=$(known_services | tr '\n' ' ')
    echo "packages.sh: installing $wanted"
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086 # a list of names
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends $wanted </dev/null
    stop_new_services "$before"
}

[ $# -ge 2 ] || fail "usage: packages.sh list|missing|install build|test|package|node|bench ..."
action=$1
shift
names "$@" >/dev/null
if [ "$action" != list ] && ! { command -v dpkg-query && command -v apt-get; } >/dev/null; then
    fail "this is not Debian (no dpkg-query, no apt-get). Install what these Debian packages bring," \
        "then autoreconf -fi && ./configure && make: $(names "$@" | tr '\n' ' ')"
fi
case $action in
    list) names "$@" ;;
    missing) missing "$@" ;;
    install) install_missing "$@" ;;
    *) fail "no such action: $action (list, missing, install)" ;;
esac

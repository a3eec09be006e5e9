#!/bin/sh
# package: builds the Debian package optiroute_VERSION_ARCH.deb from the release archive.
#
#   contrib/package.sh [-o DIRECTORY] [optiroute-VERSION.tar.xz]
#
# Without an archive one is made of this tree (make dist). The package goes to DIRECTORY (default: here). What is needed to
# build it is in contrib/debian/control; `contrib/packages.sh install build package` installs it. It runs as any user. The
# unit tests run too, unless DEB_BUILD_OPTIONS has nocheck.
set -eu
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(pwd)

fail() {
    echo "package.sh: $*" >&2
    exit 1
}

# The archive of this tree, in $work. configure refuses to run beside a tree that was configured itself.
make_archive() {
    if [ -f "$root/Makefile" ]; then
        make -s -C "$root" dist
        mv "$root"/optiroute-*.tar.xz "$work"
        return
    fi
    [ -x "$root/configure" ] || (cd "$root" && autoreconf -fi)
    mkdir "$work/dist"
    (cd "$work/dist" && "$root/configure" --quiet && make -s dist)
    mv "$work"/dist/optiroute-*.tar.xz "$work"
}

while getopts o:h option; do
    case $option in
        o) out=$(cd "$OPTARG" && pwd) ;;
        *)
            sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p;}' "$0"
            [ "$option" = h ] && exit
            exit 1
            ;;
    esac
done
shift $((OPTIND - 1))
command -v dpkg-buildpackage >/dev/null || fail "this needs Debian: dpkg-buildpackage is missing (apt-get install dpkg-dev debhelper)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# = 0 ]; then
    make_archive
else
    cp "$1" "$work"
fi
archive=$(echo "$work"/optiroute-*.tar.xz)
[ -f "$archive" ] || fail "$* is not an archive of optiroute"
version=$(basename "$archive" .tar.xz)
version=${version#optiroute-}
tar -C "$work" -xf "$archive"
mv "$archive" "$work/optiroute_$version.orig.tar.xz"
cd "$work/optiroute-$version"
cp -R contrib/debian debian
packaged=$(dpkg-parsechangelog -S Version)
[ "${packaged%-*}" = "$version" ] || fail "contrib/debian/changelog is of $packaged, the sources are $version"
dpkg-buildpackage -us -uc -b -j"${JOBS:-2}"
mv "$work"/*.deb "$work"/*.changes "$work"/*.buildinfo "$out"

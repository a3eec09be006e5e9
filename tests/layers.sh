#!/bin/sh
# Checks that every layer includes only the layers it may (the table in HACKING.md), that
# each library is seen by the one layer that owns it, and that shared bytes stay in shm.
# Runs in make check; prints one line per offence.
# shellcheck disable=SC2013 # file and layer names are words
set -eu
cd "${srcdir:-$(dirname "$0")/..}"

may_include() {
    case $1 in
        base) echo "base" ;;
        shm) echo "base shm" ;;
        conf) echo "base conf" ;;
        watch) echo "base shm conf watch" ;;
        http) echo "base http" ;;
        upstream) echo "base conf shm watch upstream" ;;
        gateway) echo "base shm conf watch upstream gateway" ;;
        api) echo "base shm conf watch upstream gateway http api" ;;
        proc) echo "base shm conf watch upstream gateway http api proc" ;;
    esac
}

bad=0
offence() {
    echo "$1"
    bad=1
}

for layer in base shm conf watch http upstream gateway api proc; do
    allowed=$(may_include $layer)
    for file in $(find "src/$layer" "include/$layer" -name '*.[ch]' | sort); do
        for other in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$file" | sort -u); do
            case " $allowed " in
                *" $other "*) ;;
                *) offence "$file: layer $layer must not include $other" ;;
            esac
        done
    done
done

# library header -> where it may be seen
only_in() {
    pattern=$1
    shift
    for file in $(grep -lE --include='*.[ch]' "^#include <$pattern" -r src include | sort); do
        case " $* " in
            *" $file "* | *" $(dirname "$file" | sed 's/^include/src/') "*) ;;
            *) offence "$file: <$pattern> belongs to: $*" ;;
        esac
    done
}
only_in 'jsmn\.h>' src/base/json_read.c
only_in 'curl/' src/upstream
only_in 'yaml\.h>' src/conf
only_in 'event2/' src/http src/proc src/upstream
only_in 'openssl/(ssl|err)' src/http
only_in 'openssl/evp' src/base
only_in 'xxhash\.h>' src/base
only_in 'sys/mman\.h>' src/shm src/base/failpoint.c src/base/slow_free.c

# locks belong to the shared region; once-only initialisation may stand anywhere
for file in $(grep -lE --include='*.[ch]' 'pthread_(mutex|rwlock|cond|spin)_' -r src include | sort); do
    case $file in
        src/shm/* | include/shm/*) ;;
        *) offence "$file: locks belong to src/shm" ;;
    esac
done

exit $bad

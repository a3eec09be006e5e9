#!/bin/sh
# bench: cached and proxied answers, measured against nginx on this machine in this minute.
#   bench.sh path/of/optirouted path/of/mockllm RESULT.json [--rounds N] [--seconds N]
# `make bench` calls it. This part only looks whether the tools are here; bench.py does the work.
set -eu
export LC_ALL=C
here=$(dirname "$0")

for tool in nginx wrk strace taskset /usr/bin/python3; do
    if ! PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null; then
        echo "bench.sh: $tool is missing. Debian packages:" \
            "$("$here/../../contrib/packages.sh" list bench | tr '\n' ' ')" >&2
        echo "bench.sh: contrib/packages.sh install bench" >&2
        exit 1
    fi
done
exec /usr/bin/python3 -B "$here/bench.py" "$@"

#!/bin/bash
# soak: `tests/stress/soak.sh [SECONDS] [SEED]`, half an hour by default; see soak.py. `make soak`, and for
# a minute in CI (tests/stress/ci.list). Ends for sure: what hangs is ended after twice its time and two
# minutes. So long, for the pauses and the reading of the logs come on top of the seconds under load.
set -eu -o pipefail
cd "$(dirname "$0")"
export LC_ALL=C
seconds=${1:-1800}
[ $# -eq 0 ] || shift
ulimit -n "$(ulimit -Hn)"
exec timeout --kill-after=30 "$((2 * seconds + 120))" /usr/bin/python3 -B soak.py "$seconds" "$@"

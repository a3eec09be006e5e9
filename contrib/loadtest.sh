#!/usr/bin/env bash
# Measures what OptiRoute brings: Locust asks the same load of two daemons that this script starts,
# one after the other, and prints the comparison.
#
#   baseline     no cache, every prompt to the one strong provider (huggingface)
#   configured   the built-in configuration: shared cache, easy prompts to local
#
# With --outage one daemon instead, without cache, whose strong provider is a mock upstream of its own:
# it is killed after a third of the time and started again after two thirds. Nobody may notice.
#
# Both providers are simulated, so nothing is spent: HF_API_TOKEN is taken out of the environment
# unless --spend-real-money is given. "After warm-up" counts the requests that were sent after an
# earlier one with the same prompt had been answered. The users draw from 60 prompts: how far the
# cost falls depends on that number, and on how many requests there are, as much as on the gateway.
# With --no-wait Locust's one process is the limit: it has all users connected, but when answers
# come from the cache only some of them have a request under way at a time.
#
# Ends only what it started.
set -euo pipefail

usage() {
    cat <<'END'
usage: contrib/loadtest.sh [options]

  -u, --users N          simultaneous users (default 50)
  -r, --rate N           users started per second (default 5)
  -t, --time N[s|m]      length of each of the two runs (default 1m)
      --no-wait          users ask again at once instead of after 1 to 4 s
      --fast             Locust's faster client (advisable with --no-wait)
      --latency MS       simulated providers answer after MS (default: their own 500 to 2000)
      --workers N        worker processes of the daemon (default: one per core)
      --min-reduction P  fail when cost falls by less than P per cent (default 90)
      --max-median MS    fail when the median after warm-up is above MS (default: any)
      --outage           kill the strong provider in the middle, start it again, and look at the
                         circuit breaker (open for 2 s instead of 30)
  -o, --output DIR       keep both summaries (JSON), metrics, logs and configurations there
      --spend-real-money keep HF_API_TOKEN: huggingface is then the real one
  -h, --help

environment: OPTIROUTED  the daemon's binary (default: src/optirouted of the source tree, else the
                         one in the PATH)
             LOCUST      how to call Locust (default: /usr/bin/locust, else locust)
             MOCKLLM     for --outage: the mock upstream (default: tests/mockllm beside the daemon)

The table is Markdown. Exit code: 0 all promises kept, 1 one is broken, 2 the test could not run.
END
}

die() {
    echo "loadtest.sh: $*" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
users=50 rate=5 seconds=60
latency='' workers=auto output='' spend=no
no_wait=0 fast=0 outage=no
compare=()

need_number() { [[ $2 =~ ^[0-9]+$ && $2 -gt 0 ]] || die "$1 needs a number above 0, not '$2'"; }

while (($# > 0)); do
    case $1 in
        -u | --users | -r | --rate | -t | --time | --latency | --workers | --min-reduction | \
            --max-median | -o | --output)
            (($# >= 2)) || die "$1 needs a value"
            ;;
    esac
    case $1 in
        -u | --users) need_number "$1" "$2" && users=$2 && shift ;;
        -r | --rate) need_number "$1" "$2" && rate=$2 && shift ;;
        -t | --time)
            need_number "$1" "${2%[sm]}" && seconds=${2%[sm]}
            [[ $2 != *m ]] || seconds=$((seconds * 60))
            shift
            ;;
        --latency) need_number "$1" "$2" && latency=$2 && shift ;;
        --workers) need_number "$1" "$2" && workers=$2 && shift ;;
        --min-reduction) compare+=(--min-reduction "$2") && shift ;;
        --max-median) compare+=(--max-median-ms "$2") && shift ;;
        --no-wait) no_wait=1 ;;
        --fast) fast=1 ;;
        --outage) outage=yes ;;
        -o | --output) output=$2 && shift ;;
        --spend-real-money) spend=yes ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && die "unknown option $1" ;;
    esac
    shift
done

find_daemon() {
    local candidate
    if [[ -n ${OPTIROUTED:-} ]]; then
        echo "$OPTIROUTED"
        return
    fi
    for candidate in "$here/../src/optirouted" "$here/../build/src/optirouted"; do
        [[ ! -x $candidate ]] || { echo "$candidate" && return; }
    done
    command -v optirouted || die "no optirouted: build it, or name it in OPTIROUTED"
}

find_locust() {
    if [[ -n ${LOCUST:-} ]]; then
        echo "$LOCUST"
    elif [[ -x /usr/bin/locust ]]; then
        echo /usr/bin/locust
    else
        command -v locust || die "no locust: apt install python3-locust"
    fi
}

daemon=$(find_daemon)
locust=$(find_locust)
[[ $spend == yes ]] || unset HF_API_TOKEN
export PYTHONDONTWRITEBYTECODE=1

daemon_pid=''
dir=$(mktemp -d)

# end_child PID: politely, after 20 s not
# shellcheck disable=SC2317  # called by finish
end_child() {
    local deadline=$((SECONDS + 20))
    kill -TERM "$1" 2>/dev/null || true
    while kill -0 "$1" 2>/dev/null; do
        ((SECONDS <= deadline)) || kill -KILL "$1" 2>/dev/null || true
        sleep 0.05
    done
}

# Asks the shell for its children: a signal may come before a variable has the last one's id. The
# last is ended first, so that the daemon has no clients to wait for.
# shellcheck disable=SC2317  # called by the trap
finish() {
    local status=$? pid
    trap '' INT TERM HUP
    for pid in $(jobs -p | sort -rn); do
        end_child "$pid"
    done
    if [[ -n $output ]]; then
        mkdir -p "$output" && cp "$dir"/* "$output"/
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The built-in providers again, only quicker.
quick_providers() {
    local simulated="simulated: {latency: ${latency}ms, per_token: 0s, max_latency: ${latency}ms}"
    cat <<END
providers:
  local:
    type: simulated
    default_model: llama-2-7b-local
    per_second: 0.000005
    $simulated
  huggingface:
    type: huggingface
    api_key_env: HF_API_TOKEN
    simulate_without_key: yes
    default_model: mistralai/Mistral-7B-Instruct-v0.2
    models:
      mistralai/Mistral-7B-Instruct-v0.2: {input: 0.2, output: 0.2}
    $simulated
END
}

# write_config NAME
write_config() {
    echo "listen: ['127.0.0.1:0']" # a free port; the daemon's log names it
    echo "metrics_listen: '127.0.0.1:0'"
    echo "workers: $workers"
    [[ -z $latency ]] || quick_providers
    if [[ $1 == baseline ]]; then
        echo "cache: {size: 0}"
        echo "routes: {auto: {cheap: huggingface, strong: huggingface}}"
    elif [[ -n $latency ]]; then
        echo "routes: {auto: {cheap: local, strong: huggingface, fallback: [local]}}"
    fi
}

# Where the daemon says that it serves: port_of NAME listening|metrics
port_of() {
    sed -n "s/.* $2 on 127\.0\.0\.1:\([0-9]*\)$/\1/p" "$dir/$1.log"
}

start_daemon() {
    local deadline=$((SECONDS + 20))
    : >"$dir/$1.log" # before port_of reads it
    "$daemon" -f -c "$dir/$1.yaml" >"$dir/$1.log" 2>&1 &
    daemon_pid=$!
    until port=$(port_of "$1" listening) && [[ -n $port ]] &&
        curl -fs -o "$dir/ready" "http://127.0.0.1:$port/health/ready"; do
        if ! kill -0 "$daemon_pid" 2>/dev/null || ((SECONDS > deadline)); then
            cat "$dir/$1.log" >&2
            die "the daemon did not become ready"
        fi
        sleep 0.05
    done
    rm -f "$dir/ready"
    metrics_port=$(port_of "$1" metrics)
}

stop_daemon() {
    local status=0
    kill -TERM "$daemon_pid"
    wait "$daemon_pid" || status=$?
    daemon_pid=''
    ((status == 0)) || { cat "$dir/$1.log" >&2 && die "the daemon ended with $status"; }
}

# load_begin NAME PORT, load_end NAME: Locust for the whole time; failed requests are judged by the
# comparison. In the background, or a signal to this script would wait for its end.
load_begin() {
    OPTIROUTE_LOAD_SUMMARY="$dir/$1.json" OPTIROUTE_LOAD_NO_WAIT=$no_wait \
        OPTIROUTE_LOAD_FAST=$fast \
        "$locust" -f "$here/locustfile.py" --host "http://127.0.0.1:$2" --headless --only-summary \
        -u "$users" -r "$rate" -t "${seconds}s" --stop-timeout 30 --exit-code-on-error 0 \
        >"$dir/$1.locust.log" 2>&1 &
    locust_pid=$!
}

load_end() {
    local status=0
    wait "$locust_pid" || status=$?
    if ((status != 0)) || [[ ! -s "$dir/$1.json" ]]; then
        tail -n 40 "$dir/$1.locust.log" >&2
        die "Locust ended with $status"
    fi
}

run() {
    local port metrics_port # start_daemon fills them
    write_config "$1" >"$dir/$1.yaml"
    start_daemon "$1"
    echo "$1: $users users, $rate per second, for $seconds s against 127.0.0.1:$port" >&2
    load_begin "$1" "$port"
    load_end "$1"
    curl -fsS -o "$dir/$1.metrics" "http://127.0.0.1:$metrics_port/metrics" || die "no metrics"
    stop_daemon "$1"
}

# ---- the outage ----------------------------------------------------------------------------------

mock_pid='' holder_pid=''

# Takes a free port for the mock and keeps it while the mock is dead, bound but not listening, or
# somebody else may have it by then. Says which in $mock_port.
hold_port() {
    : >"$dir/port"
    python3 -c 'import signal, socket
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(("127.0.0.1", 0))
print(one.getsockname()[1], flush=True)
signal.pause()' >"$dir/port" &
    holder_pid=$!
    until mock_port=$(<"$dir/port") && [[ -n $mock_port ]]; do
        kill -0 "$holder_pid" 2>/dev/null || die "no port for the mock upstream"
        sleep 0.05
    done
    rm -f "$dir/port"
}

start_mock() {
    local deadline=$((SECONDS + 20))
    : >"$dir/mock.log"
    "$mockllm" "$mock_port" >"$dir/mock.log" 2>&1 &
    mock_pid=$!
    until grep -q '^listening on ' "$dir/mock.log"; do
        if ! kill -0 "$mock_pid" 2>/dev/null || ((SECONDS > deadline)); then
            cat "$dir/mock.log" >&2
            die "the mock upstream did not start"
        fi
        sleep 0.05
    done
}

outage_config() {
    cat <<END
listen: ['127.0.0.1:0']
metrics_listen: '127.0.0.1:0'
workers: $workers
cache: {size: 0}
providers:
  local:
    type: simulated
    default_model: llama-2-7b-local
    per_second: 0.000005
    simulated: {latency: 20ms, per_token: 0s, max_latency: 20ms}
  cloud:
    type: openai
    url: http://127.0.0.1:$mock_port/v1
    default_model: mock+delay=20
    models: {mock+delay=20: {input: 0.5, output: 1.5}}
    breaker: {failures: 3, open: 2s}
routes: {auto: {cheap: local, strong: cloud, fallback: [local]}}
END
}

metrics_at() {
    curl -fsS -o "$dir/outage.$1.metrics" "http://127.0.0.1:$metrics_port/metrics" ||
        die "no metrics"
}

# A signal must not wait for the end of a sleep.
pause() {
    sleep "$1" &
    wait $!
}

run_outage() {
    local port metrics_port # start_daemon fills them
    hold_port
    start_mock
    outage_config >"$dir/outage.yaml"
    start_daemon outage
    echo "outage: $users users, $rate per second, for $seconds s against 127.0.0.1:$port" >&2
    load_begin outage "$port"
    pause $((seconds / 3))
    metrics_at healthy
    kill -KILL "$mock_pid"
    wait "$mock_pid" 2>/dev/null || true # quietly
    pause $((seconds / 3))
    metrics_at broken
    start_mock
    load_end outage
    metrics_at healed
    stop_daemon outage
    kill -TERM "$mock_pid" "$holder_pid"
    wait "$mock_pid" "$holder_pid" || true
}

status=0
if [[ $outage == yes ]]; then
    mockllm=${MOCKLLM:-$(dirname "$daemon")/../tests/mockllm}
    [[ -x $mockllm ]] || die "no mock upstream: build it, or name it in MOCKLLM"
    ((seconds >= 12)) || die "--outage needs at least 12 s: -t 12s"
    run_outage
    python3 "$here/load_outage.py" "$dir/outage" || status=$?
    exit "$status"
fi
run baseline
run configured
python3 "$here/load_compare.py" "$dir/baseline" "$dir/configured" "${compare[@]}" || status=$?
exit "$status"

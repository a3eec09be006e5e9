#!/bin/bash
# test: every check of the project, in one command: `contrib/test.sh`, or some: `contrib/test.sh gcc lint`.
#
# Installs the Debian packages that are missing (as root or through sudo), then runs the stages below in
# order. The sources are copied to build-test/src first, so that a tree configured in place is no trouble;
# what was built stays in build-test/, so the second run is much faster. The SDKs of stage sdk and the
# accessibility check of stage browser come from their own registries, into build-test/sdk/ and
# build-test/browser/ and nowhere else. Each stage writes its output to
# build-test/log/STAGE and the end of it is shown when the stage fails.
#
# Counted are single tests: check's, pytest's and node's cases, one for each lint step. The last line is
# `N passed, N failed`, and the exit status says the same. Nothing is skipped in silence: a stage without
# a single test, a skipped test and a sanitizer's report all count as failed.
set -eu -o pipefail
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1
unset CDPATH MAKEFLAGS HF_API_TOKEN OPENAI_API_KEY ANTHROPIC_API_KEY

root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/build-test
src=$out/src
jobs=${JOBS:-2}

declare -A about=(
    [gcc]="gcc, warnings as errors: unit tests, fuzz corpora, layers"
    [clang]="clang, warnings as errors: unit tests, fuzz corpora, layers"
    [blackbox]="real daemons, the plain gcc build"
    [stress]="short runs of the stress harness, as tests/stress/ci.list says, the plain gcc build"
    [sdk]="the clients of OpenAI, Anthropic, LangChain and Vercel, unmodified, in Python and JavaScript"
    [browser]="the pages in Debian's Chromium: chat and dashboard, with axe-core"
    [prometheus]="a real Prometheus: every query of the dashboard, every rule and alert"
    [asan]="AddressSanitizer, UBSan and failpoints: unit tests, then real daemons"
    [tsan]="ThreadSanitizer: the shared-memory tests"
    [lint]="cppcheck, clang-tidy, shellcheck, layers"
    [format]="clang-format"
    [dist]="make distcheck: archive, out-of-tree build, install, uninstall"
    [package]="the Debian package: lintian, then installed, reloaded and purged under a systemd of its own"
)
all_stages=(gcc clang blackbox stress sdk browser prometheus asan tsan lint format dist package)

# ---- what a stage may use -------------------------------------------------------------------------

# Progress goes to the screen (descriptor 3), everything else into the stage's log.
step() {
    echo "-- $*"
    echo "     $*" >&3
}

count() {
    echo "$1 $2" >>"$out/count/$stage"
}

# Products of a build in the tree must not be copied: make would find them through VPATH.
copy_sources() {
    mkdir -p "$src"
    rsync -a --delete --exclude=.git --exclude='/build*' --exclude='*.o' --exclude='*.a' \
        --exclude=.deps --exclude=.dirstamp --exclude='*.log' --exclude='*.trs' \
        --exclude=/Makefile --exclude=/Makefile.in --exclude=/aclocal.m4 --exclude=/autom4te.cache \
        --exclude='/config.*' --include=/configure.ac --exclude='/configure*' --exclude=/m4 \
        --exclude=/stamp-h1 --exclude=__pycache__ --exclude=.pytest_cache --exclude=.env --exclude=node_modules \
        --exclude='/optiroute-*' --exclude=/src/optirouted --exclude=/tests/mockllm --exclude=/www_data.c \
        --exclude=/contrib/optiroute-score --exclude=/contrib/optiroute-manual --exclude='/doc/man/*.[58]' \
        --exclude=/contrib/systemd/optirouted.service \
        --include='*.[chp]' --include='*.py' --include='*.sh' \
        --exclude='/tests/unit/*/test_*' --exclude='/tests/fuzz/fuzz_*' "$root/" "$src/"
}

# configured NAME ARGUMENT...: configures build-test/NAME when it is new.
configured() {
    local dir=$out/$1
    shift
    if [ ! -x "$src/configure" ]; then
        step "autoreconf"
        (cd "$src" && autoreconf -fi)
    fi
    if [ ! -f "$dir/Makefile" ]; then
        step "configure $*"
        mkdir -p "$dir"
        (cd "$dir" && "$src/configure" --quiet "$@")
    fi
}

# made NAME TARGET...: the targets of build-test/NAME.
made() {
    local dir=$out/$1
    shift
    make -C "$dir" -j"$jobs" --no-print-directory "$@"
}

build() {
    configured "$@"
    step "make"
    made "$1" all
}

# Adds up automake's results. A unit program's log ends with check's own count of cases; another
# program is one test, and so is a program that failed though all its cases passed (a leak, say).
count_check() {
    local trs
    find "$out/$1" -name '*.trs' | sort | while read -r trs; do
        awk '
            FILENAME ~ /\.trs$/ { if ($1 == ":test-result:") result = $2; next }
            /^[0-9]+%: Checks: / {
                gsub(/,/, "")
                counted = 1
                cases += $3
                bad += $5 + $7
            }
            END {
                if (result != "PASS" && bad == 0) bad = 1
                if (counted && cases == 0) bad = 1
                if (!counted) cases = 1
                print (cases > bad ? cases - bad : 0), bad
            }' "$trs" "${trs%.trs}.log"
    done >>"$out/count/$stage"
}

# check NAME TARGET...: runs automake's tests and counts them, also when some failed.
check() {
    local name=$1 status=0
    shift
    find "$out/$name" -name '*.trs' -delete
    step "make $*"
    VERBOSE=1 made "$name" "$@" || status=$?
    count_check "$name"
    return $status
}

# Passed and failed in pytest's own record; a skipped test is not a passed one.
count_pytest() {
    /usr/bin/python3 - "$1" >>"$out/count/$stage" <<'END'
import sys
import xml.etree.ElementTree as tree
total = bad = 0
for suite in tree.parse(sys.argv[1]).iter("testsuite"):
    total += int(suite.get("tests"))
    bad += sum(int(suite.get(key)) for key in ("failures", "errors", "skipped"))
print(total - bad, bad)
END
}

# The ends of pytest's lines of dots, for the screen.
percentages() {
    sed -n -u 's/^[.FEsx]* *\(\[ *[0-9]*%\]\)$/     \1/p' >&3
}

# pytest_run BUILD [TESTS [PYTHON]]: tests against that build's daemon; the black-box tests, as many
# files at once as there are jobs, for they mostly wait.
pytest_run() {
    local dir=$out/$1 tests=${2:-tests/blackbox} python=${3:-/usr/bin/python3}
    local status=0 record=$out/log/$stage.xml several=()
    [ "$tests" != tests/blackbox ] || several=(-n "$jobs" --dist loadfile)
    step "pytest $tests"
    rm -f "$record"
    (cd "$src" && OPTIROUTED=$dir/src/optirouted MOCKLLM=$dir/tests/mockllm BUILDDIR=$dir SRCDIR=$src \
        PYTHONUNBUFFERED=1 "$python" -m pytest -q -rfEs --durations=10 -p no:cacheprovider \
        "${several[@]}" --junitxml="$record" "$tests") | tee >(percentages) || status=$?
    [ ! -f "$record" ] || count_pytest "$record"
    return $status
}

# The SDKs in build-test/sdk, by the pins in tests/sdk; left alone when they are what is wanted already.
install_sdks() {
    local pins=$src/tests/sdk wanted
    wanted=$(cat "$pins/requirements.txt" "$pins/package.json" "$pins/package-lock.json" | sha256sum)
    wanted="$wanted $(/usr/bin/python3 --version) $(node --version)"
    [ "$wanted" != "$(cat "$out/sdk/installed" 2>/dev/null)" ] || return 0
    step "installing the SDKs"
    rm -rf "$out/sdk"
    /usr/bin/python3 -m venv "$out/sdk/venv"
    "$out/sdk/venv/bin/pip" install -q --disable-pip-version-check -r "$pins/requirements.txt"
    cp "$pins/package.json" "$pins/package-lock.json" "$out/sdk"
    (cd "$out/sdk" && npm ci --no-audit --no-fund)
    echo "$wanted" >"$out/sdk/installed"
}

# node_run BUILD: the tests in JavaScript; what starts them writes what pytest would.
node_run() {
    local dir=$out/$1 status=0 record=$out/log/$stage-node.xml
    step "node tests/sdk"
    rm -f "$record"
    OPTIROUTED=$dir/src/optirouted MOCKLLM=$dir/tests/mockllm "$out/sdk/venv/bin/python" \
        "$src/tests/sdk/run_node.py" "$out/sdk" "$record" || status=$?
    [ ! -f "$record" ] || count_pytest "$record"
    return $status
}

# axe-core in build-test/browser, by the pin in tests/browser.
install_axe() {
    local pins=$src/tests/browser wanted
    wanted=$(cat "$pins/package.json" "$pins/package-lock.json" | sha256sum)
    [ "$wanted" != "$(cat "$out/browser/installed" 2>/dev/null)" ] || return 0
    step "installing axe-core"
    rm -rf "$out/browser"
    mkdir -p "$out/browser"
    cp "$pins/package.json" "$pins/package-lock.json" "$out/browser"
    (cd "$out/browser" && npm ci --no-audit --no-fund --ignore-scripts)
    echo "$wanted" >"$out/browser/installed"
}

# A worker's sanitizer report would drown in the log of a test that passes: reports go to files.
# The directory is where also `nobody` can write.
sanitized_pytest() {
    local status=0 reports report
    reports=$(mktemp -d)
    chmod 1777 "$reports"
    FAILPOINTS=1 ASAN_OPTIONS=detect_leaks=1:log_path=$reports/asan \
        UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/ubsan pytest_run "$1" || status=$?
    # A thread that ended while LeakSanitizer looked for it is no finding.
    find "$reports" -type f -exec sed -i -E '/^==[0-9]+==Unable to get registers from thread [0-9]+\.$/d' {} +
    find "$reports" -type f -size +0 | while read -r report; do
        echo "== sanitizer report"
        cat "$report"
        count 0 1
    done
    [ -z "$(find "$reports" -type f -size +0)" ] || status=1
    rm -rf "$reports"
    return $status
}

# ---- the stages ---------------------------------------------------------------------------------

stage_gcc() {
    build gcc CC=gcc --enable-werror
    check gcc check
}

stage_clang() {
    build clang CC=clang --enable-werror
    check clang check
}

stage_blackbox() {
    build gcc CC=gcc --enable-werror
    pytest_run gcc
}

# A line of the list is a script and its arguments.
stage_stress() {
    local status=0 script arguments
    build gcc CC=gcc --enable-werror
    while read -r script arguments; do
        case $script in '' | '#'*) continue ;; esac
        step "tests/stress/$script $arguments"
        # shellcheck disable=SC2086 # a list of words
        if OPTIROUTED=$out/gcc/src/optirouted MOCKLLM=$out/gcc/tests/mockllm BUILDDIR=$out/gcc SRCDIR=$src \
            "$src/tests/stress/$script" $arguments </dev/null; then
            count 1 0
        else
            count 0 1
            status=1
        fi
    done <"$src/tests/stress/ci.list"
    return $status
}

stage_sdk() {
    local status=0
    build gcc CC=gcc --enable-werror
    install_sdks
    pytest_run gcc tests/sdk "$out/sdk/venv/bin/python" || status=1
    node_run gcc || status=1
    return $status
}

stage_browser() {
    build gcc CC=gcc --enable-werror
    install_axe
    AXE=$out/browser/node_modules/axe-core/axe.min.js pytest_run gcc tests/browser
}

stage_prometheus() {
    build gcc CC=gcc --enable-werror
    pytest_run gcc tests/prometheus
}

stage_asan() {
    local status=0
    build asan CC=gcc --enable-asan --enable-ubsan --enable-failpoints
    UBSAN_OPTIONS=print_stacktrace=1 check asan check || status=1
    sanitized_pytest asan || status=1
    return $status
}

stage_tsan() {
    local tests
    configured tsan CC=gcc --enable-tsan
    tests=$(cd "$src" && find tests/unit/shm -name 'test_*.c' | sed 's/\.c$//' | sort | tr '\n' ' ')
    step "make tests/unit/shm"
    # shellcheck disable=SC2086 # a list of names
    made tsan $tests
    TSAN_OPTIONS=exitcode=66 check tsan check-TESTS TESTS="$tests"
}

stage_lint() {
    local name status=0
    for name in layers shellcheck cppcheck clang-tidy; do
        step "$name"
        if CACHE=$out/lint JOBS=$jobs "$src/contrib/lint.sh" "$name"; then
            count 1 0
        else
            count 0 1
            status=1
        fi
    done
    return $status
}

stage_format() {
    "$src/contrib/lint.sh" format
    count 1 0
}

stage_dist() {
    build gcc CC=gcc --enable-werror
    step "make distcheck"
    made gcc distcheck DISTCHECK_CONFIGURE_FLAGS=--enable-werror
    count 1 0
}

stage_package() {
    build gcc CC=gcc --enable-werror
    step "make dist"
    rm -f "$out"/gcc/optiroute-*.tar.xz
    made gcc dist
    ARCHIVE=$(echo "$out"/gcc/optiroute-*.tar.xz) JOBS=$jobs pytest_run gcc tests/package
}

# ---- running them -------------------------------------------------------------------------------

fail() {
    echo "test.sh: $*" >&2
    echo "0 passed, 1 failed"
    exit 1
}

sum() {
    cat "$@" | awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }'
}

# One stage in a subshell of its own, where `set -e` is in force (it is not inside `if` or `||`).
run_stage() {
    local status passed failed begin=$SECONDS
    stage=$1
    echo "== $stage: ${about[$stage]}"
    rm -f "$out/count/$stage"
    : >"$out/count/$stage"
    set +e
    (
        set -e
        "stage_$stage"
    ) 3>&1 >"$out/log/$stage" 2>&1 </dev/null
    status=$?
    set -e
    read -r passed failed <<<"$(sum "$out/count/$stage")"
    if [ "$failed" = 0 ] && { [ $status != 0 ] || [ "$passed" = 0 ]; }; then
        failed=1
        count 0 1
    fi
    if [ "$failed" != 0 ]; then
        echo "-- the end of build-test/log/$stage:"
        tail -n 60 "$out/log/$stage"
    fi
    echo "== $stage: $passed passed, $failed failed, $((SECONDS - begin)) s"
}

usage() {
    sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p;}' "$0"
    echo "Stages:"
    for stage in "${all_stages[@]}"; do
        printf '  %-10s %s\n' "$stage" "${about[$stage]}"
    done
}

main() {
    local stages=("$@") groups=(build test package)
    [ $# != 0 ] || stages=("${all_stages[@]}")
    for stage in "${stages[@]}"; do
        [ -n "${about[$stage]:-}" ] || fail "no such stage: $stage (${all_stages[*]})"
    done
    echo "== packages"
    # one from elsewhere does as well, and Debian's npm would not go with it
    if ! command -v node || ! command -v npm; then
        groups+=(node)
    fi >/dev/null
    "$root/contrib/packages.sh" install "${groups[@]}" </dev/null || fail "packages are missing"
    rm -rf "$out/count"
    mkdir -p "$out/count" "$out/log"
    copy_sources
    for stage in "${stages[@]}"; do
        run_stage "$stage"
    done
    read -r passed failed <<<"$(sum "${stages[@]/#/$out/count/}")"
    echo "== all: $SECONDS s"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

case ${1:-} in
    -h | --help) usage ;;
    *) main "$@" ;;
esac

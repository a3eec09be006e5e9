#!/usr/bin/env python3
"""Two summaries of contrib/locustfile.py as one Markdown table, and whether the gateway kept its
promises: nothing failed, money saved, prompts on their side, books in balance. contrib/loadtest.sh
calls it. Exit code 1 when a promise is broken.
"""

import argparse
import json
import math
import sys
from decimal import Decimal

from load_answers import LOCK_TIMEOUTS, all_hits, sum_metric

SHORT_SHARE = 0.75  # the weights of the tasks in locustfile.py
CHEAP, STRONG = "local", "huggingface"


def read_run(prefix):
    """PREFIX.json, and what PREFIX.metrics says of money."""
    with open(f"{prefix}.json", encoding="utf-8") as file:
        run = json.load(file)
    with open(f"{prefix}.metrics", encoding="utf-8") as file:
        exposition = file.read()
    run["metrics_cost"] = sum_metric(exposition, "llm_total_cost_usd_total")
    run["metrics_saved"] = sum_metric(exposition, "llm_saved_cost_usd_total")
    run["lock_timeouts"] = sum_metric(exposition, LOCK_TIMEOUTS)
    run["answered"] = run["requests"] - run["failures"]
    return run


def part(count, whole):
    return f"{count} ({100 * count / whole:.1f} %)" if whole else f"{count}"


def number(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def rows_of(run):
    hits = run["cache"]["hit"]
    warm = run["warm"]
    return {
        "requests": str(run["requests"]),
        "failed": part(run["failures"], run["requests"]),
        "requests per second": number(run["throughput_rps"]),
        "median latency, ms": number(run["latency_ms"]["p50"]),
        "p95 latency, ms": number(run["latency_ms"]["p95"]),
        "median latency after warm-up, ms": number(warm["latency_ms"]["p50"]),
        "p95 latency after warm-up, ms": number(warm["latency_ms"]["p95"]),
        "cost per 1,000 successful requests, USD": run["cost_per_1000_usd"] or "-",
        "cache hits": part(hits, run["answered"]),
        "cache hits after warm-up": part(warm["hits"], warm["requests"]),
        f"answers of {CHEAP}": part(run["providers"].get(CHEAP, 0), run["answered"]),
        f"answers of {STRONG}": part(run["providers"].get(STRONG, 0), run["answered"]),
    }


def print_table(baseline, configured):
    cells = [("", "baseline", "configured")]
    left, right = rows_of(baseline), rows_of(configured)
    cells += [(name, left[name], right[name]) for name in left]
    width = [max(len(row[i]) for row in cells) for i in range(3)]
    lines = [f"| {a:<{width[0]}} | {b:>{width[1]}} | {c:>{width[2]}} |" for a, b, c in cells]
    rule = f"|{'-' * (width[0] + 2)}|{'-' * (width[1] + 1)}:|{'-' * (width[2] + 1)}:|"
    print("\n".join([lines[0], rule, *lines[1:]]))


def cost_reduction(baseline, configured):
    before, after = baseline["cost_per_1000_usd"], configured["cost_per_1000_usd"]
    if before is None or after is None or Decimal(before) == 0:
        return None
    return float(100 * (1 - Decimal(after) / Decimal(before)))


def check_runs(baseline, configured, options):
    """Yields (holds, what)."""
    for name, run in (("baseline", baseline), ("configured", configured)):
        reasons = f": {run['failure_reasons']}" if run["failures"] else ""
        yield run["failures"] == 0 and run["answered"] > 0, f"{name}: nothing failed{reasons}"
        for what in ("cost", "saved"):
            answers, metrics = Decimal(run[f"{what}_usd"]), run[f"metrics_{what}"]
            yield answers == metrics, (
                f"{name}: {what} over the answers {answers:.9f} USD, in the metrics {metrics:.9f}"
            )
        yield run["unpriced"] == 0, f"{name}: every answer has a price"

    yield set(baseline["providers"]) == {STRONG}, f"baseline: {STRONG} alone answered"
    yield baseline["cache"]["hit"] == 0, "baseline: no cache hit"

    reduction = cost_reduction(baseline, configured)
    yield reduction is not None and reduction >= options.min_reduction, (
        f"cost per 1,000 successful requests: {number(reduction)} % below the baseline "
        f"(at least {options.min_reduction:g} %)"
    )
    # Which prompt is drawn is chance: 5 standard errors are exceeded in 1 of 1.7 million runs.
    count = max(1, configured["answered"])
    share = configured["providers"].get(CHEAP, 0) / count
    margin = 5 * math.sqrt(SHORT_SHARE * (1 - SHORT_SHARE) / count)
    yield abs(share - SHORT_SHARE) <= margin, (
        f"share of {CHEAP}: {100 * share:.1f} % "
        f"({100 * SHORT_SHARE:g} +- {100 * margin:.1f} % at {count} requests)"
    )
    # Which side a prompt goes to is not.
    for kind, provider in (("short", CHEAP), ("complex", STRONG)):
        found = configured["providers_by_kind"].get(kind, {})
        yield set(found) == {provider}, f"{kind} prompts went to {provider}: {found}"
    warm, timeouts = configured["warm"], configured["lock_timeouts"]
    yield all_hits(warm["requests"], warm["hits"], warm["misses"], timeouts), (
        f"answers after warm-up from the cache: {warm['hits']} of {warm['requests']} "
        f"({timeouts} times its lock was given up)"
    )
    if options.max_median_ms is not None:
        median = warm["latency_ms"]["p50"]
        yield median is not None and median <= options.max_median_ms, (
            f"median after warm-up: {number(median, 2)} ms (at most {options.max_median_ms:g})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("baseline", help="PREFIX of PREFIX.json and PREFIX.metrics")
    parser.add_argument("configured", help="the same")
    parser.add_argument("--min-reduction", type=float, default=90, help="per cent (default 90)")
    parser.add_argument("--max-median-ms", type=float, help="after warm-up (default: any)")
    options = parser.parse_args()
    baseline, configured = read_run(options.baseline), read_run(options.configured)
    print_table(baseline, configured)
    print()
    broken = 0
    for holds, what in check_runs(baseline, configured, options):
        print(f"{'ok    ' if holds else 'BROKEN'} {what}")
        broken += not holds
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

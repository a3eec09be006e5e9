#!/usr/bin/env python3
"""What an outage of the strong provider did, from Locust's summary, three readings of the metrics
and the daemon's log: whether anybody noticed, and whether the circuit breaker behaved.
contrib/loadtest.sh --outage calls it. Exit code 1 when a promise is broken.
"""

import argparse
import json
import re
import sys
from datetime import datetime
from decimal import Decimal

from load_answers import sum_metric

OPEN_S = 2  # as outage_config in loadtest.sh says
LATE_S = 1


def read(prefix, part):
    with open(f"{prefix}.{part}", encoding="utf-8") as file:
        return file.read()


def series(exposition, name, **labels):
    """Sum of the series of that name with these labels."""
    total = Decimal(0)
    for line in exposition.splitlines():
        match = re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line)
        if match and all(f'{label}="{value}"' in match[1] for label, value in labels.items()):
            total += Decimal(match[2])
    return total


def transitions(log):
    """(seconds since the first line, state) of the strong provider's circuit."""
    found, first = [], None
    for line in log.splitlines():
        match = re.match(r"(\S+Z) \w+ [^:]*: (.*)", line)
        if not match:
            continue
        when = datetime.fromisoformat(match[1].replace("Z", "+00:00")).timestamp()
        first = when if first is None else first
        state = re.match(r"provider cloud: circuit (open|half-open|closed)", match[2])
        if state:
            found.append((when - first, state[1]))
    return found


def check(run, healthy, broken, healed, log):
    """Yields (holds, what)."""
    failed = {"provider": "cloud"}
    reasons = f": {run['failure_reasons']}" if run["failures"] else ""
    yield run["failures"] == 0 and run["requests"] > 0, (
        f"nothing failed of {run['requests']} requests{reasons}")
    yield series(healthy, "llm_upstream_errors_total", **failed) == 0, (
        "no failure before the outage")
    moves = transitions(log)
    opened = [when for when, state in moves if state == "open"]
    closed = [when for when, state in moves if state == "closed"]
    probes = [when for when, state in moves if state == "half-open"]
    yield bool(opened), f"the circuit opened, {len(opened)} times with its probes"
    # Failures that count towards opening: everything but what was rejected without being asked, and
    # what was already under way when it opened.
    refused = series(broken, "llm_upstream_errors_total", reason="breaker_open", **failed)
    errors = series(broken, "llm_upstream_errors_total", **failed) - refused
    stale = series(broken, "llm_breaker_stale_reports_total", **failed)
    dead_probes = series(broken, "llm_circuit_transitions_total", to="open", **failed) - 1
    yield errors - dead_probes - stale == 3, (
        f"it opened at the third failure over all workers: {errors} failed attempts, "
        f"{dead_probes} of them probes, {stale} that came too late to count")
    gaps = [later - earlier for earlier, later in zip(opened, probes)]
    # Whoever opens it may be held up before its line is written, on a busy machine.
    yield all(gap >= OPEN_S - LATE_S for gap in gaps), (
        f"one probe after each {OPEN_S} s: after "
        + ", ".join(f"{gap:.2f}" for gap in gaps[:12]) + " s")
    yield len(probes) <= len(opened), f"never two probes at once ({len(probes)} probes)"
    yield len(closed) == 1 and moves and moves[-1][1] == "closed", "it closed once, at the end"
    yield series(healed, "llm_circuit_state", **failed) == 0, "and is closed"
    asked = {"provider": "cloud", "outcome": "ok"}
    yield (series(healed, "llm_requests_total", **asked)
           > series(broken, "llm_requests_total", **asked)), "the strong provider answers again"
    fell = series(healed, "llm_fallbacks_total", **{"from": "cloud"})
    yield fell > 0, f"{fell} requests were answered by the fallback"
    spent, counted = Decimal(run["cost_usd"]), sum_metric(healed, "llm_total_cost_usd_total")
    yield spent == counted, (
        f"cost over the answers {spent:.9f} USD, in the metrics {counted:.9f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefix", help="PREFIX.json, PREFIX.log, PREFIX.*.metrics")
    options = parser.parse_args()
    run = json.loads(read(options.prefix, "json"))
    log = read(options.prefix, "log")
    readings = [read(options.prefix, f"{part}.metrics") for part in ("healthy", "broken", "healed")]
    for when, state in transitions(log):
        print(f"       {when:7.2f} s  circuit {state}")
    broken = 0
    for holds, what in check(run, *readings, log):
        print(f"{'ok    ' if holds else 'BROKEN'} {what}")
        broken += not holds
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

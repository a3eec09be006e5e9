"""What contrib/locustfile.py and contrib/replay.py ask of an answer of POST /generate, and what
they count. Not a program; the daemon's own figures are GET /metrics.

Money is a Decimal throughout: sums are exact to the nano-dollar.

"Warm" requests are those sent after an earlier request with the same prompt had been answered in
the same run: what a cache can help with at all. Nothing else is left out of the warm figures.
"""

import json
import re
from array import array
from collections import Counter
from decimal import Decimal

FIELDS = {
    "text": str,
    "usage": dict,
    "cost": (Decimal, type(None)),
    "latency": Decimal,
    "model": str,
    "routed_to": str,
    "actual_provider_name": str,
    "cached": bool,
    "saved": Decimal,
    "route_reason": str,
    "request_id": str,
}
CACHE_WORDS = ("hit", "coalesced", "miss", "bypass")
NANO = Decimal("0.000000001")
LOCK_TIMEOUTS = "optiroute_cache_lock_timeouts_total"


class Malformed(Exception):
    """An answer that breaks the contract of /generate; the text names the broken rule only, so
    that equal failures add up."""


def _require(holds, rule):
    if not holds:
        raise Malformed(rule)


def _check_usage(usage):
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    _require(all(type(count) is int and count >= 0 for count in counts), "usage: not three counts")
    _require(counts[0] + counts[1] == counts[2], "usage: total is not the sum")


def check_answer(status, headers, body):
    """The answer as a dict, with its x-optiroute-cache as `cache`. Raises Malformed. `headers`
    needs get() that finds lower-case names."""
    _require(status == 200, f"status {status}")
    try:
        answer = json.loads(body, parse_float=Decimal)
    except ValueError:
        raise Malformed("body is not JSON") from None
    _require(isinstance(answer, dict), "body is not an object")
    for name, kind in FIELDS.items():
        _require(name in answer, f"{name} is missing")
        _require(isinstance(answer[name], kind), f"{name} has a wrong type")
    _require(answer["text"] != "", "text is empty")
    _check_usage(answer["usage"])
    for name in ("cost", "saved"):
        money = answer[name]
        _require(money is None or money.as_tuple().exponent == -9, f"{name}: not nine decimals")
        _require(money is None or money >= 0, f"{name} is negative")
    cache = headers.get("x-optiroute-cache")
    _require(cache in CACHE_WORDS, "x-optiroute-cache is none of the four")
    _require(answer["cached"] == (cache == "hit"), "cached contradicts x-optiroute-cache")
    _require(cache != "hit" or answer["cost"] == 0, "a hit has a cost")
    told = headers.get("x-optiroute-cost-usd")
    _require(answer["cost"] == (None if told is None else Decimal(told)), "cost differs in header")
    _require(headers.get("x-request-id") == answer["request_id"], "request_id differs in header")
    answer["cache"] = cache
    return answer


def sum_metric(exposition, name):
    """Sum over all label sets of one metric in the Prometheus text format."""
    found = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", exposition, re.MULTILINE)
    return sum(map(Decimal, found), Decimal(0))


def all_hits(count, hits, misses, lock_timeouts):
    """Were these all hits, as far as it was the cache's to say? Who held a shard's lock may not have
    been run for 2 ms, on a machine that is too busy: then somebody did not look, or did not store,
    which is counted and a miss. Who asks the same during that waits for its answer."""
    return 0 < hits and (hits == count or 0 < misses <= lock_timeouts)


def percentile(values, percent):
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _latencies(values):
    found = {f"p{percent}": percentile(values, percent) for percent in (50, 95, 99, 100)}
    return {name: value and round(value, 3) for name, value in found.items()}


class Answers:
    """Counts the answers of one run. Times are seconds of one monotonic clock. One thread only."""

    def __init__(self):
        self.failures = Counter()  # by reason
        self.cache = Counter()
        self.providers = Counter()
        self.kinds = {}  # kind of prompt -> providers, as above
        self.cost = Decimal(0)
        self.saved = Decimal(0)
        self.unpriced = 0
        self.warm_hits = self.warm_misses = 0
        self.ended = array("d")
        self.latency_ms = array("d")
        self.warm_ms = array("d")
        self._answered = {}  # prompt -> when it was first answered

    def fail(self, reason):
        self.failures[reason] += 1

    def add(self, answer, prompt, kind, started, ended):
        """An answer that passed check_answer."""
        latency_ms = (ended - started) * 1000
        self.ended.append(ended)
        self.latency_ms.append(latency_ms)
        if started > self._answered.setdefault(prompt, ended):
            self.warm_ms.append(latency_ms)
            self.warm_hits += answer["cached"]
            self.warm_misses += answer["cache"] == "miss"
        self.cache[answer["cache"]] += 1
        self.providers[answer["actual_provider_name"]] += 1
        self.kinds.setdefault(kind, Counter())[answer["actual_provider_name"]] += 1
        self.saved += answer["saved"]
        if answer["cost"] is None:
            self.unpriced += 1
        else:
            self.cost += answer["cost"]

    def summary(self, begin, end):
        """Everything as what JSON can hold; the throughput is that between the two times."""
        answered = len(self.latency_ms)
        failed = sum(self.failures.values())
        inside = sum(begin <= ended <= end for ended in self.ended)
        per_1000 = (self.cost / answered * 1000).quantize(NANO) if answered else None
        return {
            "requests": answered + failed,
            "failures": failed,
            "failure_reasons": dict(self.failures),
            "throughput_rps": round(inside / (end - begin), 2) if end > begin else None,
            "latency_ms": _latencies(self.latency_ms),
            "warm": {
                "requests": len(self.warm_ms),
                "hits": self.warm_hits,
                "misses": self.warm_misses,
                "latency_ms": _latencies(self.warm_ms),
            },
            "cost_usd": f"{self.cost:f}",
            "saved_usd": f"{self.saved:f}",
            "cost_per_1000_usd": per_1000 if per_1000 is None else f"{per_1000:f}",
            "unpriced": self.unpriced,
            "cache": {word: self.cache[word] for word in CACHE_WORDS},
            "providers": dict(self.providers),
            "providers_by_kind": {kind: dict(count) for kind, count in self.kinds.items()},
        }

"""Others' latency while bodies of one to thirty megabytes go through.

    bodies.py path/of/optirouted path/of/mockllm path/of/benchload RESULT.json
              [--senders N] [--rounds N] [--seconds N] [--rate MIB_PER_S]

`make bench-bodies` calls it. Small cached requests at a steady beat over 16 connections, so that both
workers are asked; without and with senders of chat requests that carry images, which the daemon reads,
judges and passes on. Three phases a round: quiet; beside the same bodies that go straight to the upstream,
which shows what two full cores do to everybody; and with the bodies through the daemon. The
rate is what all senders send together; without one they send as fast as memory can be copied. Senders
and upstream stand back for the daemon (nice), as they would be on other machines: with two cores it
would else be their turns on the cores that are measured.
"""
import argparse
import statistics

from bench import BODY, cpu_us, exchange
from gateway import CHAT, Load, far, loaded, median, pss_kib, run, servers

MODEL = "m"
PROBES = 16
PHASES = ("quiet", "beside", "busy")


def probe(options, port):
    return loaded(options, "probe", port=port, path="/generate", body=BODY, count=PROBES,
                  every_us=2000, run_ms=options.seconds * 1000, first=1)


def uploads(options, port, model):
    return Load(options, "upload", port=port, path=CHAT, model=model, count=options.senders,
                mib_per_s=options.rate, before=far)


def one_round(options, port, upstream, pid):
    quiet = probe(options, port)
    with uploads(options, upstream, MODEL):
        beside = probe(options, port)
    before = cpu_us(pid)
    with uploads(options, port, "upstream") as senders:
        busy = probe(options, port)
        held = pss_kib(pid)["processes"]
        upload = senders.finish()
    p99 = {name: one["took_us"]["p99"] for name, one in
           (("quiet", quiet), ("beside", beside), ("busy", busy))}
    return {"quiet": quiet, "beside": beside, "busy": busy, "upload": upload, "pss_kib": held,
            "cpu_us_per_mib": (cpu_us(pid) - before) / max(1, upload["mib"]),
            "ratio": p99["busy"] / p99["quiet"], "ratio_beside": p99["busy"] / p99["beside"]}


def measure(options):
    rounds = []
    with servers(options, MODEL, far) as (port, upstream, pid):
        for _ in range(20):
            exchange(port)
        empty = pss_kib(pid)["processes"]
        for number in range(options.rounds):
            rounds.append(one_round(options, port, upstream, pid))
            print(f"round {number + 1} of {options.rounds}: p99 of cached answers: " + ", ".join(
                f"{rounds[-1][name]['took_us']['p99'] / 1000:.2f} ms {name}" for name in PHASES),
                flush=True)
        after = pss_kib(pid)["processes"]
    return {"senders": options.senders, "rate": options.rate, "rounds": rounds,
            "pss_kib": {"empty": empty, "after": after}}


def report(result):
    rounds = result["rounds"]
    print(f"\n{result['senders']} senders of bodies of 1, 3, 10 and 30 MB: "
          f"{median(rounds, 'upload', 'mib_per_s'):.0f} MiB/s, "
          f"{median(rounds, 'upload', 'bodies'):.0f} bodies a round, "
          f"{median(rounds, 'cpu_us_per_mib'):.0f} us CPU a MiB")
    print(f"PSS without the cache: {result['pss_kib']['empty'] / 1024:.1f} MiB before, at most "
          f"{max(one['pss_kib'] for one in rounds) / 1024:.1f} during, "
          f"{result['pss_kib']['after'] / 1024:.1f} after\n")
    print(f"{'cached answer, ms':22}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}")
    for name in PHASES:
        print(f"{name:22}" + "".join(
            f"{median(rounds, name, 'took_us', part) / 1000:>10.3f}" for part in
            ("p50", "p90", "p99", "max")))
    for title, key in (("p99 busy / quiet", "ratio"), ("p99 busy / beside", "ratio_beside")):
        ratios = [one[key] for one in rounds]
        print(f"\n{title}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
              f"{max(ratios):.2f}); bar 2", end="")
    print()


def main():
    parser = argparse.ArgumentParser(description="Small requests beside large bodies.")
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rate", type=int, default=100, help="MiB/s; 0: no limit")
    run(parser, measure, report)


if __name__ == "__main__":
    main()

"""Streams through the daemon beside the same streams straight from the upstream.

    streams.py path/of/optirouted path/of/mockllm path/of/benchload RESULT.json
               [--streams N] [--rounds N] [--repeat N]

`make bench-streams` calls it. 512 streams at once, each of 66 words 20 ms apart, again and again on
the same connections; the upstream stamps each word with its number and the time, so that what is
missing or out of order is seen and the way of every event is known. Direct rounds and rounds through
the daemon (two workers) are interleaved; the figures are medians over the rounds. All processes
share the cores: the mock and the client have their part in each figure, and the direct rounds show
how large it is. (The client does not go before the others, as in bench-bodies: 25,000 words a second
that each interrupt who wrote them cost more than the words.)
"""
import argparse

from bench import cpu_us
from gateway import CHAT, Load, median, run, servers

WORDS = 66
PACE_MS = 20
MODEL = f"m+tokens={WORDS}+pace={PACE_MS}+stamp"


def one_round(options, port, model, pid):
    before = cpu_us(pid)
    with Load(options, "streams", port=port, path=CHAT, model=model, count=options.streams,
              repeat=options.repeat, events=WORDS, pace_ms=PACE_MS, ramp_ms=500) as load:
        figures = load.finish()
    figures["cpu_us_per_event"] = (cpu_us(pid) - before) / figures["words"]
    return figures


def measure(options):
    rounds = []
    with servers(options, MODEL) as (port, upstream, pid):
        for number in range(options.rounds):
            rounds.append({"direct": one_round(options, upstream, MODEL, pid),
                           "daemon": one_round(options, port, "upstream", pid)})
            print(f"round {number + 1} of {options.rounds}: " + ", ".join(
                f"{name} {one['way_us']['p50'] / 1000:.2f} ms" for name, one in
                rounds[-1].items()), flush=True)
    return {"streams": options.streams, "words": WORDS, "pace_ms": PACE_MS, "rounds": rounds}


LINES = (("time to first word", "first_us"), ("gap between words", "gap_us"),
         ("way of a word", "way_us"))


def report(result):
    rounds = result["rounds"]
    sent = sum(one["daemon"]["words"] for one in rounds)
    over = {name: sum(one[name]["gaps_over"] for one in rounds) for name in ("direct", "daemon")}
    print(f"\n{result['streams']} streams at once of {result['words']} words, {result['pace_ms']} ms "
          f"apart: all {sent} words of {sum(one['daemon']['streams'] for one in rounds)} streams "
          f"came, in order")
    print(f"gaps of more than {10 * result['pace_ms']} ms: {over['daemon']} ({over['direct']} "
          f"direct)\n")
    print(f"{'ms':22}{'p50':>18}{'p99':>18}{'max':>18}")
    for title, key in LINES:
        for name in ("direct", "daemon"):
            print(f"{title + ', ' + name:27}" + "".join(
                f"{median(rounds, name, key, part) / 1000:>13.2f}     " for part in
                ("p50", "p99", "max")))
        print(f"{'  added':27}" + "".join(
            f"{(median(rounds, 'daemon', key, part) - median(rounds, 'direct', key, part)) / 1000:>13.2f}     "
            for part in ("p50", "p99", "max")))
    print(f"\nCPU of all processes of the daemon: "
          f"{median(rounds, 'daemon', 'cpu_us_per_event'):.1f} us an event")


def main():
    parser = argparse.ArgumentParser(description="Streams beside a direct run.")
    parser.add_argument("--streams", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    run(parser, measure, report)


if __name__ == "__main__":
    main()

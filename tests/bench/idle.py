"""What idle connections and open streams cost in memory, and how streams do beside them.

    idle.py path/of/optirouted path/of/mockllm path/of/benchload RESULT.json
            [--idle N] [--streams N] [--seconds N]

`make bench-idle` calls it. 10,000 kept connections that have had one answer each, and then 1,000
streams of 20 words a second beside them. Memory is the proportional set size of all processes of the
daemon without the region that holds the cache; it is looked at three times while the streams run,
since the daemon keeps what it streams until it can store it. In the end every idle connection asks
once more: none may have been lost.
"""
import argparse
import time

from bench import cpu_us, exchange
from gateway import CHAT, Load, pss_kib, run, servers

PACE_MS = 50
RAMP_MS = 2000
# RELIABILITY section 6: KiB of an idle connection, of a stream, of all together; and what is better
BARS = {"idle": (2, 0.55), "stream": (96, 48), "all": (200 * 1024, 100 * 1024)}


def cpu_share(pid, seconds):
    before = cpu_us(pid)
    time.sleep(seconds)
    return (cpu_us(pid) - before) / (seconds * 1e6)


def watch_streams(options, port, pid):
    """Memory at the beginning, in the middle and at the end; what the client says."""
    words = options.seconds * 1000 // PACE_MS
    seen = []
    with Load(options, "streams", port=port, path=CHAT, model="upstream", count=options.streams,
              events=words, pace_ms=PACE_MS, ramp_ms=RAMP_MS) as load:
        left = options.seconds - RAMP_MS / 1000 - 1
        for _ in range(3):
            time.sleep(left / 3)
            before = time.monotonic()
            seen.append(pss_kib(pid))
            left -= max(0, time.monotonic() - before)
        if load.process.poll() is not None:
            raise RuntimeError("the streams ended before they were measured: more --seconds")
        figures = load.finish()
    return seen, figures


def measure(options):
    words = options.seconds * 1000 // PACE_MS
    with servers(options, f"m+tokens={words}+pace={PACE_MS}+stamp") as (port, _, pid):
        for _ in range(20):
            exchange(port)
        empty = pss_kib(pid)
        with Load(options, "idle", port=port, count=options.idle) as idle:
            cpu = cpu_share(pid, 5)
            held = pss_kib(pid)
            streaming, figures = watch_streams(options, port, pid)
            after = pss_kib(pid)
            kept = idle.finish()
        gone = pss_kib(pid)
    return {"idle": options.idle, "streams": options.streams, "seconds": options.seconds,
            "pss_kib": {"empty": empty, "idle": held, "streaming": streaming, "after": after,
                        "gone": gone},
            "idle_cpu": cpu, "kept": kept, "client": figures}


def line(what, kib, key):
    bar, better = BARS[key]
    scale, unit = (1024, "MiB") if key == "all" else (1, "KiB")
    verdict = "better" if kib <= better else "met" if kib <= bar else "MISSED"
    print(f"{what:36}{kib / scale:10.2f} {unit}   bar {bar / scale:g}, better {better / scale:g}: "
          f"{verdict}")


def report(result):
    memory = {name: one["processes"] for name, one in result["pss_kib"].items()
              if name != "streaming"}
    streaming = [one["processes"] for one in result["pss_kib"]["streaming"]]
    each = [(one - memory["idle"]) / result["streams"] for one in streaming]
    print(f"\nPSS of all processes without the cache: {memory['empty'] / 1024:.1f} MiB with nobody, "
          f"{memory['idle'] / 1024:.1f} with the idle, {max(streaming) / 1024:.1f} with the streams, "
          f"{memory['after'] / 1024:.1f} when these are over, {memory['gone'] / 1024:.1f} in the end\n")
    line(f"each of {result['idle']} idle", (memory["idle"] - memory["empty"]) / result["idle"],
         "idle")
    for part, kib in zip(("early", "in the middle", "late"), each):
        line(f"each of {result['streams']} streams, {part}", kib, "stream")
    line("all together", max(streaming), "all")
    client = result["client"]
    print(f"\nidle CPU {result['idle_cpu'] * 100:.2f} % of a core (bar 1); idle connections lost: "
          f"{result['kept']['lost']}")
    print(f"{client['words']} words, all there and in order; way of a word p50 "
          f"{client['way_us']['p50'] / 1000:.2f} ms, p99 {client['way_us']['p99'] / 1000:.2f} ms "
          f"(bars 1 and 10, on a quiet machine); gaps of more than {10 * PACE_MS} ms: "
          f"{client['gaps_over']}")


def main():
    parser = argparse.ArgumentParser(description="Memory of idle connections and streams.")
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    run(parser, measure, report)


if __name__ == "__main__":
    main()

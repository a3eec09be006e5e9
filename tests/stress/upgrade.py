#!/usr/bin/python3
"""Does an upgrade lose anything? Outside CI: `tests/stress/upgrade.py [UPGRADES]`.

USR2 every half second, or as soon as the one before is complete, twenty times, under the load of
reload.py: wrk on kept connections, a connection for each request, streams that outlast several masters.
Asserted: no request failed, no stream lost a word, at least 100,000 requests were sent, the totals are
the sum of what the clients were told, no counter went back at any look, every old master ended with 0 and
nobody is left of any. Then the same with binaries that cannot take over: the same processes throughout.
OPTIROUTED names the binary (src/optirouted).
"""
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "blackbox"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from optiroute import assert_not_less, eventually  # noqa: E402
from reload import CONFIG, LEAST_REQUESTS, assert_totals, under_load  # noqa: E402
from upgrading import Upgradable  # noqa: E402

BROKEN = ["#!/bin/sh\nexit 1\n", "no program", "#!/bin/sh\nkill -KILL $$\n"]


def good(daemon, times):
    first = daemon.generate("kept").json()["cost"]
    looks = [daemon.metrics()]

    def upgrade():
        daemon.upgrade()
        looks.append(daemon.metrics())
        assert_not_less(looks[-2], looks[-1])

    sent, cost = under_load(daemon, times, upgrade)
    for pid in daemon.pids[:-1]:
        status = daemon.await_end_of(pid)
        assert status == 0, f"master {pid}: {status}"
    del daemon.pids[:-1]
    metrics = daemon.metrics()
    assert_not_less(looks[-1], metrics)
    assert metrics.total("optiroute_config_generation") == times + 1
    assert metrics.total("optiroute_worker_restarts_total") == 0
    assert_totals(daemon, first + cost)
    # wrk leaves in the middle of what its last 32 connections asked
    served = metrics.total("http_requests_total", endpoint="/generate", status="200") - 1
    assert sent <= served <= sent + 32, (sent, served)
    assert sent >= LEAST_REQUESTS * times // 20, sent
    print(f"{times} upgrades under {sent} requests: none failed, totals agree, every master ended with 0")


def broken(daemon, times):
    before, binary = daemon.everybody(), daemon.good_binary()
    done = []

    def fail():
        daemon.install(BROKEN[len(done) % len(BROKEN)])
        start = len(daemon.log.lines)
        daemon.send_signal(signal.SIGUSR2)
        daemon.log.wait_for("upgrade failed", start)
        done.append(True)

    sent, _ = under_load(daemon, times, fail)
    daemon.install(binary)
    assert daemon.everybody() == before, "other processes"
    print(f"{len(done)} failed upgrades under {sent} requests: none failed, the same processes")


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with Upgradable(CONFIG) as daemon:
        good(daemon, times)
        eventually(lambda: len(daemon.everybody()) == 3, what="one generation")
        broken(daemon, times)
    print("all hold")


if __name__ == "__main__":
    main()

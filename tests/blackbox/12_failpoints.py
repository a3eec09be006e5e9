"""Death at the worst moment: inside the store's lock, or while another binary takes over, in a build
with --enable-failpoints."""
import signal

import pytest

from optiroute import Closed, Daemon, environment, eventually
from upgrading import Upgradable, holder


def failing(point):
    return environment(OPTIROUTE_FAILPOINT=point)


@pytest.mark.parametrize("step", range(1, 10))
def test_killed_inside_a_write_the_others_go_on(step):
    """Each worker dies at its 5th pass of this step; the shards it held are repaired."""
    with Daemon({"workers": 3, "cache": {"size": "1MB"}},
                env=failing(f"store.write.{step}:kill:5")) as daemon:
        kept, lost = {}, 0
        for i in range(60):
            prompt = f"write {i}"
            try:
                answer = daemon.generate(prompt)
                assert answer.status == 200
                kept[prompt] = answer.json()["text"]
            except (Closed, ConnectionError):
                lost += 1
        assert 0 < lost <= 12, "only requests in flight on a worker that died"
        for prompt, text in kept.items():
            try:
                body = daemon.generate(prompt).json()
                assert body["text"] == text, "a value may be lost, never wrong"
            except (Closed, ConnectionError):
                pass
        metrics = daemon.metrics()
        assert metrics.total("optiroute_worker_restarts_total") >= lost
        assert metrics.total("optiroute_cache_lock_timeouts_total") == 0
        if 1 <= step <= 9:
            eventually(lambda: daemon.metrics().total("optiroute_cache_shard_recoveries_total"),
                       what="a recovery")


def test_killed_inside_the_lock_a_hit_is_still_a_hit():
    with Daemon({"workers": 2, "cache": {"size": "1MB"}},
                env=failing("store.write.3:kill:5")) as daemon:
        def ask(prompt):
            try:
                return daemon.generate(prompt).json()
            except (Closed, ConnectionError):
                return None
        assert ask("before")["cached"] is False
        results = [ask(f"more {i}") for i in range(30)]
        assert None in results
        assert eventually(lambda: ask("before"))["cached"] is True


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_new_master_killed_while_it_takes_over(step):
    """All its workers are ready, and its pid file may lie beside the old one's; nobody has been served
    by it yet. The old daemon goes on in all respects, and the slots come back."""
    with Upgradable(env=failing(f"upgrade.take.{step}:kill")) as daemon:
        before = daemon.everybody()
        daemon.generate("kept")
        for _ in range(3):
            start = len(daemon.log.lines)
            result = daemon.tell()
            assert result.returncode == 1 and f"process {daemon.pid} goes on" in result.stderr
            match = daemon.log.wait_for(r"the new daemon \(process (\d+)\) ended: signal 9", start)
            for _ in range(3):  # two workers, one metrics worker
                line = daemon.log.wait_for(rf"of master {match[1]}, which is gone, is free again", start)
                start = daemon.log.lines.index(line.string) + 1
            assert holder(daemon.pid_path) == (daemon.pid, daemon.pid)
            assert list(daemon.dir.glob("pid*")) == [daemon.pid_path]
            assert daemon.everybody() == before
            metrics = daemon.metrics()
            assert metrics.total("optiroute_config_generation") == 1
            assert metrics.total("optiroute_workers") == 2
            assert daemon.generate("kept").json()["cached"] is True
        daemon.reload()
        assert daemon.generate("kept").json()["cached"] is True


def test_a_new_master_stopped_while_it_takes_over_is_given_up():
    """Its pid file is ready, and stays beside the old one's; after ten seconds it is gone."""
    with Upgradable(env=failing("upgrade.take.2:stop")) as daemon:
        start = len(daemon.log.lines)
        daemon.send_signal(signal.SIGUSR2)
        eventually(lambda: len(list(daemon.dir.glob("pid.*"))) == 1)
        assert holder(daemon.pid_path) == (daemon.pid, daemon.pid)
        assert daemon.generate("meanwhile").status == 200
        daemon.log.wait_for("upgrade failed: .*did not get ready in time", start)
        assert holder(daemon.pid_path) == (daemon.pid, daemon.pid)
        assert list(daemon.dir.glob("pid*")) == [daemon.pid_path]
        assert daemon.generate("meanwhile").json()["cached"] is True

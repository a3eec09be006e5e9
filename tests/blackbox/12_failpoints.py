"""Death at the worst moment: inside the store's lock, in a build with --enable-failpoints."""
import pytest

from optiroute import Closed, Daemon, environment, eventually


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

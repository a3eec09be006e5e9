"""Death at the worst moment: inside the store's lock, or while another binary takes over, in a build
with --enable-failpoints."""
import os
import random
import re
import signal

import pytest

from optiroute import Closed, Daemon, compose, environment, eventually, run
from processes import proc_state
from upgrading import Upgradable, holder

FRESH = ["Cache-Control: no-cache"]

# Steps that no request reaches: records under 256 bytes, which no answer is, and damaged bytes.
# tests/unit/shm/test_store_kill.c reaches them.
NOT_BY_REQUESTS = {"store.evict.1", "store.repair.2", "store.repair.7", "store.repair.8"}


def failing(point):
    return environment(OPTIROUTE_FAILPOINT=point)


def steps_inside_the_lock():
    """By the binary's own account, so that a new one is killed at too."""
    found = run("-v", env=failing("list")).stdout.split()
    steps = {step for step in found if step.startswith(("store.", "lock."))}
    assert NOT_BY_REQUESTS < steps
    return sorted(steps - NOT_BY_REQUESTS)


QUICK = {"quick": {"type": "simulated", "default_model": "quick-1", "simulated": {
    "latency": "0ms", "per_token": "0ms", "max_latency": "0ms"}}}


def is_rare(step):
    """Passed when something is repaired or given up, and not by every put."""
    return "repair" in step or "evict" in step or step == "lock.take.2"


class Asker:
    """One connection, until a worker dies of the question."""

    def __init__(self, daemon):
        self.daemon, self.client = daemon, None

    def ask(self, prompt, fields=()):
        """The body of the answer, None when there is none."""
        self.client = self.client or self.daemon.connect()
        try:
            answer = self.client.request("POST", "/generate", {
                "prompt": prompt, "provider": "quick", "max_tokens": 60 + len(prompt) % 60}, fields)
        except (Closed, ConnectionError):
            self.client = None
            return None
        assert answer.status == 200, answer
        return answer.json()


def test_killed_at_every_step_of_store_and_lock_the_others_go_on():
    """A shard that is filled over and over, and for each step one worker that dies there, also for those
    that only a repair passes."""
    steps = steps_inside_the_lock()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    draw, texts, deaths = random.Random(seed), {}, []
    # the usual ones some requests apart, so that who repairs lives to count it
    points = ",".join(f"{step}:kill:+{1 if is_rare(step) else 2 + 12 * i}"
                      for i, step in enumerate(steps))
    with Daemon({"workers": 3, "cache": {"size": "1MB"}, "providers": QUICK},
                env=failing(points)) as daemon:
        asker = Asker(daemon)
        for turn in range(20000):
            number = draw.randrange(400)
            prompt = f"prompt {number} " + "x" * number
            body = asker.ask(prompt, FRESH if draw.random() < 0.5 else ())
            if body is not None:
                assert texts.setdefault(prompt, body["text"]) == body["text"]
            if turn % 50 == 0:
                deaths = re.findall(r"^failpoint: (\S+): kill$", daemon.log.text(), re.M)
                if len(deaths) == len(steps):
                    break
        print(turn, "turns")
        assert sorted(deaths) == steps, "each step once"
        for prompt, text in texts.items():
            assert asker.ask(prompt)["text"] == text
        eventually(lambda: daemon.metrics().total("optiroute_worker_restarts_total", reason="signal")
                   == len(steps), what="all of them replaced")
        metrics = daemon.metrics()
        recoveries = [metrics.total("optiroute_cache_shard_recoveries_total", result=result)
                      for result in ("clean", "rebuilt", "emptied")]
        print(len(steps), "steps,", recoveries, "recoveries")
        # who dies in a repair, or right after one, has not counted it
        apart = sum(not is_rare(step) for step in steps)
        assert recoveries[0] > 0 and recoveries[1] > 0 and recoveries[2] == 0, recoveries
        assert apart / 2 < sum(recoveries) <= len(steps), recoveries
        assert metrics.total("llm_cache_events_total", event_type="corrupt") == 0
        assert metrics.total("optiroute_cache_lock_timeouts_total") == 0


def ask_once(daemon, prompt):
    """On a connection of its own."""
    return daemon.generate(prompt).json()


def test_a_worker_stopped_inside_the_lock_costs_the_others_one_shard():
    """K3; how little time it costs them is shown by tests/stress/stopped.py."""
    prompts = [f"prompt {i}" for i in range(64)]
    with Daemon({"workers": 3, "cache": {"size": "32MB"}},
                env=failing(f"store.write.5:stop:+{len(prompts) + 1}")) as daemon:
        for prompt in prompts:
            assert ask_once(daemon, prompt)["cached"] is False
        with daemon.connect() as last_question:
            last_question.send(compose("POST", "/generate", {"prompt": "who is stopped?"}))
            victim, = eventually(lambda: [pid for pid in daemon.workers() if proc_state(pid) == "T"],
                                 what="a stopped worker")
            try:
                missed = [[prompt for prompt in prompts if not ask_once(daemon, prompt)["cached"]]
                          for _ in range(3)]
                timeouts = daemon.metrics().total("optiroute_cache_lock_timeouts_total")
            finally:
                os.kill(victim, signal.SIGCONT)
            assert last_question.read_answer().status == 200
        assert missed[0] == missed[1] == missed[2], "one shard's, each time"
        assert 0 < len(missed[0]) < len(prompts) / 2
        assert timeouts >= 3 * len(missed[0])
        assert all(ask_once(daemon, prompt)["cached"] for prompt in prompts), "healed"
        metrics = daemon.metrics()
        assert metrics.total("optiroute_cache_shard_recoveries_total") == 0, "nobody died"
        assert metrics.total("optiroute_worker_restarts_total") == 0


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

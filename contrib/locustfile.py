"""Load on POST /generate with Locust: three short prompts to one complex one, provider auto.

    locust -f contrib/locustfile.py --host http://127.0.0.1:8000          then http://localhost:8089
    contrib/loadtest.sh                                                   the whole comparison

A user asks, waits 1 to 4 seconds, asks again: 50 users make about 20 requests a second. A failure
is any status but 200 and any answer that breaks the API's contract (load_answers.py). What Locust
has no column for (money, cache, providers) is printed at the end. From the environment:

    OPTIROUTE_LOAD_NO_WAIT=1       no waiting time: each user has always a request in flight
    OPTIROUTE_LOAD_FAST=1          Locust's faster HTTP client; the usual one costs the machine more
                                   than the gateway does and shows it as latency
    OPTIROUTE_LOAD_SUMMARY=PATH    writes the figures as JSON

Runs in one Locust process: users of several processes would have to merge their counts.
"""

import json
import os
import random
import sys
import time

from gevent import GreenletExit, sleep
from locust import FastHttpUser, HttpUser, between, events, task
from locust.exception import RescheduleTaskImmediately

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from load_answers import Answers, Malformed, check_answer  # noqa: E402
from make_prompts import COMPLEX, SHORT  # noqa: E402

NO_WAIT = os.environ.get("OPTIROUTE_LOAD_NO_WAIT", "") == "1"
FAST = os.environ.get("OPTIROUTE_LOAD_FAST", "") == "1"
SUMMARY = os.environ.get("OPTIROUTE_LOAD_SUMMARY", "")


class Run:
    """What this process has seen, and when. The throughput counts from when all users were there
    to when they were told to stop."""

    answers = Answers()
    begin = 0.0
    end = 0.0
    users = 0


class Client(FastHttpUser if FAST else HttpUser):
    wait_time = between(1, 4)

    @task(3)
    def ask_short(self):
        self.ask("short", random.choice(SHORT))

    @task(1)
    def ask_complex(self):
        self.ask("complex", random.choice(COMPLEX))

    def ask(self, kind, prompt):
        if Run.end > Run.begin:
            # Told to stop while it waited, and awake before Locust had it ended: what it asked now
            # would be cut off in the middle, and look like a request without an answer.
            return
        started = time.monotonic()
        body = {"prompt": prompt, "provider": "auto"}
        try:
            with self.client.post(
                "/generate", json=body, name=f"/generate {kind}", catch_response=True
            ) as response:
                judge(response, kind, prompt, started, time.monotonic())
        except GreenletExit:
            Run.answers.fail("no answer within Locust's --stop-timeout")
            raise
        if NO_WAIT:
            # Not a wait_time of 0: Locust ends users whom it believes to be waiting, and some have
            # sent their next request by then, which the gateway answers and nobody counts.
            # The sleep gives the others their turn: a hit can be back before the socket would
            # block, and then one user goes on and on while the rest wait.
            sleep(0)
            raise RescheduleTaskImmediately


def judge(response, kind, prompt, started, ended):
    """Counts the response, here and in Locust."""
    if not response.status_code:  # no answer at all: Locust knows why
        Run.answers.fail(type(response.error).__name__)
        response.failure(response.error)
        return
    try:
        answer = check_answer(response.status_code, response.headers, response.content)
    except Malformed as rule:
        Run.answers.fail(str(rule))
        response.failure(str(rule))
        return
    Run.answers.add(answer, prompt, kind, started, ended)
    response.success()


@events.test_start.add_listener
def on_start(environment, **_):
    Run.answers = Answers()
    Run.begin = time.monotonic()


@events.spawning_complete.add_listener
def on_spawned(user_count, **_):
    Run.begin = time.monotonic()
    Run.users = user_count


@events.test_stopping.add_listener
def on_stopping(environment, **_):
    Run.end = time.monotonic()


@events.quitting.add_listener
def on_quitting(environment, **_):
    if Run.end < Run.begin:
        return  # never ran to its end
    summary = {"users": Run.users, "waiting": not NO_WAIT}
    summary |= Run.answers.summary(Run.begin, Run.end)
    print(
        f"cost {summary['cost_usd']} USD, saved {summary['saved_usd']} USD, "
        f"cache {summary['cache']}, providers {summary['providers']}"
    )
    if SUMMARY:
        with open(SUMMARY, "w", encoding="utf-8") as out:
            json.dump(summary, out, indent=2)

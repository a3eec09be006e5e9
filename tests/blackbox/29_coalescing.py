"""Identical requests in flight anywhere on the machine become one upstream call.

The mock counts the calls. A request that the daemon has read waits for the one that was
there first.
"""
import collections
import contextlib
import json
import os
import signal
import threading
import time
from decimal import Decimal

import pytest

from mock import Mock
from optiroute import Closed, Daemon, compose, eventually, merged
from processes import ESTABLISHED, connected_to, connections, listening_ports, sockets
from streaming import (AUTO, KINDS, PRICES, WORDS, Book, Stream, assert_whole, await_in_flight, before,
                       narrow_client, open_stream, provider, question, unlike)
from upgrading import Upgradable

HELD = "+delay=60000"  # until the mock is told to release it
PACED = "+pace=600000"  # an event each time that it is told to release one, behind the first
PRICED = ["mherd" + HELD, "mlines" + HELD, "mleft-1" + HELD, "mleft-4" + HELD]


def settings(mock, workers, **changes):
    sturdy = {"breaker": {"failures": 255}, "models": {name: PRICES for name in PRICED}}
    return merged({"workers": workers,
                   "providers": {kind: provider(mock, kind, **sturdy) for kind in KINDS},
                   "routes": AUTO}, changes)


@pytest.fixture(scope="module")
def mock():
    with Mock() as running:
        yield running


@pytest.fixture(scope="module")
def one(mock):
    """Everybody is in the same worker."""
    with Daemon(settings(mock, 1)) as running:
        yield running


@pytest.fixture(scope="module")
def four(mock):
    with Daemon(settings(mock, 4)) as running:
        yield running


def say(mock, count):
    """So many events more of the stream that is under way."""
    for _ in range(count):
        eventually(mock.release, what="an event that waits")


@contextlib.contextmanager
def all_released(mock):
    """What is held, now or later in this block, comes at once."""
    ends = threading.Event()

    def release():
        while not ends.is_set():
            mock.release()
            ends.wait(0.02)

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


def await_turn(daemon):
    """Until every worker has answered somebody: it has dealt with what it had read before that."""
    clients, heard = [], set()

    def all_heard():
        clients.append(daemon.connect())
        answer = clients[-1].request("GET", "/health")
        heard.add(answer.field("x-request-id").rsplit("-", 1)[0])  # begins with the worker's own
        return len(heard) == daemon.settings["workers"]

    eventually(all_heard, what="each worker answers")
    for client in clients:
        client.close()


class Crowd:
    """The same question from many connections; `leader` was there first."""

    def __init__(self, daemon, mock, orders, count, case="chat-openai", fields=(), stream=False):
        self.daemon, self.mock, self.orders = daemon, mock, orders
        self.model = "m" + orders
        path, body = question(case, orders, stream=stream)
        self.request = compose("POST", path, body, list(fields))
        self.book = Book(daemon)
        self.leader = self.open()
        await_in_flight(mock, self.model)
        self.clients = [self.open() for _ in range(count)]
        self.await_waiting()

    def open(self):
        client = self.daemon.connect()
        client.send(self.request)
        return client

    def await_waiting(self, *others):
        """Until the daemon has read and looked at all requests: what it does not answer waits."""
        for client in [*self.clients, *others]:
            client.await_taken()
        await_turn(self.daemon)

    def spread(self):
        """More join, until every worker has one: one that was not run for a moment got none."""
        def is_everywhere():
            files = {one.file for one in connections()
                     if one.port == self.daemon.address[1] and one.state == ESTABLISHED}
            if all(files & sockets(pid) for pid in self.daemon.workers()):
                return True
            self.clients.append(self.open())
            self.await_waiting()
            return False

        eventually(is_everywhere, what="a request in every worker")

    def answers(self):
        everybody = [self.leader, *self.clients]
        with all_released(self.mock):
            answers = [client.read_answer() for client in everybody]
        for client in everybody:
            client.close()
        return answers

    def release_until(self, calls):
        """So many calls are made for it, those behind the first after it; each is held."""
        self.mock.release()
        eventually(lambda: self.calls() >= calls, what=f"{calls} calls")
        await_in_flight(self.mock, self.model, self.calls() - 1)

    def calls(self):
        return self.mock.counters(self.model)["requests"]

    def assert_calls(self, count):
        """So many upstream calls. A worker makes one for its own when another one held the shard and was
        not run for 2 ms, which is counted. How many those were."""
        more = self.calls() - count
        assert 0 <= more < self.daemon.settings["workers"], more
        if more > 0:
            eventually(lambda: self.book.total("optiroute_cache_lock_timeouts_total") > 0,
                       what=f"a reason for {more} calls")
        return more

    def assert_one_call(self, answers):
        """The leader's answer is everybody's. How many calls there were besides, as above."""
        more, caches = self.assert_calls(1), cache_of(answers)
        assert caches[0] == "miss"
        assert collections.Counter(caches[1:]) == \
            collections.Counter(miss=more, coalesced=len(caches) - 1 - more)
        return more


def cache_of(answers):
    return [answer.field("x-optiroute-cache") for answer in answers]


def cost_of(answer):
    return Decimal(answer.field("x-optiroute-cost-usd"))


def saved_of(answer):
    return Decimal(answer.field("x-optiroute-saved-usd"))


# -- one answer for all ----------------------------------------------------------------------------

def test_five_hundred_identical_requests_are_one_call(four, mock):
    crowd = Crowd(four, mock, "herd" + HELD, 499)
    answers = crowd.answers()
    assert {answer.status for answer in answers} == {200}
    calls = 1 + crowd.assert_one_call(answers)
    assert len({answer.body for answer in answers}) == calls, "all have the same"
    waited = [answer for answer in answers if answer.field("x-optiroute-cache") == "coalesced"]
    cost = cost_of(answers[0])
    assert cost > 0
    assert all(cost_of(answer) == 0 and saved_of(answer) == cost for answer in waited)
    assert crowd.book.total("llm_cache_events_total", event_type="coalesced") == len(waited)
    assert crowd.book.total("llm_cache_events_total", event_type="miss") == calls
    assert crowd.book.total("llm_saved_cost_usd_total", reason="coalesced") == len(waited) * cost
    assert crowd.book.total("llm_total_cost_usd_total") == calls * cost
    assert crowd.book.total("llm_requests_total") == calls


def test_the_savings_stand_on_the_lines_of_those_who_waited(four, mock):
    crowd = Crowd(four, mock, "lines" + HELD, 7)
    began = time.monotonic()
    while (waited_s := time.monotonic() - began) < 0.2:  # all of them
        four.metrics()
    answers = crowd.answers()
    crowd.assert_one_call(answers)
    lines = [four.access_line(answer.field("x-request-id")) for answer in answers]
    assert [line["cache"] for line in lines] == cache_of(answers)
    for answer, line in zip(answers, lines):
        assert line["provider"] == "openai" and line["status"] == 200
        if line["cache"] == "miss":
            assert line["attempts"] == 1
            continue
        assert line["attempts"] == 0
        assert line["cost_usd"] == 0 and Decimal(str(line["saved_usd"])) == saved_of(answer)
        overhead_s = int(answer.field("x-optiroute-overhead-us")) / 1e6
        assert overhead_s < float(line["duration_s"]) - waited_s + 0.001, "waiting is not overhead"


def test_both_doors_share_a_flight(four, mock):
    orders = unlike(HELD)
    path, body = question("chat-openai", orders, stream=False, max_tokens=100)
    crowd = Crowd(four, mock, orders, 0, case="generate-openai")
    clients = [four.connect() for _ in range(4)]
    for client in clients:
        client.send(compose("POST", path, body))
    crowd.await_waiting(*clients)
    text = crowd.answers()[0].json()["text"]
    with all_released(mock):
        for client in clients:
            assert client.read_answer().json()["choices"][0]["message"]["content"] == text
            client.close()
    crowd.assert_calls(1)


def test_who_does_not_want_to_share_does_not(four, mock):
    orders = unlike(HELD)
    crowd = Crowd(four, mock, orders, 2)
    for fields in (["Cache-Control: no-store"], ["Cache-Control: no-cache"]):
        client = four.connect()
        path, body = question("chat-openai", orders, stream=False)
        client.send(compose("POST", path, body, fields))
        crowd.clients.append(client)
    await_in_flight(mock, crowd.model, 3)
    answers = crowd.answers()
    assert cache_of(answers[3:]) == ["bypass", "bypass"]
    assert collections.Counter(cache_of(answers[:3])) == \
        collections.Counter(miss=1 + crowd.assert_calls(3), coalesced=2 - crowd.assert_calls(3))


def test_another_question_is_another_flight(four, mock):
    first, second = Crowd(four, mock, unlike(HELD), 1), Crowd(four, mock, unlike(HELD), 1)
    assert first.calls() == second.calls() == 1
    for crowd in (first, second):
        crowd.assert_one_call(crowd.answers())


# -- streams ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["chat-openai", "generate-openai", "messages-anthropic",
                                  "responses-openai", "messages-openai", "chat-anthropic"])
def test_who_waits_in_the_same_worker_hears_the_stream_as_it_comes(one, mock, case):
    orders = unlike(PACED)
    with open_stream(one, case, orders) as leader:
        say(mock, before(case) + 1)
        leader.read_words(2)
        with open_stream(one, case, orders) as late:
            late.read_words(2)  # what was said,
            say(mock, 1)
            late.read_words(3)  # and what is being said
            assert mock.counters("m" + orders)["in_flight"] == 1, "before its end"
            assert late.head().field("x-optiroute-cache") == "coalesced"
            with all_released(mock):
                assert_whole(leader)
                assert_whole(late)
            assert [event for event in leader.events if event.name != ":"] == \
                [event for event in late.events if event.name != ":"] or case == "generate-openai"
    assert mock.counters("m" + orders)["requests"] == 1


@pytest.mark.parametrize("workers", ["one", "four"])
def test_streamed_and_whole_share_a_flight(workers, mock, request):
    daemon = request.getfixturevalue(workers)
    orders = unlike(PACED)
    crowd = Crowd(daemon, mock, orders, 0, stream=True)
    leader = Stream(crowd.leader, "chat")
    say(mock, 1)
    leader.read_words(1)
    path, body = question("chat-openai", orders, stream=False)
    wholes = [daemon.connect() for _ in range(4)]
    for client in wholes:
        client.send(compose("POST", path, body))
    streams = [open_stream(daemon, "chat-openai", orders) for _ in range(4)]
    crowd.await_waiting(*wholes, *[stream.client for stream in streams])
    with all_released(mock):
        assert_whole(leader)
        for client in wholes:
            answer = client.read_answer()
            client.close()
            assert answer.json()["choices"][0]["message"]["content"] == WORDS
            assert answer.field("x-optiroute-cache") == "coalesced" or crowd.assert_calls(1) > 0
        for stream in streams:
            with stream:
                assert_whole(stream)
    leader.client.close()
    crowd.assert_calls(1)


@pytest.mark.parametrize("workers", ["one", "four"])
def test_a_whole_answer_becomes_a_stream_for_who_wants_one(workers, mock, request):
    daemon = request.getfixturevalue(workers)
    orders = unlike(HELD)
    crowd = Crowd(daemon, mock, orders, 0)
    streams = [open_stream(daemon, "chat-openai", orders, stream_options={"include_usage": True})
               for _ in range(6)]
    crowd.await_waiting(*[stream.client for stream in streams])
    with all_released(mock):
        assert crowd.answers()[0].status == 200
        for stream in streams:
            with stream:
                assert_whole(stream)
                assert '"usage":{' in json.dumps([event.data for event in stream.events]).replace(
                    "\\", "")
    caches = [stream.head().field("x-optiroute-cache") for stream in streams]
    assert caches.count("coalesced") == len(caches) - crowd.assert_calls(1)


def test_a_usage_is_told_to_who_asked_for_it_and_to_nobody_else(one, mock):
    orders = unlike(PACED)
    with open_stream(one, "chat-openai", orders) as leader:
        say(mock, 1)
        leader.read_words(1)
        with open_stream(one, "chat-openai", orders,
                         stream_options={"include_usage": True}) as late:
            late.read_words(1)
            with all_released(mock):
                assert_whole(leader)
                assert_whole(late)
    usages = [[event for event in stream.events if '"choices":[]' in event.data]
              for stream in (leader, late)]
    assert [len(found) for found in usages] == [0, 1]


def test_a_stream_that_breaks_breaks_for_all_who_heard_it(one, mock):
    orders = unlike("+kill=3" + PACED)
    with open_stream(one, "chat-openai", orders) as leader:
        say(mock, 1)
        leader.read_words(1)
        with open_stream(one, "chat-openai", orders) as late:
            late.read_words(1)
            with all_released(mock):
                late.rest()
                leader.rest()
            assert (leader.end, late.end) == ("broken", "broken")
            assert leader.words() == late.words() != ""
            assert "stream_truncated" in late.events[-1].data
    assert mock.counters("m" + orders)["requests"] == 1


# -- failures --------------------------------------------------------------------------------------

def test_a_refusal_is_everybodys_answer(four, mock):
    crowd = Crowd(four, mock, unlike("+status=422+code=bad_thing" + HELD), 11)
    answers = crowd.answers()
    assert {answer.status for answer in answers} == {422}
    assert len({answer.body for answer in answers}) == 1
    crowd.assert_calls(1)


def test_after_a_failure_one_asks_once_more(four, mock):
    crowd = Crowd(four, mock, unlike("+status=500+times=1" + HELD), 11)
    answers = crowd.answers()  # the second is not held
    assert answers[0].status == 502
    assert {answer.status for answer in answers[1:]} == {200}
    crowd.assert_calls(2)


def test_a_second_failure_is_everybodys(four, mock):
    crowd = Crowd(four, mock, unlike("+status=500" + HELD), 11)
    crowd.release_until(2)
    answers = crowd.answers()
    assert {answer.status for answer in answers} == {502}
    crowd.assert_calls(2)


def test_who_waits_is_answered_when_the_leader_is_killed(mock):
    with Daemon(settings(mock, 4)) as daemon:
        crowd = Crowd(daemon, mock, unlike(HELD), 100)
        leader, = connected_to(daemon.workers(), mock.port)
        os.kill(leader, signal.SIGKILL)
        eventually(lambda: crowd.calls() == 2, what="the second call")
        await_in_flight(mock, crowd.model)
        again = []
        answers = []
        with all_released(mock):
            for client in [crowd.leader, *crowd.clients]:
                try:
                    answers.append(client.read_answer())
                except (Closed, ConnectionError):  # it was the dead one's: asks again, as SDKs do
                    again.append(crowd.open())
                client.close()
            assert 0 < len(again) < 100
            answers += [client.read_answer() for client in again]
        for client in again:
            client.close()
        assert len(answers) == 101 and {answer.status for answer in answers} == {200}
        crowd.assert_calls(2)
        eventually(lambda: daemon.metrics().total("optiroute_requests_in_flight") == 0)


# -- generations and daemons that follow each other -----------------------------------------------

LONG_DRAIN = {"limits": {"shutdown_timeout": "120s"}}


def join_the_one_that_leads(crowd):
    """A crowd of new connections after its leader's worker began to drain."""
    crowd.clients = [crowd.open() for _ in range(20)]
    crowd.await_waiting()
    assert crowd.calls() == 1, "they wait for the old one's answer"
    answers = crowd.answers()
    assert {answer.status for answer in answers} == {200}
    crowd.assert_one_call(answers)


def test_a_new_generation_joins_the_flights_of_the_old_one(mock):
    with Daemon(settings(mock, 2, **LONG_DRAIN)) as daemon:
        crowd, old = Crowd(daemon, mock, unlike(HELD), 0), daemon.workers()
        daemon.reload()
        eventually(lambda: not any(listening_ports(pid) for pid in old), what="the old doors are shut")
        join_the_one_that_leads(crowd)


def test_an_upgraded_daemon_joins_the_flights_of_the_one_before(mock):
    with Upgradable(settings(mock, 2, **LONG_DRAIN)) as daemon:
        crowd = Crowd(daemon, mock, unlike(HELD), 0)
        daemon.upgrade()
        join_the_one_that_leads(crowd)


# -- clients that leave ----------------------------------------------------------------------------

def test_who_waits_may_leave(four, mock):
    crowd = Crowd(four, mock, unlike(HELD), 8)
    for client in crowd.clients[:4]:
        client.close()
    eventually(lambda: crowd.book.total("llm_client_aborts_total") == 4)
    crowd.clients = crowd.clients[4:]
    crowd.assert_one_call(crowd.answers())
    assert crowd.book.total("llm_client_aborts_total") == 4


@pytest.mark.parametrize("workers", ["one", "four"])
def test_the_leader_may_leave_and_its_cost_stays_with_it(workers, mock, request):
    daemon = request.getfixturevalue(workers)
    crowd = Crowd(daemon, mock, f"left-{len(daemon.workers())}" + HELD, 8)
    crowd.leader.close()
    eventually(lambda: crowd.book.total("llm_client_aborts_total") == 1)
    with all_released(mock):
        answers = [client.read_answer() for client in crowd.clients]
    assert {answer.status for answer in answers} == {200}
    assert cache_of(answers).count("coalesced") == len(answers) - crowd.assert_calls(1)
    gone = eventually(lambda: [line for line in daemon.access_lines()
                               if line["model"] is not None and line["status"] == 499
                               and line["attempts"] == 1][-1:])[0]
    assert Decimal(str(gone["cost_usd"])) == max(map(saved_of, answers)) > 0
    for client in crowd.clients:
        client.close()


@pytest.mark.parametrize("workers", ["one", "four"])
def test_when_all_have_left_the_upstream_is_stopped(workers, mock, request):
    daemon = request.getfixturevalue(workers)
    crowd = Crowd(daemon, mock, unlike(HELD), 8)
    crowd.leader.close()
    for client in crowd.clients:
        client.close()
    await_in_flight(mock, crowd.model, 0)
    assert crowd.calls() == 1


def test_a_reader_that_stalls_does_not_hold_up_the_others(one, mock):
    orders = unlike("+tokens=8000")
    path, body = question("chat-openai", orders, stream=True)
    with narrow_client(one.address, 4096) as stalled:
        stalled.send(compose("POST", path, body))
        stalled.fill()  # it leads, reads a little, and no more
        with open_stream(one, "chat-openai", orders) as other:
            other.rest()
            assert other.end == "whole"
        slow = Stream(stalled, "chat")
        slow.rest()
        assert slow.end == "whole" and slow.words() == other.words()
    assert mock.counters("m" + orders)["requests"] == 1


# -- what cannot be shared -------------------------------------------------------------------------

def test_calls_of_tools_are_shared_where_they_arrive_and_not_kept(one, mock):
    crowd = Crowd(one, mock, unlike("+tool" + HELD), 5)
    answers = crowd.answers()
    assert len({answer.body for answer in answers}) == 1 and crowd.calls() == 1
    with one.connect() as client:
        client.send(crowd.request)
        await_in_flight(mock, crowd.model)
        mock.release()
        assert client.read_answer().field("x-optiroute-cache") == "miss"


def test_an_answer_that_is_not_kept_is_asked_for_once_in_each_worker(four, mock):
    crowd = Crowd(four, mock, unlike("+tool" + HELD), 40)
    crowd.spread()
    crowd.release_until(4)
    assert {answer.status for answer in crowd.answers()} == {200}
    crowd.assert_calls(4)


def test_an_answer_too_large_for_the_store_is_answered_to_all(four, mock):
    crowd = Crowd(four, mock, unlike("+huge=2" + HELD), 40)
    crowd.spread()
    crowd.release_until(4)
    answers = crowd.answers()
    assert {answer.status for answer in answers} == {200}
    assert all(len(answer.body) > 2 << 20 for answer in answers)
    crowd.assert_calls(4)


def test_without_a_cache_nobody_shares(mock):
    with Daemon(settings(mock, 1, cache={"size": 0})) as daemon:
        orders = unlike(HELD)
        path, body = question("chat-openai", orders, stream=False)
        clients = [daemon.connect() for _ in range(3)]
        for client in clients:
            client.send(compose("POST", path, body))
        await_in_flight(mock, "m" + orders, 3)
        mock.release()
        assert cache_of([client.read_answer() for client in clients]) == 3 * ["miss"]
        for client in clients:
            client.close()

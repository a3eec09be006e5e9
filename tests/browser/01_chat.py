"""The chat page: questions, answers as they come, and what it says of them."""
import threading
from decimal import Decimal

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from browser import Keys
from optiroute import Daemon
from world import NOVEL_PARAGRAPHS, SETTINGS

CHAT = "/v1/chat/completions"


# -- what a person does ----------------------------------------------------------------------------

def choose(page, name):
    page.until(lambda: page.all(f"#choice option[value='{name}']"), f"{name} in the list")
    Select(page.find("#choice")).select_by_value(name)


def ask(page, text, of=None):
    if of is not None:
        choose(page, of)
    page.find("#prompt").send_keys(text, Keys.ENTER)


def answers(page, number):
    """Until so many answers are over."""
    page.until(lambda: len(page.all(".answer[aria-busy=false]")) == number, f"{number} answers")


def button(page, words, which=-1):
    return [one for one in page.all(".answer button") if one.text == words][which]


def figures(page):
    """What stands under the last answer: {name: (words, exact words)}."""
    return page.script("""
        const last = [...document.querySelectorAll('.figures')].at(-1);
        const words = (row, tag) => row.querySelector(tag).textContent;
        return Object.fromEntries([...last.children].map((row) =>
            [words(row, 'dt'), [words(row, 'dd'), row.title]]));""")


def details(page):
    return page.script("""
        const last = [...document.querySelectorAll('details dl')].at(-1);
        const texts = (tag) => [...last.querySelectorAll(tag)].map((one) => one.textContent);
        const values = texts('dd');
        return Object.fromEntries(texts('dt').map((name, i) => [name, values[i]]));""")


def amount(words):
    return Decimal(words.removeprefix("$"))


# -- the first visit -------------------------------------------------------------------------------

def test_the_empty_page_says_what_to_try_and_asks_nobody_else(page):
    page.until(lambda: page.all("#choice optgroup"))
    assert page.active() == "textarea#prompt"
    assert [one.text for one in page.all(".starters strong")] == [
        "Something easy", "Something hard", "The same, twice"]
    assert not page.find("#send").is_enabled()
    paths = {url.removeprefix(page.origin) for url in page.requests()
             if url.startswith(page.origin)}
    assert {"/", "/static/chat.js", "/static/marked.js", "/v1/models"} <= paths
    page.open_again()
    assert page.foreign_requests() == []


def test_the_list_has_routes_and_providers_with_their_models(page):
    page.until(lambda: page.all("#choice optgroup"))
    groups = {one.get_attribute("label"): [x.get_attribute("value") for x in
                                           one.find_elements(By.TAG_NAME, "option")]
              for one in page.all("#choice optgroup")}
    assert groups["Routes: OptiRoute decides"] == ["auto", "spare"]
    assert groups["little"] == ["little", "little/small-1"]
    assert page.find("#choice").get_attribute("value") == "auto"


def test_a_daemon_without_a_model_says_so(browser, page):
    assert not page.find("#simulated").is_displayed()
    with Daemon({"routes": {"auto": {"policy": "score"}}}) as empty:
        browser.open(empty)
        browser.until(lambda: browser.find("#simulated").is_displayed())
        ask(browser, "Hello?")
        answers(browser, 1)
        assert browser.text(".who") == "smallsmall-1newly mademade-up words"


# -- an answer -------------------------------------------------------------------------------------

def test_an_answer_says_where_it_went_and_why_and_what_it_cost(page, world):
    ask(page, "What is the capital of France, said once?")
    answers(page, 1)
    assert page.text(".question") == "What is the capital of France, said once?"
    assert page.text(".prose").split() == ["word"] * 10
    assert page.text(".who") == "littlesmall-1newly made"
    assert page.text(".why").startswith("Difficulty 0.") and "plain recall" in page.text(".why")
    shown, more = figures(page), details(page)
    line = world.daemon.access_line(more["Request"])
    assert amount(shown["Cost"][1]) == line["cost_usd"] > 0
    assert amount(shown["Saved"][1]) == line["saved_usd"]
    assert shown["Tokens"][0] == str(int(more["Tokens of the question"]) + 10)
    assert more["Asked for"] == "auto" and shown["Time"][0].endswith("ms")
    assert "µs" in shown["OptiRoute itself"][0] or "ms" in shown["OptiRoute itself"][0]


def test_a_hard_question_goes_to_the_strong_model(page):
    ask(page, "Prove that there are infinitely many primes and explain why each step follows.")
    answers(page, 1)
    assert page.text(".who").startswith("biglarge-1")
    assert "reasoning" in page.text(".why") and "moved it up" in page.text(".why")


def test_the_text_grows_before_the_end(page):
    ask(page, "Slowly, please.", of="slow")
    sizes = []
    for _ in range(4):
        page.until(lambda: len(page.text(".prose")) > (sizes[-1] if sizes else 0) + 10)
        sizes.append(len(page.text(".prose")))
        assert page.all(".answer[aria-busy=true]"), "it is not over"
    assert page.text(".wait") == "slow is answering"
    assert not page.find("#send").is_displayed() and page.find("#stop").is_displayed()
    page.press(Keys.ESCAPE)
    answers(page, 1)


def test_who_thinks_is_said_to(page):
    ask(page, "Think.", of="thinker")
    answers(page, 1)
    assert page.text(".prose").split() == ["word"] * 10, "thoughts are no part of the answer"


def test_an_answer_that_a_limit_ended_says_so(page):
    ask(page, "Long, please.", of="limited")
    answers(page, 1)
    assert page.text(".below .note") == "Ended by the limit of tokens."


# -- money and the cache ---------------------------------------------------------------------------

def test_the_same_again_comes_from_the_cache_and_is_counted(page, world):
    before = world.counters("little")["requests"]
    ask(page, "Say this but once.")
    answers(page, 1)
    first = figures(page)
    button(page, "Ask again").click()
    answers(page, 2)
    again = figures(page)
    assert "from the cache" in page.text(".who") and page.text(".why").startswith("Asked before")
    assert again["Cost"] == ["$0", "$0.000000000"]
    assert again["Saved"][1] == first["Cost"][1]
    assert world.counters("little")["requests"] == before + 1
    button(page, "Fresh answer").click()
    answers(page, 3)
    assert "from the cache" not in page.text(".who")
    assert world.counters("little")["requests"] == before + 2

    totals = {name: page.find(f"#{name}") for name in ("spent", "saved", "requests", "tokens")}
    routed = amount(first["Saved"][1])
    assert amount(totals["spent"].get_attribute("title")) == 2 * amount(first["Cost"][1])
    assert amount(totals["saved"].get_attribute("title")) == amount(first["Cost"][1]) + 2 * routed
    assert totals["requests"].text == "3"
    assert totals["tokens"].text == str(2 * int(first["Tokens"][0])), "a hit has no new tokens"
    assert [one.text for one in page.all("#share-list li")] == ["little\n2", "the cache\n1"]


def test_what_somebody_else_is_asking_is_shared(page, world):
    before = world.counters("paced")["requests"]
    messages = [{"role": "user", "content": "Asked by two."}]
    body = {"model": "paced", "messages": messages, "stream": True}
    other = threading.Thread(target=world.daemon.request, args=("POST", CHAT, body))
    other.start()
    page.until(lambda: world.counters("paced")["requests"] == before + 1, "the other is first")
    ask(page, "Asked by two.", of="paced")
    answers(page, 1)
    other.join()
    assert world.counters("paced")["requests"] == before + 1
    assert "shared" in page.text(".who") and "both share one answer" in page.text(".why")
    shown = figures(page)
    assert shown["Cost"][0] == "$0" and amount(shown["Saved"][1]) > 0
    assert page.find("#tokens").text == "0"


def test_a_starter_asks_twice(page, world):
    before = world.counters("little")["requests"]
    page.find(".starters li:last-child button").click()
    answers(page, 2)
    assert "from the cache" in page.text(".who")
    assert world.counters("little")["requests"] <= before + 1
    assert len(page.all(".question")) == 1 and not page.find("#welcome").is_displayed()


def test_another_provider_can_be_asked_the_same(page):
    ask(page, "Which of you is better?")
    answers(page, 1)
    choose(page, "big")
    button(page, "Ask big too").click()
    answers(page, 2)
    assert page.text(".who").startswith("biglarge-1") and page.text(".why") == \
        "You chose this provider."
    choose(page, "little/small-1")
    button(page, "Ask little/small-1 too", 0).click()
    answers(page, 3)
    assert "You chose this model." in page.text(".why")


def test_who_could_not_answer_is_named(page):
    ask(page, "Anybody?", of="spare")
    answers(page, 1)
    assert page.text(".who").startswith("little")
    assert "broken (internal error) could not answer, so the next in line did." in page.text(".why")


# -- the conversation ------------------------------------------------------------------------------

def test_what_was_said_before_is_sent_along(page, world):
    ask(page, "First question.")
    answers(page, 1)
    page.find("#prompt").send_keys("Second,", Keys.SHIFT, Keys.ENTER)
    page.find("#prompt").send_keys(Keys.NULL, "in two lines.", Keys.ENTER)
    answers(page, 2)
    words = " ".join(["word"] * 10)
    assert world.sent() == [{"role": "user", "content": "First question."},
                            {"role": "assistant", "content": words},
                            {"role": "user", "content": "Second,\nin two lines."}]
    page.find("#new").click()
    assert page.find("#welcome").is_displayed() and page.all(".question") == []
    ask(page, "Third question.")
    answers(page, 1)
    assert world.sent() == [{"role": "user", "content": "Third question."}]


def test_a_reload_loses_nothing_and_another_tab_has_its_own(page, world):
    ask(page, "Remember me.", of="big")
    answers(page, 1)
    page.find("#prompt").send_keys("Not sent yet")
    before = page.find(".answer").text, page.find(".totals").text
    page.driver.refresh()
    answers(page, 1)
    page.until(lambda: page.find("#choice").get_attribute("value") == "big")
    page.until(lambda: (page.find(".answer").text, page.find(".totals").text) == before)
    assert page.find("#prompt").get_attribute("value") == "Not sent yet"
    page.open(world.daemon)
    assert page.find("#welcome").is_displayed() and page.all(".question") == []


# -- stopping --------------------------------------------------------------------------------------

def test_a_page_loaded_again_amid_an_answer_keeps_what_came(page, world):
    before = world.counters("slow")["aborted"]
    ask(page, "Leave me.", of="slow")
    page.until(lambda: len(page.text(".prose") or "") > 20)
    page.driver.refresh()
    page.until(lambda: world.counters("slow")["aborted"] == before + 1, "it is cancelled")
    answers(page, 1)
    assert page.text(".prose").startswith("word word")
    assert page.text(".below .note").startswith("Stopped.")
    assert page.find("#requests").text == "1" and page.find("#unknown").is_displayed()


@pytest.mark.parametrize("way", ["key", "button"])
def test_stopping_cancels_upstream_and_keeps_what_came(page, world, way):
    before = world.counters("slow")
    ask(page, f"Stop me by {way}.", of="slow")
    page.until(lambda: len(page.text(".prose") or "") > 20)
    if way == "key":
        page.press(Keys.ESCAPE)
    else:
        page.find("#stop").click()
    answers(page, 1)
    page.until(lambda: world.counters("slow")["aborted"] == before["aborted"] + 1, "it is stopped")
    assert world.counters("slow")["in_flight"] == 0
    assert page.text(".below .note").startswith("Stopped.")
    assert page.text("#unknown") == "Without the price of 1 answer that did not end or has none."
    assert page.active() == "textarea#prompt"
    kept = page.text(".prose").strip()
    assert kept.startswith("word word")
    ask(page, "Go on.", of="little")
    answers(page, 2)
    assert world.sent()[1]["content"].strip() == kept


# -- when it goes wrong ----------------------------------------------------------------------------

def trouble(page, number=1):
    answers(page, number)
    return page.text(".trouble")


def refused(page, status):
    """The browser notes a refused request in its console by itself; nothing else may be there."""
    noted = page.errors()
    assert len(noted) == 1 and f"status of {status}" in noted[0], noted


def test_a_failure_is_told_in_words_with_its_request_and_another_try(page, world):
    ask(page, "Fail once.", of="once")
    words = trouble(page)
    assert "The provider did not answer properly." in words
    assert "The provider has an internal error." in words
    request_id = page.text(".trouble code")
    assert world.daemon.access_line(request_id)["status"] == 502
    assert page.find(".trouble").get_attribute("role") == "alert"
    refused(page, 502)
    button(page, "Try again").click()
    page.until(lambda: page.text(".prose"))
    answers(page, 1)
    assert page.all(".trouble") == [] and page.text(".who").startswith("once")


def test_who_is_busy_says_when_to_come_back(page):
    ask(page, "Are you there?", of="busy")
    words = trouble(page)
    assert "The provider is being asked too often." in words
    assert "Worth another try in 7 seconds." in words
    refused(page, 429)


def test_an_answer_that_breaks_off_keeps_its_text(page, world):
    ask(page, "Break off.", of="cut")
    words = trouble(page)
    assert "The answer broke off before it was complete." in words
    kept = page.text(".prose").split()  # but for what Chromium had not handed over when it was cut
    assert 0 < len(kept) <= 11 and set(kept) == {"word"}
    assert world.daemon.access_line(page.text(".trouble code"))["provider"] == "cut"
    noted = page.errors()
    assert len(noted) == 1 and "ERR_INCOMPLETE_CHUNKED_ENCODING" in noted[0], noted


def test_a_daemon_that_is_gone_is_told_as_such(browser, world):
    with Daemon(SETTINGS(world.mock)) as gone:
        browser.open(gone)
        browser.until(lambda: browser.all("#choice optgroup"))
        gone.stop()
        ask(browser, "Anybody?")
        assert "OptiRoute cannot be reached. Is the daemon running?" in trouble(browser)
    assert len(browser.errors()) == 1, "the browser's own note"


# -- long answers ----------------------------------------------------------------------------------

COUNT_NODES = """
    window.made = 0;
    new MutationObserver((records) => {
        for (const record of records) {
            for (const node of record.addedNodes) {
                window.made += node.querySelectorAll ? node.querySelectorAll('*').length + 1 : 0;
            }
        }
    }).observe(document.getElementById('conversation'), {childList: true, subtree: true});"""


def test_a_long_answer_is_not_made_again_and_again(page):
    page.script(COUNT_NODES)
    ask(page, "A novel, please.", of="novelist")
    answers(page, 1)
    paragraphs = len(page.all(".prose > p"))
    nodes = page.script("return document.querySelectorAll('.prose *').length")
    assert paragraphs == NOVEL_PARAGRAPHS and nodes == 3 * NOVEL_PARAGRAPHS
    made = page.script("return window.made")
    assert made < 5 * nodes, "a few more for the ends of pieces, not for all of it each time"


def scroll_top(page):
    return page.script("return document.documentElement.scrollTop")


def gap(page):
    """Pixels between what is seen and the end of the page."""
    return page.script("const e = document.documentElement;"
                       "return e.scrollHeight - e.clientHeight - e.scrollTop")


def test_the_page_follows_only_who_is_at_its_end(page):
    page.size(360, 400)
    ask(page, "Take your time.", of="slow")
    page.until(lambda: scroll_top(page) > 100, "it moves along")
    assert gap(page) < 48 and not page.find("#down").is_displayed()
    page.script("window.scrollTo(0, 0)")
    page.until(lambda: page.find("#down").is_displayed())
    size = len(page.text(".prose"))
    page.until(lambda: len(page.text(".prose")) > size + 100)
    assert scroll_top(page) == 0, "who reads above is left alone"
    page.find("#down").click()
    page.until(lambda: gap(page) < 48)
    page.press(Keys.ESCAPE)
    answers(page, 1)

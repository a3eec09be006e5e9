#!/usr/bin/env python3
"""Prompts for load runs: two fixed pools, and any number of generated ones.

    make_prompts.py [-n COUNT] [-s SEED] [-o FILE.csv]

Writes a CSV with the columns qid and prompt, as contrib/replay.py and optiroute-score read it. It
serves where no real prompts are at hand (CI). The same seed gives the same file; all prompts of a
file differ from each other.

SHORT and COMPLEX are what contrib/locustfile.py asks: everyday questions, and requests for work
with several conditions. They say nothing about the router's quality (they were chosen so that it is
sure of them, tests/blackbox/11_load.py checks that); contrib/fit_score.py does that on real data.
"""

import argparse
import csv
import random
import sys

SHORT = [
    "What is the capital of Portugal?",
    "Hello! Who are you?",
    "What is the meaning of the word ubiquitous?",
    "Who invented the telephone?",
    "Translate good morning into French.",
    "What is a synonym for happy?",
    "Where is the Great Barrier Reef?",
    "Tell me a joke, please.",
    "What is the largest animal in the world?",
    "Who wrote the novel Moby-Dick?",
    "What is a baby kangaroo called?",
    "What are the primary colours?",
    "How do you spell necessary?",
    "What is the currency of Japan?",
    "Who painted the Mona Lisa?",
    "What is the weather like in Rome in May?",
    "Thanks, what is your name?",
    "What is the capital of Australia?",
    "Give me a recipe for pancakes.",
    "What is the longest river in Africa?",
    "Who discovered penicillin?",
    "Define photosynthesis.",
    "Where do penguins live?",
    "What is the national flower of Scotland?",
    "Name a famous movie from the eighties.",
    "Who was the first president of the United States?",
    "What are typical ingredients of ratatouille?",
    "What is an antonym of generous?",
    "Please translate thank you into Spanish.",
    "What is the main religion of Thailand?",
    "Where was Mozart born?",
    "What is the boiling point of water called?",
    "Suggest a name for my cat.",
    "Who is the author of Pride and Prejudice?",
    "What is the tallest mountain in Europe?",
    "What kind of tree gives acorns?",
    "Which country is known for the samba?",
    "What is the definition of irony?",
    "What is the capital of Canada?",
    "Hi, what can you do?",
    "Who sang the song Yellow Submarine?",
    "What is sushi?",
    "Where is Machu Picchu?",
    "What is a haiku?",
    "Which language is spoken in Brazil?",
]

COMPLEX = [
    "Write a thread-safe LRU cache in C with a hard limit on bytes. It must not allocate while "
    "the lock is held, eviction must be at most O(1) per put, and readers must not block each "
    "other. Explain step by step why no deadlock can occur, and compare the design with a sharded "
    "one.",
    "Design a rate limiter for an API that runs on 12 servers. Each client may make at most 100 "
    "requests per minute, no request may wait longer than 5 ms for the decision, and the limiter "
    "must keep working if the shared database fails. Compare two algorithms, explain the "
    "trade-offs, and give the pseudocode of the better one.",
    "Prove by induction that the sum of the first n odd numbers is n^2. Then derive a formula for "
    "the sum of their cubes, justify each step, and explain why the argument would fail if the "
    "base case were left out.",
    "A tank holds 1200 litres. One pipe fills it in 40 minutes, another in 60 minutes, and a leak "
    "loses 5 litres per minute. If the second pipe is opened 10 minutes after the first, how long "
    "does it take until the tank is three quarters full? Explain each step, and then compute how "
    "the result changes if the leak is twice as large.",
    "Refactor this function so that it is iterative rather than recursive, and explain why its "
    "complexity does not change:\n\ndef walk(node):\n    if node is None:\n        return 0\n    "
    "return 1 + max(walk(node.left), walk(node.right))\n\nThe new version must not use more "
    "memory than the old one in the worst case. Also write at least three unit tests for it.",
    "Compare optimistic and pessimistic locking for a booking system in which 500 clients compete "
    "for 20 seats. Assume that 30 percent of the transactions fail and are tried again. Which is "
    "better if the network is slow, and why? Ensure that no seat can be sold twice, and explain "
    "the edge cases in detail.",
    "Write a SQL query that returns, for each customer, the three most expensive orders of the "
    "last year, without using window functions. Then explain step by step how the database would "
    "execute it, which index is required, and why the query could be slower than expected when "
    "more than half of the rows match.",
    "Plan a migration of a monolith to microservices for a team of six. The system must stay "
    "available, there must be at most one hour of read-only time per month, and each step must be "
    "reversible. Explain the risks, compare two strategies, and recommend one with reasons in a "
    "table.",
    "Prove that the square root of 7 is irrational. Do not use the theorem on rational roots. "
    "Then explain whether the same proof would work for the square root of 12, and if not, which "
    "step fails and why.",
    "Implement a parser for arithmetic expressions in Rust. It must respect precedence, must not "
    "use recursion deeper than 64, and should return an error with the position rather than "
    "panic. Explain why your algorithm is linear, and analyze what would change if unary "
    "operators were allowed.",
    "A company has a loan at 4 percent and a bond at 6 percent. Assuming that rates rise by half "
    "a percent per quarter, compare paying the loan early with buying more bonds. Calculate both "
    "over three years, justify each assumption, and explain when the conclusion would be "
    "different.",
    "Explain why quicksort can be faster than heapsort although its worst case is worse. Derive "
    "the expected number of comparisons, compare the memory accesses of both, and design an "
    "experiment that could show the difference. The experiment must not depend on the order of "
    "the input.",
    "Write a Python function that merges overlapping intervals from a stream that does not fit "
    "into memory. It must use less than 100 MB, must not sort the whole input, and has to give "
    "the same result as the simple algorithm. Explain the trade-offs, and prove that it is "
    "correct.",
    "Three friends share a prize. Ana gets twice as much as Ben, Ben gets 25 percent more than "
    "Carl, and each gives a fifth of the money to charity. If 360 dollars are left in total, how "
    "much did each get at first? Explain the reasoning, and then decide whether the answer would "
    "change if Carl did not give anything.",
    "Analyze this argument: if the server is overloaded then the latency rises; the latency did "
    "not rise more than usual; therefore the server is not overloaded, but the cache is. Which of "
    "the conclusions is valid, which is not, and why? Explain what further evidence would be "
    "required, and design a test that would refute the invalid one.",
]

_THINGS = (
    "a lighthouse", "an umbrella", "a violin", "a comet", "a sundial", "a canoe", "a glacier",
    "a windmill", "a beehive", "a compass", "a lantern", "a harbour", "an orchard", "a waterfall",
    "a telescope", "a bakery", "a caravan", "a meadow", "a cathedral", "a penguin", "a teapot",
    "a volcano", "a kite", "a puffin", "an igloo", "a fjord", "a sonnet", "a tulip", "a walnut",
)  # fmt: skip
_QUESTIONS = (
    "What is {}?", "Who invented {}?", "Where can I find {}?", "What is {} called in Spanish?",
    "Tell me a joke about {}.", "What is the meaning of {} in a dream?", "Name a song about {}.",
    "What colour is {} usually?", "What are the main kinds of {}?", "Hello, what is {} used for?",
)  # fmt: skip
_WORK = (
    "Write a thread-safe queue in {}",
    "Implement a rate limiter in {}",
    "Design and implement a scheduler in {}",
    "Write a recursive parser for JSON in {}",
    "Implement an index for a database in {}",
    "Write a compression pipeline in {}",
)
_LANGUAGES = ("C", "Rust", "Python", "Java", "Kotlin", "Haskell", "TypeScript")
_DEMANDS = (
    "It must use less than {} MB of memory, and must not block for more than {} ms.",
    "It must handle at least {} clients, and each of them may wait at most {} ms.",
    "Ensure that no more than {} threads compete for the lock, and that {} percent of them win.",
)
_ENDS = (
    "Explain step by step why it cannot deadlock, and compare two algorithms.",
    "Explain the trade-offs, and prove that the result is correct.",
    "Analyze the worst case, and explain why a simpler version would fail.",
)


def _short(pick):
    return pick.choice(_QUESTIONS).format(pick.choice(_THINGS)) + pick.choice(("", " Thanks."))


def _complex(pick):
    demand = pick.choice(_DEMANDS).format(pick.randint(2, 400), pick.randint(2, 90))
    return f"{pick.choice(_WORK).format(pick.choice(_LANGUAGES))}. {demand} {pick.choice(_ENDS)}"


def generate(count, seed):
    """COUNT different prompts, about 3 short ones to 1 complex one."""
    pick = random.Random(seed)
    prompts = {}  # a dict keeps the order
    while len(prompts) < count:
        # Short ones are few; once most are taken a number makes more of them.
        text = _short(pick) if pick.random() < 0.75 else _complex(pick)
        if text in prompts:
            text = f"{text} ({len(prompts)})"
        prompts[text] = None
    return list(prompts)


def write_csv(prompts, out):
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("qid", "prompt"))
    rows.writerows(enumerate(prompts, 1))


def main():
    options = argparse.ArgumentParser(description="Writes a CSV of generated prompts.")
    options.add_argument("-n", "--count", type=int, default=1000, help="how many (default 1000)")
    options.add_argument("-s", "--seed", type=int, default=1, help="default 1")
    options.add_argument("-o", "--output", help="file to write (default: standard output)")
    given = options.parse_args()
    if given.count < 1:
        options.error("--count must be at least 1")
    prompts = generate(given.count, given.seed)
    if given.output is None:
        write_csv(prompts, sys.stdout)
    else:
        with open(given.output, "w", encoding="utf-8", newline="") as out:
            write_csv(prompts, out)


if __name__ == "__main__":
    main()

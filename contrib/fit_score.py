#!/usr/bin/env python3
"""Fits the weights of the routing score and measures it against length and chance.

    contrib/fit_score.py --tool contrib/optiroute-score DATA.csv.gz [--eval]

DATA has the columns qid, split, dataset, domain, prompt, weak_correct, strong_correct. The
features come from the daemon's own code through --tool. Weights are fitted on split=train only
and printed as rows for the table in src/gateway/score.c; every figure under "dev" is measured on
split=dev with the weights compiled into the tool ("score") and with those just fitted ("fit").
--eval leaves out the fitting. Needs numpy (Debian: python3-numpy).

The fit is least squares on the gain (strong_correct - weak_correct) with three additions, all of
them against being clever by accident:
* each weight is drawn to a prior, so that features which the data hardly shows (code, task,
  format, language) keep a sensible value; lambda is chosen by cross-validation within train;
* each weight stays within bounds, so that no feature can get a sign that nobody can explain;
* one template (moral_scenarios) counts a quarter, and high_school_mathematics, whose answers were
  not extracted upstream, counts nothing.
"""
import argparse
import csv
import gzip
import io
import subprocess
import sys

import numpy as np

# The sum moves by SCALE when the expected gain moves by 1. It sets how far apart scores lie, not
# their order.
SCALE = 28.0
# Chosen by hand so that the chat prompts of tests/unit/gateway/test_score.c fall on their sides of
# 0.5; it does not change the order either. The same number stands in score.c.
BIAS = -0.8
LAMBDAS = (30, 100, 300, 1000)
FOLDS = 5
SAMPLE_WEIGHT = {"moral_scenarios": 0.25, "high_school_mathematics": 0.0}
TRAPS = ("moral_scenarios", "high_school_mathematics")

# feature: (prior, least, most)
PRIORS = {
    "length": (0.5, 0.3, 1.0),
    "sentences": (0.3, 0.2, 5.0),
    "questions": (0.8, 0.4, 5.0),
    "code": (2.0, 2.0, 5.0),
    "computing": (2.0, 1.8, 5.0),
    "maths": (1.2, 1.0, 5.0),
    "numbers": (0.4, 0.4, 5.0),
    "quantities": (0.8, 0.8, 5.0),
    "proportions": (1.0, 0.5, 5.0),
    "reasoning": (2.2, 2.0, 5.0),
    "task": (1.0, 1.0, 5.0),
    "constraints": (1.2, 1.0, 5.0),
    "format": (0.8, 0.4, 5.0),
    "conditions": (0.6, 0.0, 5.0),
    "negation": (0.4, 0.0, 5.0),
    "comparison": (0.6, 0.0, 3.5),
    "story": (0.3, 0.0, 5.0),
    "property": (0.8, 0.0, 5.0),
    "expert": (0.6, 0.4, 5.0),
    "ethics": (0.8, 0.0, 4.0),
    "logic": (1.0, 0.0, 5.0),
    "recall": (-1.0, -3.0, 0.0),
    "passage": (-0.5, -3.0, 0.0),
    "choices": (-0.5, -2.0, 0.0),
    "long_words": (-0.5, -0.5, 0.0),
    "language": (1.5, 1.0, 2.0),
    "system": (0.4, 0.4, 0.4),
    "history": (0.5, 0.5, 0.5),
    "tools": (0.4, 0.4, 0.4),
}


def read_rows(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_tool(tool, rows):
    """Feature names, feature matrix, lengths and scores as the daemon computes them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["qid", "prompt"])
    writer.writerows([row["qid"], row["prompt"]] for row in rows)
    done = subprocess.run([tool], input=text.getvalue().encode(), stdout=subprocess.PIPE,
                          check=True)
    lines = list(csv.reader(io.StringIO(done.stdout.decode(), newline="")))
    names, cells = lines[0][3:], lines[1:]
    if [line[0] for line in cells] != [row["qid"] for row in rows]:
        sys.exit("fit_score: the tool's rows are not the data's rows")
    for row, line in zip(rows, cells):
        if int(line[1]) != len(row["prompt"]):
            sys.exit(f"fit_score: {row['qid']}: the tool read another prompt")
    values = np.array([[float(cell) for cell in line[1:]] for line in cells])
    return names, values[:, 2:], values[:, 0], values[:, 1]


def tool_weights(tool, names):
    table = subprocess.run([tool, "-t"], stdout=subprocess.PIPE, check=True).stdout.decode()
    cells = [line.split("|") for line in table.splitlines()[2:]]
    weights = {cell[1].strip(): float(cell[2]) for cell in cells}
    return np.array([weights[name] for name in names])


def apgr(score, gain):
    """RouteLLM's area under the PGR curve; equal scores share the gain of their group evenly."""
    _, group = np.unique(-score, return_inverse=True)
    count = np.bincount(group)
    share = np.concatenate([[0], np.cumsum(count)]) / len(gain)
    total = np.concatenate([[0], np.cumsum(np.bincount(group, gain))])
    return np.trapz(total / total[-1], share)


def interval(score, gain, rounds=1000, seed=1):
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        pick = draw.integers(0, len(gain), len(gain))
        values.append(apgr(score[pick], gain[pick]))
    return np.percentile(values, [2.5, 97.5])


def lead(score, other, gain, rounds=1000, seed=1):
    """How much better `score` is than `other`, with the interval of paired draws."""
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        pick = draw.integers(0, len(gain), len(gain))
        values.append(apgr(score[pick], gain[pick]) - apgr(other[pick], gain[pick]))
    low, high = np.percentile(values, [2.5, 97.5])
    return apgr(score, gain) - apgr(other, gain), low, high


def fit(features, gain, sample_weight, bounds, strength):
    """Coordinate descent on the bounded, prior-centred least squares; returns the weights."""
    prior, least, most = bounds
    share = sample_weight / sample_weight.sum()
    x = (features - share @ features) * np.sqrt(sample_weight)[:, None] / SCALE
    y = (gain - share @ gain) * np.sqrt(sample_weight)
    square = x.T @ x + strength / SCALE**2 * np.eye(len(prior))
    target = x.T @ y + strength / SCALE**2 * prior
    weights = prior.copy()
    for _ in range(300):
        for i in range(len(weights)):
            rest = target[i] - square[i] @ weights + square[i, i] * weights[i]
            weights[i] = np.clip(rest / square[i, i], least[i], most[i])
    return weights


def choose_strength(features, gain, sample_weight, bounds):
    """Lambda by cross-validated APGR within train, each row counting for its sample weight."""
    fold = np.random.default_rng(7).integers(0, FOLDS, len(gain))
    results = []
    for strength in LAMBDAS:
        score = np.zeros(len(gain))
        for k in range(FOLDS):
            use = fold != k
            weights = fit(features[use], gain[use], sample_weight[use], bounds, strength)
            score[~use] = features[~use] @ weights
        clean = sample_weight == 1
        values = [apgr(score[clean & (fold == k)], gain[clean & (fold == k)]) for k in range(FOLDS)]
        everything = [apgr(score[fold == k], gain[fold == k]) for k in range(FOLDS)]
        results.append((np.mean(values), strength))
        print(f"  lambda {strength:5d}: APGR {np.mean(values):.4f} without the traps, "
              f"{np.mean(everything):.4f} with them")
    return max(results)[1]


def report(rows, gain, columns):
    """One line per subset of dev, one column per router."""
    dataset = np.array([row["dataset"] for row in rows])
    trap = np.array([row["domain"] in TRAPS for row in rows])
    subsets = [("all dev", dataset != ""), ("all dev without the two traps", ~trap)]
    for name in sorted(set(dataset)):
        subsets.append((f"{name} dev", dataset == name))
    subsets.append(("mmlu dev without the two traps", (dataset == "mmlu") & ~trap))
    for title, use in subsets:
        print(f"{title} ({use.sum()} rows)")
        for name, score in columns:
            low, high = interval(score[use], gain[use])
            print(f"  {name:18s} {apgr(score[use], gain[use]):.3f}  [{low:.3f}, {high:.3f}]")
        by_name = dict(columns)
        more, low, high = lead(by_name["score"][use], by_name["length"][use], gain[use])
        print(f"  {'score - length':18s} {more:+.3f}  [{low:+.3f}, {high:+.3f}]")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--tool", default="contrib/optiroute-score")
    parser.add_argument("--eval", action="store_true", help="measure only")
    options = parser.parse_args()

    rows = read_rows(options.data)
    names, features, length, score = run_tool(options.tool, rows)
    gain = np.array([int(row["strong_correct"]) - int(row["weak_correct"]) for row in rows], float)
    train = np.array([row["split"] == "train" for row in rows])
    dev = np.array([row["split"] == "dev" for row in rows])
    columns = [("random", np.random.default_rng(3).random(len(rows))), ("length", length),
               ("score", score)]
    weights = tool_weights(options.tool, names)
    bare = features @ weights - features[:, names.index("length")] * weights[names.index("length")]
    columns.append(("score, no length", bare))

    if not options.eval:
        sample_weight = np.array([SAMPLE_WEIGHT.get(row["domain"], 1.0) for row in rows])
        bounds = np.array([PRIORS[name] for name in names]).T
        print("cross-validation within train")
        strength = choose_strength(features[train], gain[train], sample_weight[train], bounds)
        fitted = fit(features[train], gain[train], sample_weight[train], bounds, strength)
        columns.append(("fit", features @ fitted))
        print(f"\nlambda {strength}; rows for src/gateway/score.c and each feature's mean in train")
        print(f"    SCORE_BIAS ({BIAS})")
        for i, name in enumerate(names):
            print(f"    [SCORE_{name.upper()}] = {{\"{name}\", {fitted[i]:.2f}, ...}},"
                  f"  /* mean {features[train, i].mean():.2f} */")
        print()

    picked = dev.nonzero()[0]
    dev_rows = [rows[i] for i in picked]
    report(dev_rows, gain[dev], [(name, column[dev]) for name, column in columns])
    rank = [np.argsort(np.argsort(column[dev])) for column in (length, score, bare)]
    print("rank correlation with length on dev: "
          f"score {np.corrcoef(rank[0], rank[1])[0, 1]:.2f}, "
          f"without the length feature {np.corrcoef(rank[0], rank[2])[0, 1]:.2f}")
    for name in sorted(set(row["dataset"] for row in dev_rows)):
        of_set = np.array([row["dataset"] == name for row in rows])
        print(f"{name} dev prompts above 0.5: {np.mean(score[dev & of_set] > 0.5):.0%}")


if __name__ == "__main__":
    main()

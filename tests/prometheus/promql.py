"""As much of PromQL as it takes to see which series and labels an expression asks for, and what
Grafana makes of its own variables before Prometheus is asked. Whether an expression is valid is
Prometheus' own word; nothing here judges that.
"""
import re

STRING = r'"(?:[^"\\]|\\.)*"'
MATCHER = re.compile(rf"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*({STRING})")
# A name, with its matchers or with the bracket that makes it a function.
NAME = re.compile(rf'(?<![\w:.])([a-zA-Z_:][\w:]*)(?:\s*(\{{(?:[^"}}]|{STRING})*\}})|\s*(\())?')
RANGE = re.compile(r"\[[^\]]*\]")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
WORDS = {"and", "or", "unless", "bool"}


def selectors(expression):
    """Of each selector: the metric, {label: value} of its matchers, and its text."""
    found = []
    for name, braces, bracket in NAME.findall(RANGE.sub("", GROUPING.sub("", expression))):
        if not bracket and name not in WORDS:
            matchers = {label: value[1:-1] for label, value in MATCHER.findall(braces)}
            found.append((name, matchers, name + braces))
    return found


def grouping_labels(expression):
    return {label.strip() for labels in GROUPING.findall(expression)
            for label in labels.split(",") if label.strip()}


def interpolated(text, variables):
    """Grafana's substitution: $name and ${name}, the longest name first."""
    for name in sorted(variables, key=len, reverse=True):
        text = re.sub(r"\$(\{%s\}|%s\b)" % (name, name), lambda _: variables[name], text)
    assert "$" not in text, f"a variable nobody knows: {text}"
    return text


def several(values):
    """What Grafana makes of several chosen values in a Prometheus query."""
    quoted = [re.sub(r"([\\^$.*+?()|{}\[\]])", r"\\\\\1", value) for value in values]
    return quoted[0] if len(quoted) == 1 else "(" + "|".join(quoted) + ")"

"""promql.py, which the other tests here believe."""
import pytest

from promql import grouping_labels, interpolated, selectors, several


@pytest.mark.parametrize("expression, names", [
    ("up", ["up"]),
    ("a:b:rate5m > 0.05 and c_d == bool 1e0", ["a:b:rate5m", "c_d"]),
    ('sum by (x, y) (rate(a_total{b="}",c=~"d|e"}[5m])) / on (x) group_left () f{}',
     ["a_total", "f"]),
    ("histogram_quantile(0.5, sum(rate(a_bucket[$__rate_interval]))) or vector(0)", ["a_bucket"]),
    ("0 * (a\n  unless\n  b)", ["a", "b"]),
])
def test_the_selectors_of_an_expression(expression, names):
    assert [name for name, _, _ in selectors(expression)] == names


def test_matchers_and_labels_of_groups():
    expression = 'sum by (x,y) (a{b="}",c=~"d|e"}) and on(z) f'
    assert selectors(expression)[0] == ("a", {"b": "}", "c": "d|e"}, 'a{b="}",c=~"d|e"}')
    assert grouping_labels(expression) == {"x", "y", "z"}


def test_variables_as_grafana_fills_them_in():
    assert interpolated("a $b ${b} $bc[$__r]", {"b": "1", "bc": "2", "__r": "4s"}) == "a 1 1 2[4s]"
    with pytest.raises(AssertionError):
        interpolated("$unknown", {"b": "1"})
    assert several(["127.0.0.1:1"]) == "127\\\\.0\\\\.0\\\\.1:1"
    assert several(["a", "b|c"]) == "(a|b\\\\|c)"

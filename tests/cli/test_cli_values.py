"""JSON values on a terminal: what a person reads of them."""

from __future__ import annotations

import pytest

from eventsim.cli.values import lines


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("resolution", 1048576, "1,048,576"),
        ("seed", 1048576, "1048576"),
        ("median_decision_latency_steps", 2.3433799743652344, "2.343"),
        ("mean_spikes", 74486.596, "74,486.6"),
        ("duration_steps", 8.0, "8"),
        ("threshold error", 4.889183772949224e-06, "4.889e-06"),
        ("ANN test accuracy", 0.9959, "99.59%"),
        ("accuracy", 1.0, "100.00%"),
        ("accuracy", 97.5, "97.5"),  # (whoever wrote that counted in percent)
        ("binary", True, "yes"),
        ("command", "python networks/make.py 1000000", "python networks/make.py 1000000"),
        ("threshold", [87776, 112551], "87,776; 112,551"),
        ("remarks", [], "none"),
        ("layers", [1, {"a": 2}], '1; {"a": 2}'),
        ("nothing", None, "none"),
    ],
)
def test_a_value_has_the_digits_that_say_something(name, value, expected):
    assert list(lines(name, value)) == [f"{name.replace('_', ' ')}: {expected}"]


def test_parts_stand_on_lines_of_their_own():
    value = {
        "binary layers": 1,
        "layers": [{"name": "conv1", "weights": 1152, "binary_table": False, "threshold": None}, {"weights": 7}],
        "settings": {"signed": None, "percentile": 99.9},
        "remarks": [],
    }
    assert list(lines("conversion", value)) == [
        "conversion:",
        "  binary layers: 1",
        "  layers:",
        "    conv1: weights = 1,152, binary table = no",
        "    2: weights = 7",
        "  settings: percentile = 99.9",
    ]
    assert list(lines("check", {})) == []

"""Compiled code of the decision of a run on a chip."""

from __future__ import annotations

from eventsim.kernels.compiled import typed_part


@typed_part
def decide(plan, state, time):
    """At the end of a picosecond in which something arrived at the output."""
    s = state.progress[()]
    population = plan.populations[plan.output]
    best, second = population["first"], -1
    for n in range(population["first"] + 1, population["end"]):
        if state.v[n] > state.v[best]:
            second, best = best, n
        elif second < 0 or state.v[n] > state.v[second]:
            second = n
    if best - population["first"] != s["decision"]:
        s["decision"], s["decision_tick"] = best - population["first"], time
    margin = second >= 0 and plan.exit_kind == 2 and state.v[best] - state.v[second] >= plan.exit_threshold
    if margin or (plan.exit_kind == 1 and state.v[best] >= plan.exit_threshold):
        s["exited"], s["end"] = 1, time

"""Cost models: what the operations of a run would cost on some hardware. A file a model; what lies in this folder is found by its name."""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import iter_modules

from eventsim.analysis.costs.model import CostModel, read_values
from eventsim.errors import RunError

# What a file of costs is for, if it does not say.
USUAL = "operations"


def cost_models() -> list[str]:
    """The names of the cost models: those of the files in this folder."""
    return sorted(name for _, name, _ in iter_modules(__path__) if name != "model")


def cost_model(name: str) -> type[CostModel]:
    """The cost model of a name; in its file, it is called ``Costs``.

    Raises
    ------
    RunError
        There is none.
    """
    if name not in cost_models():
        raise RunError(f"unknown cost model {name!r}; there are: {', '.join(cost_models())}")
    made = import_module(f"{__name__}.{name}").Costs
    assert issubclass(made, CostModel)
    return made


def usual_costs() -> CostModel:
    """The costs that are taken where none are named: the usual table for 45 nm."""
    return cost_model(USUAL)()  # type: ignore[call-arg]


def read_costs(path: str | os.PathLike[str]) -> CostModel:
    """Read costs from a JSON file: an object with the attributes of a cost model, which ``"model"`` names; the usual one if it does not.

    Raises
    ------
    RunError
        Not such a file.
    """
    values = read_values(path)
    name = values.pop("model", USUAL) if isinstance(values, dict) else USUAL
    try:
        model = cost_model(name)
    except RunError as error:
        raise RunError(f"{path}: {error}") from None
    return model.from_values(path, values)

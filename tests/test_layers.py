"""Imports run one way through the rooms of the package, and a module imports what it needs at its top."""

import house
import pytest

HOUSE = house.House()
# What need not be installed (pyproject.toml): imported where it is used.
OPTIONAL = {
    "torch",
    "onnx",
    "nir",
    "matplotlib",
    "mpl_toolkits",
    "jinja2",
    "distributed",
    "pandas",
    "neo",
    "quantities",
    "safetensors",
    "aedat",
    "evt3",
    "hdf5plugin",
}


@pytest.mark.parametrize("module", HOUSE.modules)
def test_imports_run_one_way(module):
    room = HOUSE.modules[module].room
    assert room in house.FLOORS, f"{module} lies in no room of {house.ORDER}"
    for importer, target, each in HOUSE.arrows():
        below = target.partition(".")[0]
        if importer.name == module and below != room:
            assert house.FLOORS[below] < house.FLOORS[room], f"{module}, line {each.line}: imports {each.name}, which stands above it"


# What need not be installed, and is imported at the top of a module.
TOPS = {
    name: {i.name for i in module.imports if not i.inside and i.name.partition(".")[0] in OPTIONAL}
    for name, module in HOUSE.modules.items()
}
# Imported within functions all the same: a fifth of a second that every command would take, for one constructor; what a start does without.
LATE = OPTIONAL | {"scipy", "importlib"}


# Folders of such modules altogether.
NEEDY = {"conversion.pytorch": {"torch"}}


def folder(name):
    return name.rpartition(".")[0]


for name in TOPS:
    TOPS[name] |= NEEDY.get(folder(name), set())


def test_what_need_not_be_installed_is_imported_where_it_is_used():
    """Within functions; or at the top of a module that is itself imported within functions only; or within a folder of such."""
    for module, target, each in HOUSE.arrows():
        within = NEEDY.get(folder(module.name), set())
        needs = {name for name in TOPS[target] if name.partition(".")[0] not in within}
        assert each.inside or not needs, (
            f"{module.name}, line {each.line}: {each.name} needs {needs}, which may not be there; import it where it is used"
        )


def test_nothing_of_the_package_goes_round_in_circles():
    assert HOUSE.circles() == []


@pytest.mark.parametrize("module", HOUSE.modules)
def test_everything_else_is_imported_at_the_top(module):
    """Commands are imported late as a whole (eventsim.cli.lazy), and so are engines (eventsim.engines.registry)."""
    needy = {each.line for importer, target, each in HOUSE.arrows() if importer.name == module and TOPS[target]}
    for each in HOUSE.modules[module].imports:
        assert not each.inside or each.name.partition(".")[0] in LATE or each.line in needy, (
            f"{module}, line {each.line}: imports {each.name} within a function; import it at the top"
        )

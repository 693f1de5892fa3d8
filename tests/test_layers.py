"""Imports run one way through the rooms of the package, and a module imports what it needs at its top."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from repository import ROOT

PACKAGE = ROOT / "eventsim"
# Each room uses those to its left only; those between two commas do not know each other. What lies on the top floor is a room of its own.
ORDER = "errors, files, data model, kernels, job, engines record, simulate, analysis conversion, batch, cli"
FLOORS = {room: floor for floor, rooms in enumerate(ORDER.split(", ")) for room in rooms.split()}
# The public interface stands above all rooms but the command line.
FLOORS |= {"__init__": FLOORS["batch"] + 0.5, "__main__": FLOORS["cli"] + 1}
# What need not be installed (pyproject.toml): imported where it is used.
OPTIONAL = {"torch", "onnx", "nir", "matplotlib", "mpl_toolkits", "jinja2", "distributed", "pandas", "neo", "quantities", "safetensors"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path


MODULES = dict(modules())


def imported(path: Path) -> Iterator[tuple[str, bool, int]]:
    """What a file imports: dotted name, whether within a function, line. Imports for types only do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) in inside, node.lineno


def own(name: str) -> str | None:
    """The module of the package that an imported name lies in."""
    if name.partition(".")[0] != "eventsim":
        return None
    inner = name.partition(".")[2]
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    room = module.partition(".")[0]
    assert room in FLOORS, f"{module} lies in no room of {ORDER}"
    for name, _, line in imported(MODULES[module]):
        target = own(name)
        if target is None or target.partition(".")[0] == room:
            continue
        assert FLOORS[target.partition(".")[0]] < FLOORS[room], f"{module}, line {line}: imports {name}, which stands above it"


def test_what_need_not_be_installed_is_imported_where_it_is_used():
    """Within functions; or at the top of a module that is itself imported within functions only."""
    tops = {
        module: {name for name, inside, _ in imported(path) if not inside and name.partition(".")[0] in OPTIONAL}
        for module, path in MODULES.items()
    }
    for module, path in MODULES.items():
        for name, inside, line in imported(path):
            needs = tops.get(own(name) or "")
            assert inside or not needs, f"{module}, line {line}: {name} needs {needs}, which may not be there; import it where it is used"


def test_nothing_of_the_package_goes_round_in_circles():
    graph = {module: {own(name) for name, _, _ in imported(path)} - {None, module} for module, path in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError

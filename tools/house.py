"""Measure how the sources are laid out: the table of what the house should look like, computed from the sources themselves.

    python tools/house.py                       # this checkout; exit code 1 if a row is not met
    python tools/house.py ../another/checkout
    python tools/house.py --places functions    # and where: every place that counts against a row whose name contains the word
    python tools/house.py --time                # and the first run of a machine, a warm run and --help, in seconds of the processor

Everything but ``--time`` is read from the syntax trees of ``eventsim/``; nothing of it is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
# Each room uses those to its left only; those between two commas do not know each other. What lies on the top floor is a room of its own.
ORDER = "errors, files, data model, kernels, job, engines record, simulate, analysis conversion, hardware, batch, cli"
FLOORS = {room: floor for floor, rooms in enumerate(ORDER.split(", ")) for room in rooms.split()}
# The public interface stands above all rooms but the command line.
FLOORS |= {"__init__": FLOORS["batch"] + 0.5, "__main__": FLOORS["cli"] + 1}
# The kinds of today; those that come are found by where they lie.
KINDS = {"Driven", "Spiking", "Maximum", "Readout", "Source", "Population", "Conv2d", "Dense", "Sparse", "Windows", "Table"}
# Where they come from; before there were rooms, from modules of these names.
MODEL = {"eventsim", "eventsim.model", "eventsim.network", "eventsim.tables"}
KIND_NAMES = {"driven", "spiking", "maximum", "readout", "source", "conv2d", "dense", "sparse", "windows"}
# What only numba itself should know, but for the one file that keeps machine code.
PRIVATE_NUMBA = {"_nrt", "magic_tuple", "install_timer", "_cache", "_rebuild", "_reduce", "has_dynamic_globals"}
# Parts of numba.core that numba's own page on extensions uses.
EXTENSION = {"types", "cgutils", "errors"}
BRANCHES = {"append_basic_block", "cbranch", "branch", "if_then", "if_else", "for_range", "for_range_slice", "while_loop", "goto_block"}


# Called by users, with every setting by its name.
PUBLIC = {"batch.evaluate.evaluate", "conversion.convert", "simulate.run", "simulate.run_many"}


@dataclass(frozen=True)
class Import:
    """A name that a file imports.

    Attributes
    ----------
    name : str
        Dotted, with what is taken from the module.
    alias : str
        What the file calls it.
    inside : bool
        Whether within a function.
    line : int
    """

    name: str
    alias: str
    inside: bool
    line: int


@dataclass(frozen=True)
class Function:
    """A function of the package, nested ones included.

    Attributes
    ----------
    place : str
        ``module:line name``.
    lines : int
        Lines with code, from ``def`` to the end, without docstring, comments and blank lines.
    parameters : int
        All but ``self`` and ``cls``.
    kernel : bool
        Whether it is compiled, or part of a function that is.
    """

    place: str
    lines: int
    parameters: int
    kernel: bool

    @property
    def called(self) -> str:
        """Its name, after the module's."""
        module, _, rest = self.place.partition(":")
        return f"{module}.{rest.partition(' ')[2]}"


class Module:
    """A source file: its syntax tree and what is asked about it.

    Parameters
    ----------
    name : str
        Dotted, from the package; ``__init__`` is the package itself.
    path : Path
    """

    def __init__(self, name: str, path: Path):
        self.name = name
        self.room = name.partition(".")[0]
        self.text = path.read_text(encoding="utf-8")
        try:
            self.tree = ast.parse(self.text, str(path))
        except SyntaxError as error:
            raise click.ClickException(f"{path}: no Python that can be read ({error.msg}, line {error.lineno})") from None

    @cached_property
    def imports(self) -> list[Import]:
        """What it imports, but for types only."""
        for_types = {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
            for inner in ast.walk(node)
        }
        functions = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        inside = {id(inner) for node in functions for inner in ast.walk(node)}
        imports = []
        for node in ast.walk(self.tree):
            if id(node) in for_types or not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Import):
                names = [(alias.name, alias.asname or alias.name.partition(".")[0]) for alias in node.names]
            else:
                if node.level or node.module is None:
                    raise click.ClickException(f"{self.name}, line {node.lineno}: a relative import; expected the whole name")
                names = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
            imports += [Import(name, alias, id(node) in inside, node.lineno) for name, alias in names]
        return imports

    @cached_property
    def code_lines(self) -> set[int]:
        """The lines that are neither blank nor a comment."""
        no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return {line for t in tokens if t.type not in no_code for line in range(t.start[0], t.end[0] + 1)}

    @cached_property
    def functions(self) -> list[Function]:
        """Its functions, methods and nested functions."""
        origins = {i.alias: i.name for i in self.imports}
        functions = []

        def visit(node: ast.AST, within_kernel: bool) -> None:
            for child in ast.iter_child_nodes(node):
                kernel = within_kernel
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    kernel |= any(_compiles(d, origins) for d in child.decorator_list)
                    functions.append(self._function(child, kernel))
                visit(child, kernel)

        visit(self.tree, False)
        return functions

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, kernel: bool) -> Function:
        lines = set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) & self.code_lines
        if ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        a = node.args
        names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg is not None]
        parameters = len(names) - (names[:1] in (["self"], ["cls"]))
        return Function(f"{self.name}:{node.lineno} {node.name}", len(lines), parameters, kernel)

    @cached_property
    def numbered(self) -> set[str]:
        """Names of places, as of ``A, B = range(2)`` or ``A, B = 0, 1`` at the top level."""
        names = set()
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and _counts(node.value):
                names |= {ast.unparse(e) for e in node.targets[0].elts}
        return names


def _compiles(decorator: ast.expr, origins: dict[str, str]) -> bool:
    root = decorator
    while isinstance(root, ast.Call | ast.Attribute):
        root = root.func if isinstance(root, ast.Call) else root.value
    origin = origins.get(root.id, "") if isinstance(root, ast.Name) else ""
    return origin.startswith(("numba.", "eventsim.kernels.")) or origin == "numba"


def _counts(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "range"
    return isinstance(value, ast.Tuple) and [ast.unparse(e) for e in value.elts] == [str(i) for i in range(len(value.elts))]


@dataclass
class Row:
    """A row of the table.

    Attributes
    ----------
    name, wanted : str
    today : str
    met : bool
    places : list of str
        What counts against it, with the place.
    """

    name: str
    today: str
    wanted: str
    met: bool
    places: list[str] = field(default_factory=list)


class House:
    """The sources of a checkout.

    Parameters
    ----------
    root : Path
        A checkout, with ``eventsim/`` in it.
    """

    def __init__(self, root: Path = ROOT):
        self.package = root / "eventsim"
        self.modules: dict[str, Module] = {}
        for path in sorted(self.package.rglob("*.py")):
            parts = path.relative_to(self.package).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
            self.modules[name] = Module(name, path)

    def own(self, name: str) -> str | None:
        """The module of the package that an imported name lies in; None for a name from elsewhere."""
        package, _, inner = name.partition(".")
        if package != "eventsim":
            return None
        while inner and inner not in self.modules:
            inner = inner.rpartition(".")[0]
        return inner or "__init__"

    def arrows(self) -> Iterator[tuple[Module, str, Import]]:
        """Every import of the package from itself: the module, the module that it imports, and how."""
        for module in self.modules.values():
            for each in module.imports:
                target = self.own(each.name)
                if target is not None and target != module.name:
                    yield module, target, each

    def rooms(self) -> dict[str, set[str]]:
        """The rooms and which others each uses; the public interface, ``__init__`` and ``__main__``, aside."""
        graph: dict[str, set[str]] = {m.room: set() for m in self.modules.values() if not m.room.startswith("__")}
        for module, target, _ in self.arrows():
            room = target.partition(".")[0]
            if module.room in graph and room in graph and room != module.room:
                graph[module.room].add(room)
        return graph

    def against(self) -> list[str]:
        """Imports of a room that does not stand below; a file that lies in no room counts too."""
        places = [f"{room}: no room of {ORDER}" for room in {m.room for m in self.modules.values()} - set(FLOORS)]
        for module, target, each in self.arrows():
            room = target.partition(".")[0]
            if room != module.room and FLOORS.get(room, -1) >= FLOORS.get(module.room, 99):
                places.append(f"{module.name}:{each.line} imports {each.name}")
        return sorted(places)

    def circles(self) -> list[str]:
        """Circles of modules, imports within functions included, one by one until none is left."""
        graph: dict[str, set[str]] = {name: set() for name in self.modules}
        for module, target, _ in self.arrows():
            graph[module.name].add(target)
        found = []
        while True:
            try:
                list(TopologicalSorter(graph).static_order())
                return found
            except CycleError as error:
                circle = error.args[1]
                found.append(" < ".join(circle))
                graph[circle[1]].discard(circle[0])

    def kinds_asked(self) -> Iterator[str]:
        """Questions for the kind of a population or a table: ``isinstance`` or ``.kind == "..."``, outside a registry."""
        classes = KINDS | {
            node.name
            for m in self.modules.values()
            if m.name.startswith(("model.populations", "model.tables"))
            for node in m.tree.body
            if isinstance(node, ast.ClassDef)
        }
        for module in self.modules.values():
            if module.name == "model.registry":
                continue
            known = {
                i.alias
                for i in module.imports
                if i.name in MODEL or i.name.rpartition(".")[0] in MODEL or i.name.startswith("eventsim.model.")
            }
            if f"eventsim.{module.room}" in MODEL:
                known |= {node.name for node in module.tree.body if isinstance(node, ast.ClassDef)} | {"Population", "Table"}
            for node in ast.walk(module.tree):
                if (isinstance(node, ast.Call) and _asks_class(node, classes, known)) or (
                    isinstance(node, ast.Compare) and _asks_name(node)
                ):
                    yield f"{module.name}:{node.lineno} {ast.unparse(node)}"

    def shared_numbers(self) -> list[str]:
        """Numbered places that another file uses, by import or as an attribute of the module."""
        places = []
        for module in self.modules.values():
            aliases = {i.alias: i.name.removeprefix("eventsim.") for i in module.imports}
            for i in module.imports:
                target = self.own(i.name)
                if target in self.modules and i.name.rpartition(".")[2] in self.modules[target].numbered:
                    places.append(f"{target}.{i.name.rpartition('.')[2]} in {module.name}")
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    target = aliases.get(node.value.id, "")
                    if target in self.modules and target != module.name and node.attr in self.modules[target].numbered:
                        places.append(f"{target}.{node.attr} in {module.name}")
        return sorted(set(places))

    def private_numba(self) -> dict[str, list[str]]:
        """The files that use private parts of numba, and where."""
        places: dict[str, list[str]] = {}
        for module in self.modules.values():
            uses = [f"{module.name}:{i.line} {i.name}" for i in module.imports if _is_private(i.name)]
            uses_numba = any(i.name.partition(".")[0] == "numba" for i in module.imports)
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Attribute) and uses_numba and node.attr in PRIVATE_NUMBA | {"compile"}:
                    uses.append(f"{module.name}:{node.lineno} .{node.attr}")
                elif isinstance(node, ast.keyword) and node.arg in PRIVATE_NUMBA:
                    uses.append(f"{module.name}:{node.value.lineno} {node.arg}=")
            if uses:
                places[module.name] = uses
        return places

    def rows(self) -> list[Row]:
        """The table, but for what must be timed."""
        return [*self._floor_rows(), *self._function_rows(), *self._name_rows(), *self._compiler_rows(), *self._test_rows()]

    def _floor_rows(self) -> Iterator[Row]:
        graph = self.rooms()
        files = sorted(room for room in graph if room in self.modules and not (self.package / room).is_dir())
        folders = sorted(set(graph) - set(files))
        # Eleven folders stand in the plan, with hardware, and two files beside the public interface.
        met = len(folders) <= 12 and len(files) <= 2
        yield Row("rooms on the top floor", f"{len(folders)} folders, {len(files)} files", "12, 2 at most", met, files)
        floors = _floors(graph)
        yield Row("import floors of the rooms", "in circles" if floors is None else str(floors), "10 at most", (floors or 99) <= 10)
        arrows = [f"{room} -> {other}" for room, others in graph.items() for other in sorted(others)]
        yield Row("arrows between rooms", str(len(arrows)), "70 at most", len(arrows) <= 70, arrows)
        against, circles = self.against(), self.circles()
        yield Row("imports against the direction", str(len(against)), "0", not against, against)
        yield Row("circles of imports", str(len(circles)), "0", not circles, circles)

    def _function_rows(self) -> Iterator[Row]:
        functions = sorted((f for m in self.modules.values() for f in m.functions), key=lambda f: -f.lines)
        for kernel, where, most_lines, most in ((True, "kernels", 80, 12), (False, "elsewhere", 60, 10)):
            these = [f for f in functions if f.kernel == kernel]
            longest = max((f.lines for f in these), default=0)
            long = [f"{f.place}: {f.lines} lines" for f in these if f.lines > most_lines]
            yield Row(f"longest function, {where}", str(longest), f"{most_lines} lines at most", longest <= most_lines, long)
            yield Row(f"functions over {most_lines} lines, {where}", str(len(long)), "0", not long, long)
            wide = [f"{f.place}: {f.parameters} parameters" for f in these if f.parameters > most and f.called not in PUBLIC]
            yield Row(f"functions with more than {most} parameters, {where}", str(len(wide)), "0", not wide, wide)

    def _name_rows(self) -> Iterator[Row]:
        shared = self.shared_numbers()
        names = {use.partition(" in ")[0] for use in shared}
        total = sum(len(m.numbered) for m in self.modules.values())
        yield Row("numbered places shared between files", f"{len(names)} of {total}", "0", not names, shared)
        asked = list(self.kinds_asked())
        files = {place.partition(":")[0] for place in asked}
        yield Row("questions for the kind of a population or table", f"{len(asked)} in {len(files)} files", "0", not asked, asked)

    def _compiler_rows(self) -> Iterator[Row]:
        builders = [m for m in self.modules.values() if any(i.name.startswith("llvmlite.ir") for i in m.imports)]
        lines = sum(len(m.code_lines) for m in builders)
        names = [m.name for m in builders]
        met = len(names) <= 1
        yield Row(
            "files with hand-written LLVM",
            f"{len(names)}, {lines} lines",
            "kernels.vector alone",
            met and names in ([], ["kernels.vector"]),
            names,
        )
        branches = [
            f"{m.name}:{node.lineno} {node.attr}"
            for m in builders
            for node in ast.walk(m.tree)
            if isinstance(node, ast.Attribute) and node.attr in BRANCHES
        ]
        yield Row("control flow in them", str(len(branches)), "0", not branches, branches)
        private = self.private_numba()
        places = [use for name, uses in private.items() if name != "kernels.compiled" for use in uses]
        yield Row("files with private parts of numba", str(len(private)), "kernels.compiled alone", not places, places)

    def _test_rows(self) -> Iterator[Row]:
        root = self.package.parent
        lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "tests").rglob("*.py")}
        long = [f"{path.relative_to(root)}: {n} lines" for path, n in sorted(lengths.items()) if n > 400]
        yield Row("longest file of tests", str(max(lengths.values(), default=0)), "400 lines at most", not long, long)
        others = [path for room in ("tests", "benchmarks") for path in sorted((root / room).rglob("*.py"))]
        private = [f"{path.relative_to(root)}:{place}" for path in others for place in _private_uses(path)]
        yield Row("private names used by tests and benchmarks", str(len(private)), "0", not private, private)


def _private_uses(path: Path) -> Iterator[str]:
    """Where a file uses names that modules of the package keep to themselves, by import, attribute or text to be patched."""
    module = Module(path.stem, path)
    ours = {i.alias for i in module.imports if i.name.partition(".")[0] == "eventsim"}
    for i in module.imports:
        if i.name.startswith("eventsim.") and _is_own(i.name.rpartition(".")[2]):
            yield f"{i.line} {i.name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _is_own(node.attr) and ast.unparse(node.value).partition(".")[0] in ours:
            yield f"{node.lineno} {ast.unparse(node)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr" and node.args:
            first = node.args[0]
            name = node.args[1] if ast.unparse(first).partition(".")[0] in ours and len(node.args) > 2 else first
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and _is_own(name.value.rpartition(".")[2]):
                yield f"{node.lineno} {name.value}"


def _is_own(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _asks_class(call: ast.Call, classes: set[str], known: set[str]) -> bool:
    if not (isinstance(call.func, ast.Name) and call.func.id in ("isinstance", "issubclass") and len(call.args) == 2):
        return False
    for node in ast.walk(call.args[1]):
        if isinstance(node, ast.Name) and node.id in classes & known:
            return True
        if isinstance(node, ast.Attribute) and node.attr in classes and ast.unparse(node.value).partition(".")[0] in known:
            return True
    return False


def _asks_name(compare: ast.Compare) -> bool:
    sides = [compare.left, *compare.comparators]
    kinds = any(isinstance(node, ast.Attribute) and node.attr == "kind" for node in sides)
    return kinds and any(isinstance(node, ast.Constant) and node.value in KIND_NAMES for side in sides for node in ast.walk(side))


def _is_private(name: str) -> bool:
    parts = name.split(".")
    return parts[:2] == ["numba", "core"] and len(parts) > 2 and parts[2] not in EXTENSION


def _floors(graph: dict[str, set[str]]) -> int | None:
    """Rooms on the longest way through a graph; None if it goes in circles."""
    height: dict[str, int] = {}
    try:
        for room in TopologicalSorter(graph).static_order():
            height[room] = 1 + max((height[other] for other in graph[room]), default=0)
    except CycleError:
        return None
    return max(height.values(), default=0)


def timed_rows(root: Path) -> Iterator[Row]:
    """The first run of a machine, a warm run and ``--help``, in seconds of the processor, as benchmarks/start.py measures them."""
    place = ROOT / "benchmarks" / "start.py"
    spec = importlib.util.spec_from_file_location("start", place)
    assert spec is not None
    assert spec.loader is not None
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    for name, (found,), most in start.measured([root], 5, first=True):
        if most is not None:
            yield Row(name, f"{found:.2f} s", f"{most:g} s at most", found <= most)


def table(rows: Sequence[Row]) -> str:
    """The rows as lines of text, in columns."""
    cells = [("", "today", "wanted", ""), *((r.name, r.today, r.wanted, "met" if r.met else "NOT MET") for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(3)]
    return "\n".join("  ".join((*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3])).rstrip() for line in cells)


@click.command(help=__doc__.split("\n\n")[0], context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path), default=ROOT)
@click.option("--places", metavar="WORD", help="Also print every place that counts against the rows whose names contain the word.")
@click.option("--time", "timed", is_flag=True, help="Also measure the first run, a warm run and --help: a minute.")
def main(checkout: Path, places: str | None, timed: bool) -> None:
    rows = House(checkout).rows()
    if timed:
        rows += timed_rows(checkout.resolve())
    click.echo(table(rows))
    for row in rows:
        if places is not None and places in row.name:
            click.echo(f"\n{row.name}:\n" + "\n".join(f"    {place}" for place in row.places))
    sys.exit(0 if all(row.met for row in rows) else 1)


if __name__ == "__main__":
    main()

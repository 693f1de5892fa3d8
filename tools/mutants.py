"""Check the tests: make small wrong changes to the sources, one at a time, and report those that no test notices.

    python tools/mutants.py                          # all of tests/mutants/*.toml: minutes to hours
    python tools/mutants.py counting evaluation      # those whose file or reason contains one of the words
    python tools/mutants.py --list

Every change is made in a scratch copy. First the named tests must pass without any change; then each change must make one of its
own tests fail. Machine code is kept by a digest of all that it follows from (eventsim/kernels/fingerprint.py), so what a change
touches is compiled anew, and nothing else; all of it once, at the beginning.

The changes to a room of eventsim are in tests/mutants/ROOM.toml. An entry: file, old (occurs once in it), new, tests (one must fail), why
(what would be wrong), optional env. Most were found by hand: each of them was at some time noticed by no fast test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "tests" / "mutants"
# What is changed or written to; the rest of the repository is only linked.
_COPIED = ("eventsim", "tests", "tools")
# Seconds for the tests of one change: more is a loop without end, which is noticed too.
_LIMIT = 3600


@dataclass(frozen=True)
class Mutant:
    """A wrong change to a source file that some test must notice.

    Attributes
    ----------
    file : str
        From the root of the repository.
    old, new : str
        ``old`` occurs in the file exactly once.
    tests : list of str
        What pytest is given: files, or ``file::test``. One of them must fail.
    why : str
        What would be wrong, in a few words.
    env : dict of str to str
        Environment variables of the tests, such as ``NUMBA_DISABLE_JIT = "1"``.
    """

    file: str
    old: str
    new: str
    tests: list[str]
    why: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file}: {self.why or self.new.strip()}"

    def faults(self, root: Path = ROOT) -> list[str]:
        """What is wrong with the entry itself: it no longer fits the sources or the tests."""
        source = root / self.file
        found = []
        times = source.read_text(encoding="utf-8").count(self.old) if source.is_file() else 0
        if times != 1:
            found.append(f"{self}: {self.old!r} occurs {times} times in {self.file}, expected once")
        if self.old == self.new:
            found.append(f"{self}: changes nothing")
        if not self.tests:
            found.append(f"{self}: names no tests")
        for test in self.tests:
            name, _, function = test.partition("::")
            if not (root / name).is_file() or f"def {function.partition('[')[0]}" not in (root / name).read_text(encoding="utf-8"):
                found.append(f"{self}: there is no test {test}")
        return found


def read_lists(folder: Path = LISTS) -> list[Mutant]:
    """The entries of all lists in a folder, by name of the list; raises ValueError or TypeError where one is none."""
    mutants: list[Mutant] = []
    known = {f.name for f in fields(Mutant)}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []):
            if not set(entry) <= known:
                raise ValueError(f"{path}: unknown keys {sorted(set(entry) - known)} in {entry}")
            mutant = Mutant(**entry)
            if path.stem not in Path(mutant.file).with_suffix("").parts[1:2]:
                raise ValueError(f"{path}: {mutant.file} is of another room: move the entry to the list of that")
            mutants.append(mutant)
    return mutants


class Scratch:
    """A copy of the repository in which sources may be changed and tests run."""

    def __init__(self, folder: Path):
        self.root = folder / "repository"
        self.root.mkdir()
        # Machine code of changed sources does not stay in the user's cache.
        self._cache = folder / "cache"
        for item in ROOT.iterdir():
            if item.name in _COPIED:
                shutil.copytree(item, self.root / item.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif not item.name.startswith("."):
                (self.root / item.name).symlink_to(item)

    def passes(self, tests: Sequence[str], env: dict[str, str]) -> tuple[bool, str]:
        """Whether the tests pass with the sources as they are, and what pytest said."""
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "NUMBA_CACHE_DIR": str(self._cache),
            "XDG_CACHE_HOME": str(self._cache),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        # A group of its own, so that what tests have started ends with them.
        child = subprocess.Popen(
            command,
            cwd=self.root,
            env=environment | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            return False, f"not done after {_LIMIT} seconds"
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        return child.returncode == 0, said

    def survives(self, mutant: Mutant) -> bool:
        """Make the change, run its tests, and undo the change."""
        source = self.root / mutant.file
        text = source.read_text(encoding="utf-8")
        try:
            source.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
            return self.passes(mutant.tests, mutant.env)[0]
        finally:
            source.write_text(text, encoding="utf-8")


def _chosen(mutants: Iterable[Mutant], words: Sequence[str]) -> list[Mutant]:
    return [m for m in mutants if not words or any(word in f"{m.file} {m.why}" for word in words)]


@click.command(help=__doc__.split("\n\n")[0], context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Print the mutants and run nothing.")
def main(words: tuple[str, ...], only_list: bool) -> None:
    mutants = _chosen(read_lists(), words)
    faults = [fault for m in mutants for fault in m.faults()]
    if faults:
        raise click.ClickException("the list does not fit the sources:\n" + "\n".join(faults))
    if only_list or not mutants:
        click.echo("\n".join(map(str, mutants)) or "no such mutants")
        return
    with tempfile.TemporaryDirectory(prefix="eventsim-mutants-") as folder:
        scratch = Scratch(Path(folder))
        for env in {tuple(sorted(m.env.items())) for m in mutants}:
            tests = sorted({t for m in mutants if tuple(sorted(m.env.items())) == env for t in m.tests})
            good, said = scratch.passes(tests, dict(env))
            if not good:
                raise click.ClickException(f"the tests fail without any change:\n{said}")
        survivors = []
        for number, mutant in enumerate(mutants, 1):
            if scratch.survives(mutant):
                survivors.append(mutant)
            click.echo(f"{number}/{len(mutants)} {'SURVIVES' if mutant in survivors else 'killed'}  {mutant}")
    click.echo(f"{len(mutants) - len(survivors)} of {len(mutants)} killed")
    if survivors:
        sys.exit(1)


if __name__ == "__main__":
    main()

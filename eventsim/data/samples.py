"""The network and the images that come with eventsim, for a first run: ten digits and a network that tells them apart."""

from __future__ import annotations

import filecmp
from pathlib import Path

from eventsim.errors import DatasetError
from eventsim.files.atomic import write_bytes

_PACKAGE = Path(__file__).parents[1]
# An installed package carries them (setup.py); a checkout has them where they belong.
_PLACES = _PACKAGE / "sample_files", _PACKAGE.parent
_PATTERNS = "networks/lenet-mnist.h5", "datasets/samples/*.png"


def sample_files() -> dict[str, Path]:
    """The files by the names that the documentation gives them, such as ``networks/lenet-mnist.h5``."""
    for place in _PLACES:
        found = {path.relative_to(place).as_posix(): path for pattern in _PATTERNS for path in sorted(place.glob(pattern))}
        if found:
            return found
    raise DatasetError(f"this installation has no samples (looked in {_PLACES[0]}); install eventsim again")


def copy_samples(folder: Path) -> list[Path]:
    """Copy them into a folder, under the same names; files that are there already must be equal.

    Raises
    ------
    DatasetError
        Another file has the name of one of them, or the folder cannot be written.
    """
    targets = {folder / name: path for name, path in sample_files().items()}
    try:
        for target, path in targets.items():
            if target.exists() and not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
                raise DatasetError(f"{target}: exists and is another file; remove it, or name another folder with --to")
        for target, path in targets.items():
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(target, path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    return list(targets)

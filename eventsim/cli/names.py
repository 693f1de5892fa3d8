"""Names of files and of other things that a user gives: never empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.types import StringParamType


def _named(value: Any, kind: click.ParamType, param: click.Parameter | None, ctx: click.Context | None) -> Any:
    if value == "":
        kind.fail("empty; give a name", param, ctx)
    return value


class _FileName(click.Path):
    """A path. An empty one, which ``Path`` takes for this folder, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_named(value, self, param, ctx), param, ctx)


class _Name(StringParamType):
    """What may be a path, or the name of a data set or an architecture."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_named(value, self, param, ctx), param, ctx)


FILE_NAME = _FileName(path_type=Path)
NAME = _Name()

"""A group of commands of which each is imported when it is called, and not when the group's help is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class WholeHelp(click.Group):
    """A group whose help shows what each command does to the end of its first sentence, in several lines where it takes them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, as they stand in the group."""
        with formatter.section("Commands"):
            # (No sentence is as long as that: Click cuts them at the width of a line otherwise.)
            formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=10_000)) for name in sorted(self.commands)])


class LazyGroup(WholeHelp):
    """A group whose commands lie in files of their own.

    Parameters
    ----------
    *args, **kwargs
        Of ``click.Group``.
    places : mapping of str to (str, str)
        By a command's name: where it is (``"module:function"``), and the beginning of its help, which the group's help shows.
    """

    def __init__(self, *args: Any, places: Mapping[str, tuple[str, str]], **kwargs: Any):
        super().__init__(*args, **kwargs)
        # What stands for the commands until they are called.
        self.commands.update({name: click.Command(name, help=text) for name, (_, text) in places.items()})
        self._places = {name: place for name, (place, _) in places.items()}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._places:
            return None
        module, _, function = self._places[cmd_name].partition(":")
        command = getattr(import_module(module), function)
        assert isinstance(command, click.Command)
        return command

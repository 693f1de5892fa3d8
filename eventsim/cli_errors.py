"""What every program of eventsim does with errors and with streams that are closed or full."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from eventsim.errors import EventsimError
from eventsim.printable import printable


class OneLineErrors(click.Command):
    """A command that turns the errors that a user can cause into one line and a non-zero exit code.

    Attributes
    ----------
    program : str
        What the line begins with.
    """

    program = "eventsim"

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As of any command, with streams that can be written to."""
        # Where a stream is closed, the next file to be opened would take its place, and what is printed would end in that file.
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As of any command; errors end in ``ctx.exit``."""
        try:
            return super().invoke(ctx)
        except EventsimError as error:
            click.echo(f"{self.program}: error: {printable(error)}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Output that cannot be written: a full disk behind a redirection.
            click.echo(f"{self.program}: error: {printable(error.strerror or error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(f"{self.program}: interrupted", err=True)
            ctx.exit(130)

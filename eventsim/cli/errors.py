"""What every program of eventsim does with errors, remarks, and streams that are closed or full."""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import signal
import sys
from typing import Any

import click

from eventsim.errors import EventsimError
from eventsim.files.printable import printable
from eventsim.kernels.interrupt import Terminated, terminable


def remark(text: object) -> None:
    """A remark for the user, beside the output."""
    click.echo(f"note: {printable(text)}", err=True)


@functools.cache
def _end_quickly() -> None:
    """What ends with the process is not searched for garbage: with a compiler loaded, that would take a fifth of a second."""
    atexit.register(gc.freeze)


class OneLineErrors(click.Command):
    """A command that turns the errors that a user can cause into one line and a non-zero exit code.

    Attributes
    ----------
    program : str
        What the line begins with.
    resuming : tuple of str
        Subcommands that keep what is done when they are interrupted.
    """

    program = "eventsim"
    resuming: tuple[str, ...] = ()

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As of any command, with streams that can be written to."""
        # Where a stream is closed, the next file to be opened would take its place, and what is printed would end in that file.
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:
                setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
        # Labels and names of files may hold what a terminal's encoding does not.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        _end_quickly()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As of any command; errors end in ``ctx.exit``."""
        try:
            with terminable():
                return super().invoke(ctx)
        except EventsimError as error:
            click.echo(f"{self.program}: error: {printable(error)}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Output that cannot be written, as to a full disk behind a redirection.
            where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            click.echo(f"{self.program}: error: {printable(f'{where}{error.strerror or error}')}", err=True)
            ctx.exit(1)
        except MemoryError:
            click.echo(f"{self.program}: error: not enough memory; run something smaller, or one thing at a time", err=True)
            ctx.exit(1)
        except KeyboardInterrupt as error:
            rest = "; the same command goes on from what is done" if ctx.invoked_subcommand in self.resuming else ""
            click.echo(f"{self.program}: interrupted{rest}", err=True)
            ctx.exit(128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT))

"""The command line: each command parses, calls one function and prints. Heavy imports wait inside the commands."""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import click

from dataengine._version import __version__
from dataengine.corpus.storage import explain
from dataengine.errors import DataengineError


class Main(click.Group):
    """Turns every error into one line and an exit code: 2 for usage, 1 for failure."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of the work, not of the alphabet

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except DataengineError as e:
            click.echo(f"error: {_one_line(str(e))}", err=True)
            ctx.exit(e.exit_code)
        except KeyboardInterrupt:
            click.echo("stopped; run the same command again to go on where it stopped", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # The reader (head, less) has seen enough. Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except OSError as e:
            click.echo(f"error: {_one_line(explain(e, e.filename or 'system'))}", err=True)
            ctx.exit(1)
        except Exception as e:  # noqa: BLE001 - the last resort: a person gets one line, the traceback a file
            with tempfile.NamedTemporaryFile("w", prefix="dataengine-", suffix=".log", delete=False) as log:
                traceback.print_exc(file=log)
            problem = _one_line(f"{type(e).__name__}: {e}")
            click.echo(f"error: dataengine itself failed: {problem} (details for a report: {Path(log.name)})", err=True)
            ctx.exit(1)


def _one_line(text: str) -> str:
    return " ".join(text.split())


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dataengine")
def cli() -> None:
    """Collections of 3D models in; rendered, captioned, tokenized and queryable training data out.

    CORPUS is a folder or any fsspec URL (s3://…, gs://…) and defaults to the current folder.
    """


def build() -> Main:
    """The command with all its subcommands."""
    from dataengine.cli import catalog, cluster, machine, render, sources, tokens, training

    for module in (render, sources, tokens, training, cluster, catalog, machine):
        for command in module.COMMANDS:
            cli.add_command(command)
    return cli


def main() -> None:
    """Entry point of the `dataengine` command."""
    build()(prog_name="dataengine")

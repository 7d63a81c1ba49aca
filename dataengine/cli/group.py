"""Groups of commands: each error is one line and an exit code, and the list of commands says what each does in full."""

import os
import re
import sys
from typing import Any

import click

from dataengine.errors import DataengineError
from dataengine.visible import visible


class Group(click.Group):
    """Lists its commands in the order of the work, each with its first sentence, however long."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(command)) for name, command in self.commands.items()])


def first_sentence(command: click.Command) -> str:
    """What a command does, as its help begins."""
    text = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?])\s", text, maxsplit=1)[0]


class Main(Group):
    """Turns every error into one line and an exit code: 2 for usage, 1 for failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.NoArgsIsHelpError, click.exceptions.Exit, click.Abort):
            raise
        except click.UsageError as e:
            path = (e.ctx or ctx).command_path
            click.echo(f"error: {_one_line(e.format_message())} (see `{path} --help`)", err=True)
            ctx.exit(e.exit_code)
        except click.ClickException:
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
            from dataengine.corpus.storage import explain

            click.echo(f"error: {_one_line(explain(e, e.filename or 'system'))}", err=True)
            ctx.exit(1)
        except Exception as e:  # noqa: BLE001 - the last resort: a person gets one line, the traceback a file
            import tempfile
            import traceback

            with tempfile.NamedTemporaryFile("w", prefix="dataengine-", suffix=".log", delete=False) as log:
                traceback.print_exc(file=log)
            problem = _one_line(f"{type(e).__name__}: {e}")
            click.echo(f"error: dataengine itself failed: {problem} (details for a report: {log.name})", err=True)
            ctx.exit(1)


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))

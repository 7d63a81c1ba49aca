"""Groups of commands: each error is one line and an exit code, and the list of commands says what each does in full."""

import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from dataengine._version import __version__
from dataengine.errors import DataengineError
from dataengine.extras import how_to_install
from dataengine.report import log


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


def log_options(*, hidden: bool = False) -> list[click.Option]:
    """What every command takes, before or after its name: how much is said, and where it is kept."""

    def verbose(_: click.Context, __: click.Parameter, given: bool) -> None:
        if given:
            log.be_verbose()

    def quiet(_: click.Context, __: click.Parameter, given: bool) -> None:
        if given:
            log.be_quiet()

    def file(_: click.Context, __: click.Parameter, path: Path | None) -> None:
        if path is not None:
            log.to_file(path)
            log.LOG.info("dataengine %s: %s", __version__, shlex.join(sys.argv[1:]), extra=log.FILE_ONLY)

    more: dict[str, Any] = {"expose_value": False, "hidden": hidden}
    flag: dict[str, Any] = {**more, "is_flag": True}
    return [
        click.Option(["-v", "--verbose"], callback=verbose, help="Say more: each asset as it is done.", **flag),
        click.Option(["-q", "--quiet"], callback=quiet, help="Show no progress and no notes, only errors.", **flag),
        click.Option(
            ["--log-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            callback=file,
            help="Also write what is said, with times, to the end of this file.",
            **more,
        ),
    ]


BEGIN_ANEW = {"eval", "sample", "reconstruct", "preview", "detokenize", "inspect", "sheet", "query", "report"}
"""Commands that keep nothing of what they have begun."""


class Main(Group):
    """Turns every error into one line and an exit code: 2 for usage, 1 for failure."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Adds a command, which takes the options of all commands too."""
        super().add_command(cmd, name)
        for each in (cmd, *(cmd.commands.values() if isinstance(cmd, click.Group) else ())):
            if not any(option.name == "log_file" for option in each.params):
                each.params += log_options(hidden=True)
                each.epilog = "-v, -q and --log-file FILE, as for all commands: see `dataengine --help`."

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        log.begin()
        with _errors_in_one_line(None):
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        started = time.monotonic()
        code: object = 0
        try:
            with _errors_in_one_line(ctx), _stopped_by_sigterm():
                return super().invoke(ctx)
        except click.exceptions.Exit as e:
            code = e.exit_code
            raise
        except SystemExit as e:
            code = e.code
            raise
        finally:
            seconds = time.monotonic() - started
            log.LOG.info("ended after %.1f s with exit code %s", seconds, code, extra=log.FILE_ONLY)
            log.end()


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it before they kill: everything ends as after Ctrl-C, with exit code 143."""


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _errors_in_one_line(ctx: click.Context | None) -> Iterator[None]:
    try:
        yield
    except (click.exceptions.NoArgsIsHelpError, click.exceptions.Exit, click.Abort):
        raise
    except click.UsageError as e:
        path = e.ctx.command_path if e.ctx else ctx.command_path if ctx else "dataengine"
        _end(f"{e.format_message()} (see `{path} --help`)", e.exit_code)
    except click.ClickException:
        raise
    except DataengineError as e:
        _end(str(e), e.exit_code)
    except KeyboardInterrupt as e:
        anew = ctx is not None and ctx.invoked_subcommand in BEGIN_ANEW
        log.LOG.warning("stopped" if anew else "stopped; run the same command again to go on where it stopped")
        raise click.exceptions.Exit(143 if isinstance(e, Terminated) else 130) from None
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None
    except OSError as e:
        from dataengine.corpus.os_errors import explain

        _end(explain(e, e.filename or "system"), 1)
    except ModuleNotFoundError as e:
        if (line := how_to_install(e)) is None:
            _failed(e)
        _end(str(line), 2)
    except Exception as e:  # noqa: BLE001 - the last resort: a person gets one line, the traceback a file
        _failed(e)


def _failed(e: Exception) -> NoReturn:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="dataengine-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    log.LOG.info("%s", traceback.format_exc(), extra=log.FILE_ONLY)
    _end(f"dataengine itself failed: {type(e).__name__}: {e} (details for a report: {file.name})", 1)


def _end(problem: str, code: int) -> NoReturn:
    log.LOG.error("%s", " ".join(problem.split()))
    raise click.exceptions.Exit(code)

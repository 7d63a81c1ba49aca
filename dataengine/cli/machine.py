"""Commands about this machine: doctor, demo."""

import sys
from pathlib import Path

import click

from dataengine.cli.arguments import corpus_argument


@click.command()
@corpus_argument
def doctor(corpus: str) -> None:
    """System libraries, Blender, devices, sandbox, disk: what works here and what to install."""
    from rich.console import Console

    from dataengine.doctor import doctor as examine
    from dataengine.doctor import print_checks

    checks = examine(Path(corpus) if "://" not in corpus else Path())
    print_checks(checks, Console())
    failed = [check.name for check in checks if check.state == "fail"]
    if failed:
        click.echo(f"\nerror: rendering will not work here: {', '.join(failed)}", err=True)
        sys.exit(1)


COMMANDS = [doctor]

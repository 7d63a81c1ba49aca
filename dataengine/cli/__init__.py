"""The command line: each command parses, calls one function and prints. Heavy imports wait inside the commands."""

import click

from dataengine._version import __version__
from dataengine.cli.group import Main, log_options


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dataengine")
def cli() -> None:
    """Collections of 3D models in; rendered, captioned, tokenized and queryable training data out.

    CORPUS is a folder or any fsspec URL (s3://…, gs://…) and defaults to the current folder.
    """


cli.params += log_options()


def build() -> Main:
    """The command with all its subcommands."""
    from dataengine.cli import (
        catalog,
        changes,
        cluster,
        evaluation,
        export,
        fits,
        machine,
        reconstruct,
        render,
        report,
        sampling,
        sources,
        tokens,
        training,
    )

    for module in (
        render,
        sources,
        tokens,
        fits,
        training,
        sampling,
        evaluation,
        reconstruct,
        cluster,
        catalog,
        changes,
        report,
        export,
        machine,
    ):
        for command in module.COMMANDS:
            cli.add_command(command)
    return cli


def main() -> None:
    """Entry point of the `dataengine` command."""
    build()(prog_name="dataengine")

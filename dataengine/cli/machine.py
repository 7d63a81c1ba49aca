"""Commands about this machine."""

import click

COMMANDS: list[click.Command] = []

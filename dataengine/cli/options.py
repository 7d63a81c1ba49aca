"""Options that are the fields of a settings class: a default, its bounds and its help are written there alone.

The classes are imported when a command is used, not when the list of commands is printed.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click

from dataengine.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """A class whose fields become options; a pydantic model or dataclass.

    Attributes:
        path: `module:Class`.
        only: the fields to take, in this order; empty: all of them.
        leave_out: fields that are no options.
        flags: other names than --<field>.
        known: field → `module:object`, whose iteration gives the names that the field may have; its help lists them.
    """

    path: str
    only: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Of the fields that become options."""
        return [name for name in self.only or _load(self.path).__pydantic_fields__ if name not in self.leave_out]

    def options(self) -> "list[SettingOption]":
        fields = _load(self.path).__pydantic_fields__
        return [self._option(name, fields[name]) for name in self.names()]

    def _option(self, name: str, info: Any) -> "SettingOption":
        extra = info.json_schema_extra or {}
        kind, several = _plain(info.annotation)
        flag = self.flags.get(name, "--" + name.replace("_", "-"))
        text = info.description or ""
        if name in self.known:
            text = f"{text.removesuffix('.')}: {', '.join(_load(self.known[name]))}."
        shown = extra.get("default") if info.default is None or info.is_required() else _shown(info.default, flag)
        if kind is bool and info.default is not False:
            flag += f"/--no-{flag.removeprefix('--')}"
        return SettingOption(
            [flag, name],
            type=_type(kind, info.metadata),
            is_flag=True if kind is bool else None,  # click lets an option with False go without its value
            multiple=several,
            required=info.is_required(),
            metavar=extra.get("metavar"),
            help=text,
            shown=shown,
            **({"default": None} if kind is bool else {}),  # else a flag that was not given would be False
        )


class SettingOption(click.Option):
    """An option that says its field's default without handing it on: what was not given is the class's to decide."""

    def __init__(self, *args: Any, shown: str | None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.shown = shown

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        if self.shown:
            extra["default"] = self.shown
        return extra


class _Place(click.Option):
    """Where a class's options come among a command's own."""

    def __init__(self, declared: Sequence[str], settings: Settings) -> None:
        super().__init__(declared)
        self.settings = settings


def settings_options(settings: Settings) -> Callable[[F], F]:
    """The options of a class, for a `SettingsCommand`, whose function gets those that were given."""
    return click.option(f"--{settings.path.rpartition(':')[2]}", cls=_Place, settings=settings)


class SettingsCommand(click.Command):
    """A command with `settings_options`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._fields: set[str] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if self._fields is None:
            filled = [p.settings.options() if isinstance(p, _Place) else [p] for p in self.params]
            self.params = [option for options in filled for option in options]
            self._fields = {str(p.name) for p in self.params if isinstance(p, SettingOption)}
        return super().get_params(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        for name in self._fields or ():
            if ctx.params[name] in (None, ()):
                del ctx.params[name]
        return super().invoke(ctx)


def parse_settings(words: Sequence[str], settings: Settings, option: str) -> dict[str, Any]:
    """The settings that KEY=VALUE words give, read as the options of the same names read them.

    Args:
        words: KEY is the name of a field, with `-` or `_`.
        settings: which fields there are.
        option: that took the words, for messages.

    Raises:
        UsageError: if a word is no such pair, or the value is none for the field.
    """
    known = {str(o.name): o for o in settings.options()}
    given: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = key.replace("-", "_")
        if not equals or name not in known:
            raise UsageError(f"{option} {word!r} is not KEY=VALUE with a key of {', '.join(sorted(known))}")
        try:
            given[name] = known[name].type.convert(value, known[name], None)
        except click.UsageError as e:
            raise UsageError(f"{option} {word}: {e.message}") from e
    return given


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """(type of a value, whether there may be several): without `| None`, of the items of a tuple."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0], True
    return annotation, False


def _type(kind: Any, bounds: Sequence[Any]) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(list(get_args(kind)))
    if kind in (int, float):
        found = {name: getattr(b, name) for b in bounds for name in ("ge", "gt", "le", "lt") if hasattr(b, name)}
        if not found:
            return kind
        made = click.IntRange if kind is int else click.FloatRange
        least, most = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
        return made(least, most, min_open="gt" in found, max_open="lt" in found)
    return click.Path(path_type=Path) if kind is Path else kind


def _shown(default: Any, flag: str) -> str | None:
    if isinstance(default, bool):
        return f"{'' if default else 'no-'}{flag.removeprefix('--')}" if default else None
    return str(default) if default != () else None

"""Flags as rows of a table: what a value looks like, what the flag is for, what it sets.

:class:`TableCommand` makes a command of such rows: it reads ``--name=value`` and ``--name value``,
prints the help by groups, and says which flag may have been meant where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from octolite.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class Form:
    """What a flag's value looks like.

    Attributes:
        shown: in help texts and errors, as an example or in capitals; ``""`` for a switch.
        read: text → value, raising :class:`ValueError`; or click's path.
        example: what an error proposes.
    """

    shown: str
    read: Callable[[str], Any] | click.Path = str
    example: str = ""

    @property
    def is_switch(self) -> bool:
        return not self.shown


@dataclass(frozen=True, slots=True)
class Flag:
    """A row of a command's table.

    Attributes:
        name: as it is typed.
        form: what its value looks like.
        sets: what it sets; several flags may set the same. ``""`` where it changes nothing.
        help: what it is for.
        also: other spellings of the same flag.
    """

    name: str
    form: Form
    sets: str
    help: str
    also: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Name, form and other spellings, for help texts."""
        value = "[=true|false]" if self.form.is_switch else f"={self.form.shown}"
        return ", ".join([self.name + value, *(other + value for other in self.also)])


@dataclass(frozen=True, slots=True)
class Group:
    """Flags that are about the same thing."""

    title: str
    flags: tuple[Flag, ...]


# -- forms -----------------------------------------------------------------------------------------


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    return [float(item) for item in text.split(",")]


def read_shape(text: str) -> list[int]:
    """``1,224,224,3`` → extents. Raises :class:`ValueError`."""
    return [int(extent) for extent in text.split(",") if extent.strip()]


def _shapes(text: str) -> list[list[int]]:
    return [read_shape(part) for part in text.split(":")]


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]


def one_of(*choices: str, **spellings: str) -> Form:
    """One of some words, in capitals or not; ``spellings`` are others for them."""
    known = {choice: choice for choice in choices} | spellings
    return Form("|".join(choices), lambda text: known[text.upper()], " or ".join(choices))


FILE = Form("FILE", click.Path(exists=True, dir_okay=False))
FOLDER = Form("DIR", click.Path(exists=True, file_okay=False))
NEW_FILE = Form("FILE")
NEW_FOLDER = Form("DIR", click.Path(file_okay=False))
TEXT = Form("TEXT")
NAMES = Form("A,B", _names, "a,b")
SHAPES = Form("1,224,224,3:1,10", _shapes, "1,224,224,3:1,10 (-1 for an open extent)")
NUMBER = Form("X", float, "0.5")
NUMBERS = Form("X,Y", _numbers, "128,127.5")
SWITCH = Form("", _switch, "true or false")


def _option(flag: Flag) -> click.Option:
    form, key = flag.form, flag.name.lstrip("-").replace("-", "_")

    def read(ctx: click.Context, param: click.Parameter, text: str | None) -> Any:
        if text is None or isinstance(form.read, click.Path):
            return text
        try:
            return form.read(text)
        except (ValueError, LookupError):
            raise click.BadParameter(
                f"{text!r} should look like {form.example}", ctx, param
            ) from None

    path = form.read if isinstance(form.read, click.Path) else None
    optional: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if form.is_switch else {}
    return click.Option([flag.name, *flag.also, key], type=path, callback=read, **optional)


# -- commands --------------------------------------------------------------------------------------


class TableCommand(click.Command):
    """A command whose flags are the rows of ``groups``.

    Attributes:
        renamed: flags of older commands → what they are called now, for suggestions.
    """

    def __init__(
        self,
        *arguments: Any,
        groups: Sequence[Group] = (),
        renamed: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        options["params"] = [
            *(_option(flag) for group in groups for flag in group.flags),
            *options.get("params", ()),
        ]
        super().__init__(*arguments, **options)
        self.groups, self.renamed = tuple(groups), dict(renamed or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(self.suggestion(error.option_name), ctx) from None

    def suggestion(self, name: str) -> str:
        """What to say of a flag that there is not."""
        if name in self.renamed:
            return f"there is no flag {name}: it is {self.renamed[name]} now"
        known = [
            n for group in self.groups for flag in group.flags for n in (flag.name, *flag.also)
        ]
        hint = did_you_mean(name.replace("-", "_").replace("__", "--", 1), known)
        return f"there is no flag {name}. {hint or '--help lists them.'}"

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = set()
        for group in self.groups:
            with formatter.section(group.title):
                formatter.write_dl([(flag.shown, flag.help) for flag in group.flags])
            listed |= {flag.name for flag in group.flags}
        rest = [p for p in self.get_params(ctx) if not listed & set(p.opts)]
        with formatter.section("This command"):
            formatter.write_dl([r for p in rest if (r := p.get_help_record(ctx)) is not None])


# -- what flags say of each other ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """A flag that means nothing without one of some others.

    ``others`` are names of flags, or ``--name=VALUE`` for one that must have that value.
    """

    flags: tuple[str, ...]
    others: tuple[str, ...]
    why: str

    def problem(self, given: Mapping[str, Any]) -> str | None:
        for flag in self.flags:
            if is_said(given, flag) and not any(is_said(given, other) for other in self.others):
                return f"{flag} needs {' or '.join(self.others)}: {self.why}"
        return None


@dataclass(frozen=True, slots=True)
class Excludes:
    """Two flags of which only one can be meant."""

    one: str
    other: str
    why: str

    def problem(self, given: Mapping[str, Any]) -> str | None:
        if is_said(given, self.one) and is_said(given, self.other):
            return f"{self.one} does not go with {self.other}: {self.why}"
        return None


@dataclass(frozen=True, slots=True)
class ExactlyOne:
    """Flags of which one must be given, and no other."""

    flags: tuple[str, ...]
    what: str

    def problem(self, given: Mapping[str, Any]) -> str | None:
        said = [flag for flag in self.flags if is_said(given, flag)]
        if len(said) == 1:
            return None
        found = f"{' and '.join(said)} are given" if said else "none is given"
        *most, last = self.flags
        return f"give {self.what}: {', '.join(most)} or {last}; {found}"


Relation = Needs | Excludes | ExactlyOne


def is_said(given: Mapping[str, Any], flag: str) -> bool:
    """Whether ``--name`` is among the flags ``given``, and has the value in ``--name=VALUE``."""
    name, equals, value = flag.partition("=")
    found = given.get(name)
    return found == value if equals else found is not None and found is not False


def check(given: Mapping[str, Any], relations: Sequence[Relation]) -> None:
    """Raises :class:`UsageError` for the first of ``relations`` that does not hold."""
    for relation in relations:
        problem = relation.problem(given)
        if problem is not None:
            raise UsageError(problem)


# -- documentation ---------------------------------------------------------------------------------


def markdown_lines(groups: Sequence[Group]) -> Iterator[str]:
    """The flags as Markdown tables, for the documentation."""
    for group in groups:
        yield from (f"**{group.title}**", "", "| flag | |", "|---|---|")
        for flag in group.flags:
            value = "" if flag.form.is_switch else f"={flag.form.shown}"
            names = "`, `".join((flag.name + value, *flag.also)).replace("|", "\\|")
            yield f"| `{names}` | {flag.help} |"
        yield ""

"""What `--help` of a command says: usage, what it does, examples, then its options, a line each.

Written from the parser that reads the words, so it cannot tell of an option that is not there. An
option stands there with the value that is used unless another is given, as it would be typed:
`--imitation.num-updates 4000`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tyro

NARROW, WIDE = 70, 120
"""Columns of a page: no fewer, and no more, whatever the terminal has."""
USUAL = 100
"""… where nobody tells how wide it is."""
LABEL = 36
"""Columns of an option and its value; what is longer has its explanation on the next line."""
_TITLES = {"": "Options", "positional": "Arguments"}
_TAIL = re.compile(r"\s*\((?:default: (?P<default>.*)|(?P<required>required))\)\s*$", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """One option, or one argument without a name.

    Attributes:
        name: such as "--imitation.num-updates"; "" for an argument.
        label: as it would be typed, with its value.
        text: what it means.
        required: whether the command does not go without.
    """

    name: str
    label: str
    text: str
    required: bool


@dataclass(frozen=True)
class Group:
    """Options under one heading."""

    title: str
    options: tuple[Option, ...]


def groups_of(kind: type, **how: Any) -> dict[str, Group]:
    """The options that tyro would read for a class, by the name of their group: "", "online-rl".

    What is the command's own comes before what it has from another class.

    Args:
        kind: whose fields are the options.
        how: what `tyro.cli` would be told.
    """
    with warnings.catch_warnings():
        # tyro may offer this differently one day: pyproject.toml says up to which version it does.
        warnings.simplefilter("ignore", DeprecationWarning)
        parser = tyro.extras.get_parser(kind, **how)
    found, shared = {}, _inherited(kind)
    for group in parser._action_groups:
        options = [_option(action) for action in group._group_actions if action.dest != "help"]
        options.sort(key=lambda option: option.name in shared)
        name = (group.title or "").removesuffix("options").removesuffix("arguments").strip()
        if options:
            title = f"{name}: {group.description}" if group.description else _TITLES.get(name, name)
            found[name] = Group(title.rstrip("."), tuple(options))
    return found


def _inherited(kind: type) -> set[str]:
    """Names of the options that a class has from others."""
    own, *others = [set(vars(cls).get("__annotations__", ())) for cls in kind.__mro__]
    return {f"--{field.replace('_', '-')}" for field in set[str]().union(*others) - own}


def chosen(group: Group, title: str, names: Sequence[str]) -> Group:
    """Those of a group with these names, in their order, under another heading."""
    by_name = {option.name.removeprefix("--"): option for option in group.options}
    return Group(title, tuple(by_name[name] for name in names if name in by_name))


def once(groups: Sequence[Group]) -> list[Group]:
    """The same groups; what an option of the same name was said to mean is not said again."""
    said: dict[str, str] = {}
    shortened = []
    for group in groups:
        options = []
        for option in group.options:
            last = option.name.rpartition(".")[2]
            known = "." in option.name and said.get(last) == option.text
            said[last] = option.text
            options.append(replace(option, text="likewise") if known else option)
        shortened.append(Group(group.title, tuple(options)))
    return shortened


def page(
    usage: str, what: str, examples: Mapping[str, str], groups: Sequence[Group], more: str = ""
) -> str:
    """The whole text.

    Args:
        usage: how the command is written.
        what: it does; lines that begin with spaces stay as they are.
        examples: what one wants → the command that does it.
        groups: of options.
        more: what stands at the end.
    """
    width = min(max(shutil.get_terminal_size((USUAL, 24)).columns, NARROW), WIDE)
    parts = [f"usage: {usage}", _paragraphs(what, width)]
    if examples:
        lines = [f"  # {wanted}\n  {command}" for wanted, command in examples.items()]
        parts.append("\n".join(["Examples", *lines]))
    parts += ["\n".join([group.title, *_lines(group.options, width)]) for group in groups]
    return "\n\n".join([*parts, *filter(None, [more])])


def listed(entries: Mapping[str, str]) -> str:
    """A line for each name and what it is, below each other."""
    width = max(map(len, entries))
    return "\n".join(f"  {name:<{width}}  {what}" for name, what in entries.items())


def usage_of(prog: str, groups: Mapping[str, Group]) -> str:
    """The name of a command, what it does not go without, and that there is more."""
    options = [option for group in groups.values() for option in group.options]
    needed = [option.label for option in options if option.required and option.name]
    places = [option.label for option in options if not option.name]
    there_is_more = any(option.name and not option.required for option in options)
    return " ".join([prog, *places, *needed, *["[OPTIONS]"] * there_is_more])


def _option(action: argparse.Action) -> Option:
    told = " ".join((action.help or "").split())
    tail = _TAIL.search(told)
    default = (tail["default"] or "") if tail else ""
    text, required = _TAIL.sub("", told), bool(tail and tail["required"])
    kind = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or ())
    kind = re.sub(r"\{None\}\||\|\{None\}", "", kind)
    if not action.option_strings:
        return Option("", kind, text, required)
    name = action.option_strings[0]
    if default in ("True", "False"):
        # The word that changes something; its opposite may be given too.
        shown = action.option_strings[-1] if default == "True" else name
        return Option(
            name, shown, text + " (so, unless this is given)" * (default == "True"), required
        )
    if kind.startswith("{") and "," in kind:
        return Option(name, f"{name} {kind}", f"{text} ({default})" if default else text, required)
    value = default if default not in ("", "None", "''") else _plain_kind(kind)
    return Option(name, f"{name} {value}", text, required)


def _plain_kind(kind: str) -> str:
    """`[STR [STR ...]]` as `STR …`, `{INT INT}` as `INT INT`."""
    several = re.fullmatch(r"\[(\S+) \[\1 \.\.\.\]\]", kind)
    return f"{several[1]} …" if several else kind.strip("{}")


def _lines(options: Sequence[Option], width: int) -> Iterator[str]:
    column = min(max(len(option.label) for option in options), LABEL) + 4
    for option in options:
        text = option.text + " (required)" * (option.required and bool(option.name))
        folded = textwrap.wrap(text, width - column) or [""]
        start = f"  {option.label}"
        if len(start) + 2 > column:
            yield start
        else:
            yield f"{start:<{column}}{folded.pop(0)}"
        yield from (" " * column + line for line in folded)


def _paragraphs(text: str, width: int) -> str:
    """Prose folded to the width; indented lines are tables, which stay."""
    parts = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        is_table = any(line.startswith(" ") for line in part.splitlines())
        parts.append(part if is_table else textwrap.fill(" ".join(part.split()), width))
    return "\n\n".join(parts)

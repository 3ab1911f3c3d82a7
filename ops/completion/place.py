"""The place of the cursor in a command line: which command it is, and what may stand there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

COMMANDS_FILE = Path(__file__).with_name("commands.json")

# Values that are looked up, in the place of words that are known beforehand; see values.py.
COMMAND, CONNECTOR, FILE, FOLDER, ID, NAMED_KEY, STRATEGY, VARIABLE = SOURCES = (
    *("<command>", "<connector>", "<file>", "<folder>", "<id>", "<named key>", "<strategy>", "<variable>"),
)

# A candidate: the whole word or value, and a few words about it.
Candidate = tuple[str, str]
Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The place of the cursor: the word there is `before` and then `typed`, and only the latter is completed.

    `known` are candidates, `sources` the places to look for more. `arguments` stand before it, without options.
    """

    command: str
    typed: str
    before: str = ""
    known: Sequence[Candidate] = ()
    sources: Sequence[str] = ()
    arguments: Sequence[str] = ()
    config: str | None = None


@cache
def commands() -> Table:
    """Every command by its path (`dead list`), with its options, its arguments and its sub-commands."""
    table: Table = json.loads(COMMANDS_FILE.read_text(encoding="utf-8"))
    return table


def place_of(words: Sequence[str]) -> Place:
    """The place of the last word; the words are those behind `signalq`, as the command would get them."""
    *before, word = words
    walk = _Walk()
    for one in before:
        walk.step(one)
    return walk.place(word)


@dataclass(slots=True)
class _Walk:
    """The words up to the cursor."""

    path: str = ""
    arguments: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    # The option whose value is the next word.
    waiting: str | None = None
    options_are_over: bool = False
    config: str | None = None

    def step(self, word: str) -> None:
        """Go past a word."""
        if self.waiting is not None:
            self._take(self.waiting, word)
            self.waiting = None
        elif word == "--" and not self.options_are_over:
            self.options_are_over = True
        elif self._is_option(word):
            name, has_value, value = word.partition("=")
            name = self._whole_name(name)
            self.given.add(name)
            if has_value:
                self._take(name, value)
            elif "values" in self._options.get(name, {}):
                self.waiting = name
        elif word in self._command["commands"]:
            self.path = f"{self.path} {word}".strip()
        else:
            self.arguments.append(word)

    def place(self, word: str) -> Place:
        """The place, where this word has begun."""
        if self.waiting is not None:
            return self._value(self._options[self.waiting], word)
        if self._is_option(word) or (word == "-" and not self.options_are_over):
            name, has_value, value = word.partition("=")
            if has_value:
                return self._value(self._options.get(self._whole_name(name), {}), value, before=f"{name}=")
            return self._at(word, known=self._open_options())
        if self._command["commands"]:
            # Behind an unknown command nothing is known.
            return self._at(word, known=[] if self.arguments else list(self._command["commands"].items()))
        if (argument := self._argument()) is not None:
            return self._value(argument, word)
        return self._at(word, known=[] if self.options_are_over else self._open_options())

    @property
    def _command(self) -> Any:
        return commands()[self.path]

    @property
    def _options(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._command["options"]
        return found

    def _is_option(self, word: str) -> bool:
        return word.startswith("-") and word != "-" and not self.options_are_over

    def _whole_name(self, name: str) -> str:
        return next((whole for whole, one in self._options.items() if name in one.get("also", ())), name)

    def _take(self, name: str, value: str) -> None:
        if name == "--config":
            self.config = value

    def _open_options(self) -> list[Candidate]:
        """The options that may be given, each once unless it may be repeated."""
        rows = self._options.items()
        return [(name, one["help"]) for name, one in rows if name not in self.given or one.get("repeats")]

    def _argument(self) -> Any:
        """The argument that comes next; None behind the last one."""
        rows = list(self._command["arguments"].values())
        if len(self.arguments) < len(rows):
            return rows[len(self.arguments)]
        return rows[-1] if rows and rows[-1].get("repeats") else None

    def _value(self, row: Mapping[str, Any], typed: str, before: str = "") -> Place:
        values: Sequence[str] = row.get("values", ())
        if row.get("list"):
            head, comma, typed = typed.rpartition(",")
            before += head + comma
        return self._at(
            typed,
            before=before,
            known=[(value, "") for value in values if value not in SOURCES],
            sources=[value for value in values if value in SOURCES],
        )

    def _at(self, typed: str, **found: Any) -> Place:
        return Place(self.path, typed, arguments=self.arguments, config=self.config, **found)

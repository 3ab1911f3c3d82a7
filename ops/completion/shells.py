"""The ways in which bash, zsh and fish ask for candidates, and how each wants its answer.

An answer begins with a line that says what is to be completed: the candidates behind it, or files, or folders.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from signalq.ops.completion.place import FILE, FOLDER, Candidate, Place

SHELLS = ("bash", "zsh", "fish")
SCRIPTS = Path(__file__).with_name("scripts")
PATHS = {FILE: "files", FOLDER: "folders"}

# All other characters of ASCII may mean something to bash, and get a backslash.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-")
# Within double quotes these alone do; an exclamation mark can't be kept from calling up the history there.
_QUOTED_SPECIAL = frozenset('$`"\\')
# COMP_TYPE when bash only lists the candidates, and puts none into the line.
_LISTING = "63"
_GAP = "  -- "


def script(shell: str) -> str:
    """The script that lets a shell complete `signalq`."""
    return (SCRIPTS / f"signalq.{shell}").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Asked:
    """A shell's question: the words behind `signalq`, without their quotes, the last of which is being written.

    The shell leaves the first `kept` characters of that as they are, and bash an open `quote`, too. `lists` is whether
    bash only shows the candidates.
    """

    shell: str
    words: Sequence[str]
    kept: int = 0
    quote: str = ""
    lists: bool = False

    def answer(self, place: Place, found: Sequence[Candidate]) -> str:
        """The answer to it."""
        for source, said in PATHS.items():
            if source in place.sources:
                return f"{said}\n"
        return "\n".join(["values", *self._lines(found), ""])

    def _lines(self, found: Sequence[Candidate]) -> list[str]:
        if self.shell == "fish":
            return [f"{text}\t{says}" for text, says in found]
        if self.shell == "zsh":
            # As _describe wants it: the first bare colon ends the value.
            values = [(text[self.kept :].replace("\\", "\\\\").replace(":", "\\:"), says) for text, says in found]
            return [f"{text}:{says}" if says else text for text, says in values]
        shown = [(one, says) for text, says in found if (one := self._in_bash(text)) is not None]
        if not self.lists or len(shown) == 1:
            return [text for text, _ in shown]
        width = max((len(text) for text, _ in shown), default=0)
        return [f"{text:{width}}{_GAP}{says}" if says else text for text, says in shown]

    def _in_bash(self, text: str) -> str | None:
        """The part of a candidate that bash puts into the line; None if it could not stand there."""
        word = self.words[-1]
        if text[: self.kept].casefold() != word[: self.kept].casefold():
            return None
        text = text[self.kept :]
        if self.quote == "'":
            return None if "'" in text else text
        if self.quote:
            return None if "!" in text else _with_backslashes(text, lambda character: character in _QUOTED_SPECIAL)
        return _with_backslashes(text, lambda character: character.isascii() and character not in _PLAIN)


def _with_backslashes(text: str, is_special: Callable[[str], bool]) -> str:
    return "".join(f"\\{character}" if is_special(character) else character for character in text)


def asked(shell: str, given: Sequence[str]) -> Asked:
    """The question, by the arguments that the shell's script gives. Raises ValueError if it is none of ours."""
    if shell == "bash":
        line, breaks, kind = given
        return _of_bash(line, breaks, lists=kind == _LISTING)
    if shell not in SHELLS or len(given) < 2:
        raise ValueError
    word = given[-1]
    is_value = shell == "zsh" and word.startswith("--") and "=" in word
    return Asked(shell, given[1:], kept=word.index("=") + 1 if is_value else 0)


def _of_bash(line: str, breaks: str, *, lists: bool) -> Asked:
    """Split a line up to the cursor into words, as bash does it; `breaks` end the part of a word that bash leaves."""
    words: list[str] = []
    word: str | None = None
    kept, quote, is_escaped = 0, "", False
    for at, character in enumerate(line):
        if is_escaped:
            word, is_escaped = (word or "") + character, False
        elif quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"' and line[at + 1 : at + 2] in _QUOTED_SPECIAL:
                is_escaped = True
            else:
                word = (word or "") + character
        elif character in "'\"":
            quote, word = character, word or ""
            kept = len(word)
        elif character == "\\":
            is_escaped = True
        elif character.isspace():
            words += [] if word is None else [word]
            word, kept = None, 0
        else:
            word = (word or "") + character
            kept = len(word) if character in breaks else kept
    return Asked("bash", [*words, word or ""][1:], kept, quote, lists)

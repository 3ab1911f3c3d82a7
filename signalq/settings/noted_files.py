"""Files that settings are read from. A reload looks at them again, and takes up what has changed in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path

_noted: ContextVar[dict[Path, bytes | None] | None] = ContextVar("the files that are read for settings", default=None)


@contextmanager
def noting_files() -> Iterator[dict[Path, bytes | None]]:
    """Note each file that is read for settings within the block, with a digest of its content (None: unreadable)."""
    files: dict[Path, bytes | None] = {}
    token = _noted.set(files)
    try:
        yield files
    finally:
        _noted.reset(token)


def read_noted(path: Path) -> str:
    """The file's text. Raises OSError or UnicodeDecodeError."""
    files = _noted.get()
    if files is None or is_read_once(path):
        return path.read_bytes().decode("utf-8")
    files[path] = None
    content = path.read_bytes()
    files[path] = _digest(content)
    return content.decode("utf-8")


def digest_of_file(path: Path) -> bytes | None:
    """The digest that is noted for a file of this content; None for a file that can't be read."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return None


def is_read_once(path: Path) -> bool:
    """Whether the path is a pipe or the like: a second reading finds nothing in it."""
    return path.exists() and not path.is_file()


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()

"""The documentation as a site: made by Sphinx, and looked through for links that lead nowhere or to other hosts.

`./run docs` makes it in site/; tests/unit/docs/test_site.py makes one of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs" / "site"
SITE = ROOT / "site"
MAKE_TIMEOUT_S = 240
# Its trees of nodes are rings, which Python looks through again and again: a fourth of the time.
SPHINX = "import gc, sys; gc.disable(); from sphinx.cmd.build import main; sys.exit(main())"

# Attributes by which a browser fetches something as it shows a page. A link in <a> is only followed by a person.
FETCHED = {"src", "srcset", "poster", "data", "action", "background"}
IN_STYLE = re.compile(r"""(?:url\(|@import\s+(?!url))\s*['"]?([^'")\s;]+)""")
# In a script: a text that begins with a host. Hosts in comments are not fetched.
IN_SCRIPT = re.compile(r"""["'`]((?:(?:https?|wss?):)?//[^"'`\s]+)""")
# Names of XML's vocabularies look like addresses.
VOCABULARY = "http://www.w3.org/"


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    """Make the site, anew. The status is 0 only if Sphinx has nothing to warn of."""
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--fail-on-warning", "--quiet", "--conf-dir", str(CONFIGURATION), "--doctree-dir", scratch]
        command = [sys.executable, "-c", SPHINX, "--builder", "html", *options, str(ROOT), str(folder)]
        return subprocess.run(  # noqa: S603 - our own command
            command, cwd=ROOT, capture_output=True, text=True, timeout=MAKE_TIMEOUT_S, check=False
        )


def faults(folder: Path) -> list[str]:
    """Each link that leads nowhere, and each thing that a browser would fetch from another host, with its file."""
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.html"))}
    found = [f"{file.relative_to(folder)}: {fault}" for file in pages for fault in faults_of_page(file, pages)]
    for kind, pattern in (("*.css", IN_STYLE), ("*.js", IN_SCRIPT), ("*.svg", IN_STYLE)):
        for file in sorted(folder.rglob(kind)):
            hosts = foreign(pattern.findall(file.read_text(encoding="utf-8")))
            found += [f"{file.relative_to(folder)}: fetches {address}" for address in hosts]
    return found


class Page(HTMLParser):
    """A page's anchors, its links, and the addresses that a browser fetches for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each tag."""
        self._inside = tag
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name == "href" or name.endswith(":href"):
                (self.links if tag == "a" else self.fetched).add(value or "")
            elif name == "srcset":
                self.fetched |= {one.split()[0] for one in (value or "").split(",")}
            elif name in FETCHED:
                self.fetched.add(value or "")
            elif name == "style":
                self.fetched |= set(IN_STYLE.findall(value or ""))

    def handle_endtag(self, _tag: str) -> None:
        """Called for each end of a tag."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Called for each text, also that of a script or a style."""
        if self._inside in {"script", "style"}:
            self.fetched |= set((IN_SCRIPT if self._inside == "script" else IN_STYLE).findall(data))


def faults_of_page(file: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """The faults of one page."""
    page = pages[file]
    yield from (f"fetches {address}" for address in foreign(page.fetched))
    for address in sorted(page.links | page.fetched):
        target = urlsplit(address)
        if target.scheme or target.netloc:
            continue
        led_to = (file.parent / unquote(target.path)).resolve() if target.path else file
        anchor = unquote(target.fragment)
        if not led_to.is_file():
            yield f"links to {address}, which is not there"
        elif anchor and led_to in pages and anchor not in pages[led_to].anchors:
            yield f"links to {address}, which has no such anchor"


def foreign(addresses: set[str] | list[str]) -> list[str]:
    """The addresses of other hosts, or of whatever is not a file of the site."""
    split = {address: urlsplit(address) for address in addresses if not address.startswith(VOCABULARY)}
    return sorted(address for address, parts in split.items() if parts.netloc or parts.scheme not in {"", "data"})


def main() -> int:
    """Make it in site/; exit status 1 if it has a fault."""
    shutil.rmtree(SITE, ignore_errors=True)
    made = make(SITE)
    sys.stderr.write(made.stderr)
    found = faults(SITE)
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    if made.returncode or found:
        return 1
    sys.stdout.write(f"{SITE / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

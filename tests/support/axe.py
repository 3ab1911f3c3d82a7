"""axe-core looks at a page: what keeps people from using it (WCAG 2.0 to 2.2, A and AA, and good practice).

Its source is evaluated by the browser's debugger: a script element of it is what the page's policy refuses.
"""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Page

# A rule of WCAG 2.2 that axe leaves out unless it is asked for.
SIZE = "target-size"
OPTIONS = {"resultTypes": ["violations"], "rules": {SIZE: {"enabled": True}}}
# With forced colours the browser draws in the system's, of which the styles that axe reads tell only a part.
_RUN = """([inside, options]) => {
    const contrast = { enabled: !matchMedia("(forced-colors: active)").matches };
    const rules = { ...options.rules, "color-contrast": contrast };
    return axe.run(inside === null ? document : inside, { ...options, rules });
}"""


_SCROLL = "end => scrollTo({top: end ? document.documentElement.scrollHeight : 0, behavior: 'instant'})"


async def violations(page: Page, inside: str | None = None) -> list[str]:
    """A line for each element that breaks a rule: the rule, the element, and what to do. `inside` is a selector."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    found = await _found(page, inside)
    if any(rule == SIZE for rule, _ in found):
        # A bar that stays in the window covers what is scrolled from under it: it must be too small there as well.
        await page.evaluate(_SCROLL, True)
        again = await _found(page, inside)
        await page.evaluate(_SCROLL, False)
        found = {(rule, where): line for (rule, where), line in found.items() if rule != SIZE or (rule, where) in again}
    return list(found.values())


async def _found(page: Page, inside: str | None) -> dict[tuple[str, str], str]:
    """By rule and element."""
    found: dict[str, Any] = await page.evaluate(_RUN, [inside, OPTIONS])
    return {
        (rule["id"], str(node["target"])): f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found["violations"]
        for node in rule["nodes"]
    }

"""A page as a text, without anything that the time of day alone changes: two that show the same are equal."""

from __future__ import annotations

from playwright.async_api import Page

# Ages and countdowns tick, and so do the clock and the bars of a delay; a chart moves on with the time. A page that has
# script does not show what is for one without. A form of filters is a person's, and offers what there was when it was
# opened. White space between elements is what the templates happen to have.
_NORMAL = """() => {
    const whole = document.createElement('div')
    for (const id of ['#head', 'main']) whole.append(document.querySelector(id).cloneNode(true))
    for (const time of whole.querySelectorAll('time[data-show=ago], time[data-show=in], #clock, [data-follow] time')) {
        time.textContent = 'T'
        time.removeAttribute('datetime')
        time.removeAttribute('title')
    }
    for (const one of whole.querySelectorAll('.unscripted, form.filters')) one.remove()
    for (const bar of whole.querySelectorAll('progress[data-from]')) bar.removeAttribute('value')
    for (const chart of whole.querySelectorAll('svg.chart, [data-plots]')) chart.replaceChildren()
    for (const one of whole.querySelectorAll('*')) {
        for (const name of one.getAttributeNames().sort()) {
            const value = one.getAttribute(name).replace(/until=[0-9]+/g, 'until=')
            one.removeAttribute(name)
            one.setAttribute(name, value)
        }
    }
    const lines = whole.innerHTML.replace(/\\s+/g, ' ').replace(/ ?(<[^>]*>) ?/g, '\\n$1\\n').replace(/\\n+/g, '\\n')
    return document.title + '\\n' + lines
}"""


async def normal(page: Page) -> list[str]:
    """The lines of the page that is shown now."""
    found: str = await page.evaluate(_NORMAL)
    return found.splitlines()

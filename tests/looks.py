"""How a page is looked at: by axe, in both colours and at four widths, without being asked of the server anew for each."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Name to colours, width and height. 1366 × 768 at 200 % are 683 × 384 of a page's own pixels.
VIEWS = {
    "light-1366": ("light", 1366, 768),
    "dark-1366": ("dark", 1366, 768),
    "light-400": ("light", 400, 800),
    "light-683": ("light", 683, 384),
}
FIRST = {"light-1366": VIEWS["light-1366"]}
DARK_PHONE = {"dark-400": ("dark", 400, 800)}

_FIND = """() => axe.run({resultTypes: ["violations"]}).then((found) => found.violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html.slice(0, 200)}`)))"""


def serious(page: Any) -> list[str]:
    """What axe calls serious or critical: the rule and the element of every violation. axe is put into a document once."""
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_FIND)
    return found


def shown(page: Any, views: dict[str, tuple[str, int, int]] = VIEWS) -> Iterator[str]:
    """Show the page as it stands in one view after another, and say in which; at last as in the first one again."""
    for name, (scheme, width, height) in views.items():
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": height})
        yield name
    scheme, width, height = next(iter(views.values()))
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": height})


def picture(page: Any, name: str) -> None:
    """Kept where ROUNDS_SCREENSHOTS says, for eyes."""
    if folder := os.environ.get("ROUNDS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def faults(page: Any, name: str, views: dict[str, tuple[str, int, int]] = VIEWS) -> list[str]:
    """In every view: what axe finds serious, and whether the page scrolls sideways. Pictures of it are kept under its name."""
    found = []
    for view in shown(page, views):
        picture(page, f"{name}-{view}")
        found += [f"{name} {view}: {finding}" for finding in serious(page)]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name} {view}: it scrolls sideways")
    return found

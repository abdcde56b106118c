"""Photographs every screen in its empty, busy, error and finished states, in headless Chromium, and writes docs/gallery.md.

Makes a throw-away database, brings the house into each state through the verbs that pages and commands use, starts the real web server
over it and takes the pictures that benchmarks/shots.py names: light at 1366 × 768, the ten that matter most also dark and at 400 pixels.
What stays in the repository is marked there; `--all` takes the others too, into a folder of your own.

Needs a Chromium, and a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.browser.chromium import launch
from benchmarks.browser.palette import small
from benchmarks.load import server as load_server

PROJECT = load_server.PROJECT
SCREENS = PROJECT / "docs" / "screens"
LISTING = PROJECT / "docs" / "gallery.md"
DESK, PHONE = {"width": 1366, "height": 768}, {"width": 400, "height": 800}
# A long page is shown down to here: in the documents, and to whoever looks for faults.
TALLEST, WHOLE = 1600, 6000
FOLDER_LIMIT = 5_000_000  # bytes


class Camera:
    """Browser pages of people at the running house, and the pictures taken of them."""

    def __init__(self, browser: Any, address: str, out: Path, names: Sequence[str], *, everything: bool, likenesses: bool) -> None:
        from benchmarks.shots import SHOTS

        self.browser, self.address, self.out, self.likenesses = browser, address, out, likenesses
        self.tallest = WHOLE if likenesses else TALLEST
        self.shots = {shot.name: shot for shot in SHOTS}
        self.names, self.everything = set(names), everything
        self.taken: list[str] = []
        self.pages: dict[Any, Any] = {}
        if unknown := self.names - set(self.shots):
            raise SystemExit(f"No screen is called {', '.join(sorted(unknown))}.")

    def of(self, user: Any, **options: Any) -> Any:
        """A page of `user`'s (None: nobody signed in); the same one again while the options are the same."""
        from django.test import Client

        key = (self.address, user and user.pk, *sorted(options.items()))
        if key not in self.pages:
            context = self.browser.new_context(
                base_url=self.address, viewport=DESK, reduced_motion="reduce", color_scheme="light", **options
            )
            if user is not None:
                client = Client()
                client.force_login(user)
                context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": self.address}])
            context.set_default_timeout(60_000)
            self.pages[key] = context.new_page()
            self.pages[key].on("dialog", lambda dialog: dialog.accept())
        return self.pages[key]

    @contextmanager
    def where(self, **environment: str) -> Iterator[None]:
        """The same house behind a server with other settings, for as long as this lasts: pages asked for meanwhile are its."""
        from benchmarks.real_input import web_server

        usual, before = self.address, {name: os.environ.get(name) for name in environment}
        os.environ |= environment
        try:
            with web_server() as self.address:
                yield
        finally:
            self.address = usual
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def wanted(self, name: str) -> bool:
        shot = self.shots[name]
        return name in self.names if self.names else shot.kept or self.everything

    def take(self, name: str, page: Any, *, settle_ms: int = 350) -> None:
        """The picture `name` of what `page` shows now, and its dark and narrow likenesses where it has them."""
        if not self.wanted(name):
            return
        shot = self.shots[name]
        page.wait_for_load_state("load")
        page.wait_for_timeout(settle_ms)
        self._keep(name, page, full=shot.full)
        if shot.important or self.likenesses:
            page.emulate_media(color_scheme="dark", reduced_motion="reduce")
            self._keep(f"{name}-dark", page, full=shot.full)
            page.emulate_media(color_scheme="light", reduced_motion="reduce")
            page.set_viewport_size(PHONE)
            self._keep(f"{name}-phone", page, full=shot.full)
            page.set_viewport_size(DESK)
            page.wait_for_timeout(150)

    def _keep(self, name: str, page: Any, *, full: bool) -> None:
        page.wait_for_timeout(150)
        window = page.viewport_size
        if full:
            # A window as tall as the page: what stays in sight while scrolling is drawn where it belongs.
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": window["width"], "height": max(min(height, self.tallest), window["height"])})
            page.wait_for_timeout(150)
        picture = page.screenshot()
        page.set_viewport_size(window)
        (self.out / f"{name}.png").write_bytes(picture if self.likenesses else small(picture))
        self.taken.append(name)
        print(f"  {name}", flush=True)


def written(taken: Sequence[str]) -> str:
    """docs/gallery.md: every picture that stays in the repository, by whose screen it is."""
    from benchmarks.shots import ROLES, SHOTS

    lines = [
        "# The screens",
        "",
        "Every screen in the states it can be in, photographed in headless Chromium by `python benchmarks/gallery.py` on a house that it",
        "fills through the same verbs as pages and commands do. The texts are the hand-written first pairs; nothing comes from a patient.",
        "Screens of figures show simulated raters on toy texts, and their badge says so. Names of systems are invented.",
        "The training is real: a tiny model, tuned by the engine while it is photographed, on made-up preferences.",
        "`--all --out FOLDER` takes more states than are kept here, `--likenesses` each of them dark and at 400 pixels too.",
        "",
    ]
    for role in ROLES:
        lines += [f"## {role}", ""]
        for shot in SHOTS:
            if shot.role != role or not shot.kept:
                continue
            more = " · ".join(f"[{words}](screens/{shot.name}-{how}.png)" for how, words in (("dark", "dark"), ("phone", "400 px")))
            lines.append(f"- [`{shot.name}`](screens/{shot.name}.png): {shot.caption}{f' ({more})' if shot.important else ''}")
        lines.append("")
    missing = [shot.name for shot in SHOTS if shot.kept and shot.name not in taken]
    if missing:
        raise SystemExit(f"Not taken: {', '.join(missing)}. docs/gallery.md stays as it was.")
    return "\n".join(lines)


def photograph(out: Path, names: Sequence[str], **which: bool) -> list[str]:
    import django

    django.setup()
    from django.core.management import call_command
    from playwright.sync_api import sync_playwright

    from benchmarks import scenes
    from benchmarks.real_input import web_server

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    with web_server() as address, sync_playwright() as playwright:
        browser = launch(playwright)
        camera = Camera(browser, address, out, names, **which)
        scenes.play(camera)
        browser.close()
    return camera.taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SCREENS, help="the folder for the pictures (docs/screens)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these alone; the other pictures stay as they are")
    parser.add_argument("--all", action="store_true", help="those that are not kept in the repository too")
    parser.add_argument("--likenesses", action="store_true", help="each of them dark and at 400 pixels too, down to its foot")
    options = parser.parse_args()
    if (options.all or options.likenesses) and options.out == SCREENS:
        parser.error("--all and --likenesses need a folder of their own: --out FOLDER")
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rounds-gallery-") as scratch, load_server.throw_away_database() as database:
        os.environ |= {
            "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "config.settings.dev", "ROUNDS_DEMO": "false",
            "ROUNDS_DATA_DIR": str(Path(scratch, "data")), "CELERY_BROKER_URL": os.environ.get("CELERY_BROKER_URL", "memory://"),
            # What is held to be photographed is held for as long as that takes.
            "ROUNDS_LEASE_SECONDS": "3600",
        }  # fmt: skip
        taken = photograph(options.out, options.only, everything=options.all, likenesses=options.likenesses)
        from django.db import connections

        connections.close_all()
    if options.out == SCREENS:
        if not options.only:
            for old in set(SCREENS.glob("*.png")) - {SCREENS / f"{name}.png" for name in taken}:
                old.unlink()
        LISTING.write_text(written([path.stem for path in SCREENS.glob("*.png")]), encoding="utf-8")
    total = sum(path.stat().st_size for path in options.out.glob("*.png"))
    print(f"{len(taken)} pictures, {total / 1e6:.1f} MB in the folder, {time.perf_counter() - began:.0f} s")
    return 0 if options.out != SCREENS or total <= FOLDER_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

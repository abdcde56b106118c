"""The compare screen in a real Chromium against a real web server with production settings: fast, safe, light, accessible.

Prints `keystrokes_median` (keys a judgement takes), `next_paint_p95_ms` (from the key that sends an answer to the next pair painted),
`lost` and `doubled` (50 judgements while the web server is killed twice with SIGKILL and the network is cut five times; what was
pressed against what the database holds), `storage_after_sign_out` (entries in any store of the browser), `page_kb_gz` (the page with all
it loads, compressed), `lighthouse_performance` and `lighthouse_accessibility` (Lighthouse 12.8.2 through npx, null with a reason where it
cannot be had), `axe_serious` (serious and critical findings on compare, queue, history, keys and session pages in light, dark, at 400
pixels and at 200 % zoom).

Needs a Chromium, and a PostgreSQL (DATABASE_URL, else the embedded one) on which it may create and drop a database of its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.browser import keyboard
from benchmarks.browser.chromium import launch
from benchmarks.load import server as load_server
from benchmarks.load import world

PROJECT = load_server.PROJECT
LIGHTHOUSE = "lighthouse@12.8.2"
JUDGEMENTS, KILLS, CUTS, TIMED = 50, 2, 5, 40
RATER = "clinician-1"
# What the page reports of itself: from the key to the first frame that shows the pair after it.
WATCH = """() => {
  window.painted = [];
  let pressed = 0;
  addEventListener("keydown", (event) => { if (event.key === "Enter") pressed = event.timeStamp; }, true);
  let before = document.querySelector("#compare")?.getAttribute("action");
  new MutationObserver(() => {
    const now = document.querySelector("#compare")?.getAttribute("action");
    if (!now || now === before) return;
    before = now;
    const began = pressed;
    // Two frames: the first may still be drawn from what was there before.
    requestAnimationFrame(() => requestAnimationFrame((at) => window.painted.push(at - began)));
  }).observe(document.querySelector("main"), { childList: true, subtree: true });
}"""


class Web:
    """Gunicorn as `manage.py up` starts it, behind an imagined TLS proxy; `kill` is what a power cut does."""

    def __init__(self) -> None:
        self.port = load_server.free_port()
        # A browser keeps cookies for encrypted connections on localhost too; nowhere else without TLS.
        self.address = f"http://localhost:{self.port}"
        os.environ["ROUNDS_TRUSTED_ORIGINS"] = self.address
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "gunicorn", "config.wsgi:application", "--worker-class", "gthread", "--workers", "2", "--threads", "4",
            "--bind", f"127.0.0.1:{self.port}", "--timeout", "60", "--no-control-socket", "--log-level", "error",
        ]  # fmt: skip
        environment = {**os.environ, "ROUNDS_DB_POOL": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.child = subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True)
        for _ in range(400):
            try:
                asked = urllib.request.Request(f"{self.address}/accounts/login/", headers={"X-Forwarded-Proto": "https"})
                urllib.request.urlopen(asked, timeout=2).close()
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
            else:
                return
        raise SystemExit("The web server did not start.")

    def kill(self) -> None:
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(timeout=20)


@contextmanager
def web() -> Iterator[Web]:
    one = Web()
    try:
        yield one
    finally:
        one.kill()


def new_page(browser: Any, address: str, **options: Any) -> Any:
    """A page of its own; the header is what a TLS proxy in front of the server adds."""
    options = {"viewport": {"width": 1366, "height": 768}, **options}
    context = browser.new_context(base_url=address, extra_http_headers={"X-Forwarded-Proto": "https"}, **options)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    return page


def enter(page: Any) -> None:
    keyboard.sign_in(page, RATER, world.PASSWORD)
    page.goto("/rate/")
    keyboard.start(page)


def key_for(number: int) -> str:
    return "12345"[number % 5]


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure_paint(page: Any) -> dict[str, Any]:
    """Judge with keys, reading each pair for half a second, and ask the page how long each next pair took."""
    times: list[float] = []
    strokes: list[int] = []
    page.evaluate(WATCH)
    while len(times) < TIMED:
        page.wait_for_timeout(500)
        before = page.evaluate(keyboard.ADDRESS)
        pressed = [key_for(len(times)), "Enter"]
        for key in pressed:
            page.keyboard.press(key)
        if keyboard.go_on(page, before):
            page.goto("/rate/")
            keyboard.start(page)
            page.evaluate(WATCH)
            continue
        strokes.append(len(pressed))
        page.wait_for_function("() => window.painted?.length || !document.body.classList.contains('page-compare')")
        if not page.evaluate("() => document.body.classList.contains('page-compare')"):
            page.goto("/rate/")
            keyboard.start(page)
            page.evaluate(WATCH)
            continue
        times += page.evaluate("() => window.painted.splice(0)")
    keyboard.wait_until_saved(page)
    return {
        "keystrokes_median": statistics.median(strokes),
        "next_paint_p50_ms": round(statistics.median(times), 1),
        "next_paint_p95_ms": round(percentile(times, 0.95), 1),
        "painted": len(times),
    }


def measure_loss(page: Any, running: Web) -> dict[str, Any]:
    """Judgements while everything fails around the page; what was pressed against what the database holds."""
    from annotation.answers import seen_from
    from annotation.models import Judgement

    label = {"1": "a_much", "2": "a_slightly", "3": "both_acceptable", "4": "b_slightly", "5": "b_much"}
    before = set(Judgement.objects.values_list("pk", flat=True))
    kills = {JUDGEMENTS * (n + 1) // (KILLS + 1) for n in range(KILLS)}
    cuts = {4 + JUDGEMENTS * n // CUTS for n in range(CUTS)}
    pressed: dict[str, str] = {}
    trouble = 0
    while len(pressed) < JUDGEMENTS:
        page.wait_for_selector("#compare, .page-head", timeout=90_000)
        if not page.locator("#compare").count():
            page.goto("/rate/")
            keyboard.start(page)
        page.wait_for_timeout(80)
        address = page.evaluate(keyboard.ADDRESS)
        if address is None:
            continue
        number = len(pressed)
        key = key_for(number)
        if number in cuts:
            page.context.set_offline(True)
            trouble += 1
        page.keyboard.press(key)
        if number in kills:
            # In the moment of sending: some answers are stored and never acknowledged.
            page.keyboard.press("Enter")
            running.kill()
            trouble += 1
        else:
            page.keyboard.press("Enter")
        pressed[address.split("/")[2]] = label[key]
        if number in kills:
            page.wait_for_timeout(700)
            running.start()
        if number in cuts:
            page.wait_for_timeout(700)
            page.context.set_offline(False)
        page.wait_for_function(
            f"before => !document.body.classList.contains('page-compare') || ({keyboard.ADDRESS} && {keyboard.ADDRESS} !== before)",
            arg=address,
            timeout=90_000,
        )
    keyboard.wait_until_saved(page)
    stored = list(Judgement.objects.exclude(pk__in=before).select_related("assignment"))
    found: dict[str, list[str]] = {}
    for one in stored:
        found.setdefault(str(one.assignment.public_id), []).append(seen_from(one.assignment, one.verdict).value)
    return {
        "pressed": len(pressed),
        "faults": trouble,
        "lost": sum(verdict not in found.get(address, []) for address, verdict in pressed.items()),
        "doubled": sum(len(verdicts) - 1 for verdicts in found.values()) + len(set(found) - set(pressed)),
    }


STORES = """async () => [
  ...Object.keys(localStorage).map((key) => `local ${key}`), ...Object.keys(sessionStorage).map((key) => `session ${key}`),
  ...(await caches.keys()).map((key) => `cache ${key}`), ...(await indexedDB.databases()).map((one) => `database ${one.name}`)]"""


def sign_out(page: Any) -> dict[str, Any]:
    """As a person does; what is left in any store of the browser."""
    page.locator("[data-theme-switch]").click()
    page.goto("/rate/")
    page.locator("details.menu:not(.menu-rail) > summary").last.press("Enter")
    page.get_by_role("button", name="Sign out").press("Enter")
    page.wait_for_url("**/accounts/login/**")
    left = page.evaluate(STORES)
    return {"storage_after_sign_out": len(left), "storage_left": left}


def weigh(page: Any) -> dict[str, Any]:
    """The compare page with all it loads, each part compressed as a proxy in front of the server would; and as the server sends it."""
    bodies: list[bytes] = []

    def keep(response: Any) -> None:
        if response.status == 200 and response.request.method == "GET":
            bodies.append(response.body())

    page.on("response", keep)
    page.reload(wait_until="networkidle")
    page.remove_listener("response", keep)
    return {
        "page_kb_gz": round(sum(len(gzip.compress(body, 6)) for body in bodies) / 1000, 1),
        "page_kb": round(sum(map(len, bodies)) / 1000, 1),
        "page_requests": len(bodies),
    }


def examine(browser: Any, address: str, state: Any) -> dict[str, Any]:
    """axe on every page of the rater's in four appearances."""
    from axe_playwright_python.sync_playwright import Axe

    wrong: list[str] = []
    for name, options in (
        ("light", {"color_scheme": "light"}),
        ("dark", {"color_scheme": "dark"}),
        ("400 px", {"viewport": {"width": 400, "height": 800}}),
        ("200 %", {"viewport": {"width": 683, "height": 384}, "device_scale_factor": 2}),
    ):
        page = new_page(browser, address, storage_state=state, **options)
        page.goto("/rate/")
        pages = {"queue": page.url}
        keyboard.start(page)
        pages["compare"] = page.url
        for what, keys in {"compare": [], "reasons": ["r"], "marks": ["Escape", "j", "m"], "differences": ["Escape", "d"]}.items():
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(300)
            wrong += [f"{name} {what}: {finding}" for finding in findings(Axe(), page)]
        for path in ("/rate/", "/rate/history/", "/me/keys/"):
            page.goto(path)
            wrong += [f"{name} {path}: {finding}" for finding in findings(Axe(), page)]
        page.context.close()
    return {"axe_serious": len(wrong), "axe_findings": wrong[:10]}


def findings(axe: Any, page: Any) -> list[str]:
    found = axe.run(page).response["violations"]
    return [f"{one['id']} {node['html'][:100]}" for one in found if one["impact"] in {"serious", "critical"} for node in one["nodes"]]


def lighthouse(address: str, url: str, cookies: list[dict[str, Any]]) -> dict[str, Any]:
    """Lighthouse's desktop run of the compare page; null with a reason where it cannot be had."""

    def none(reason: str) -> dict[str, Any]:
        return {"lighthouse_performance": None, "lighthouse_accessibility": None, "lighthouse_reason": reason}

    npx, chromium = shutil.which("npx"), shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if npx is None:
        return none("no npx on this machine")
    if chromium is None:
        return none("no Chromium outside playwright's own folder")
    with tempfile.TemporaryDirectory() as folder:
        headers, out = Path(folder, "headers.json"), Path(folder, "report.json")
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
        headers.write_text(json.dumps({"Cookie": cookie, "X-Forwarded-Proto": "https"}))
        command = [
            npx, "--yes", LIGHTHOUSE, address + url, "--preset=desktop", "--only-categories=performance,accessibility", "--output=json",
            f"--output-path={out}", f"--extra-headers={headers}", "--quiet",
            "--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage",
        ]  # fmt: skip
        try:
            subprocess.run(command, env={**os.environ, "CHROME_PATH": chromium}, check=True, capture_output=True, timeout=240)
            report = json.loads(out.read_text())
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            detail = getattr(error, "stderr", b"") or b""
            return none(f"{type(error).__name__}: {detail.decode(errors='replace').strip()[-200:] or error}")
    if not report["finalDisplayedUrl"].endswith(url):
        return none(f"it ended on another page: {report['finalDisplayedUrl'].removeprefix(address)}")
    failed = [one["id"] for one in report["audits"].values() if one.get("score") is not None and one["score"] < 0.9]
    return {
        "lighthouse_performance": report["categories"]["performance"]["score"],
        "lighthouse_accessibility": report["categories"]["accessibility"]["score"],
        "lighthouse_version": report["lighthouseVersion"],
        "lighthouse_below_0_9": failed,
    }


def measure() -> dict[str, Any]:
    import django

    django.setup()
    from django.core.management import call_command
    from playwright.sync_api import sync_playwright

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    world.campaign(world.people(1), pairs=400, overlap=1)
    report: dict[str, Any] = {}
    with web() as running, sync_playwright() as playwright:
        browser = launch(playwright)
        page = new_page(browser, running.address)
        enter(page)
        report |= weigh(page)
        report |= measure_paint(page)
        report |= measure_loss(page, running)
        if not page.locator("#compare").count():
            page.goto("/rate/")
            keyboard.start(page)
        here, state = page.evaluate(keyboard.ADDRESS), page.context.storage_state()
        report |= examine(browser, running.address, state)
        report |= lighthouse(running.address, here, state["cookies"])
        report |= sign_out(page)
        browser.close()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args()
    with load_server.throw_away_database() as database:
        os.environ.update(load_server.production(database))
        os.environ["ROUNDS_ALLOWED_HOSTS"] += ",localhost"
        report = measure()
        from django.db import connections

        connections.close_all()
    for name, value in report.items():
        print(f"{name:<26} {value}")
    if options.json:
        print(json.dumps(report))
    return 0 if report["lost"] == report["doubled"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

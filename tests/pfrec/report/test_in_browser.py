"""The pages as a browser lays them out: on a phone and on a desk, light and dark."""

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from pfrec.report import comparison_page, run_page
from tests.pfrec.report import pages
from tests.pfrec.report.test_comparison_page import entry

WIDTHS = (390, 1280)
_BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="no Chromium is installed here")
# Written into the frame around the pages, whose own policy lets no script run.
_MEASURE = """
const found = [];
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, root = page.documentElement;
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  const style = frame.contentWindow.getComputedStyle.bind(frame.contentWindow);
  const cut = [], small = [], over = [];
  for (const svg of page.querySelectorAll("svg[viewBox]")) {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const places = texts.map(text => text.getBoundingClientRect());
    const scale = box.width / svg.viewBox.baseVal.width;
    texts.forEach((text, i) => {
      const a = places[i];
      if (a.left < box.left - 1 || a.right > box.right + 1 || a.top < box.top - 1 ||
          a.bottom > box.bottom + 1) cut.push(text.textContent);
      if (parseFloat(style(text).fontSize) * scale < 9) small.push(text.textContent);
      for (const b of places.slice(0, i))
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
          over.push(text.textContent);
    });
  }
  found.push({
    name: frame.title, wide: root.scrollWidth - root.clientWidth, cut, small, over,
    svgs: page.querySelectorAll("svg[viewBox]").length,
    page: style(page.body).backgroundColor, text: style(page.body).color,
    note: style(page.querySelector(".note")).color});
}
document.body.textContent = JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> "dict[str, pathlib.Path]":
    """Pages of a run of 20 scenarios of 3 tasks, and of a comparison with long names of entries."""
    path = tmp_path_factory.mktemp("pages")
    scenarios = tuple(f"market_{number}_of_some_country" for number in range(20))
    tasks = ("click", "add_to_cart", "purchase")
    run = pages.write_run(path / "run", scenarios, tasks, rounds=30)
    worth = {f"feature_{n}": {"mean": n / 100, "deviation": 0.001} for n in range(12)}
    found = {"split": "valid", "round": 2, "repeats": 3, "features": list(worth)}
    found["scenarios"] = {s: dict.fromkeys(tasks, worth) for s in scenarios}
    pages.put(run / "diagnostics" / "importance.json", found)
    use = {s: dict.fromkeys(tasks, (0.1, 0.2, 0.3, 0.4)) for s in scenarios}
    pages.put(run / "diagnostics" / "gate_use.json", {"2": use})
    curve = {"mean": [0.5, 0.6, 0.7], "deviation": [0.01, 0.02, 0.03]}
    long = "fedbn:embedding/*=shared:gate/*=private:learning_rate=0.0031622776601683794"
    names = ["pf_msmtrec", "pooled_star", long, *(f"fedavg:rounds={n}" for n in range(9))]
    entries = {
        name: entry(name, 0.7 + n / 1000, valid_by_round=curve) for n, name in enumerate(names)
    }
    value = {"data": "/data", "rows": dict.fromkeys(scenarios, 1234), "subject": "pf_msmtrec"}
    pages.put(path / "results.json", {**value, "target_valid_auc": 0.6, "entries": entries})
    lines = ["algorithm,seed,scenario,task,metric,value"]
    lines += [f"{n},{seed},{s},{t},auc,0.7{seed}"
              for n in names for seed in (0, 1) for s in scenarios for t in tasks]  # fmt: skip
    (path / "results.csv").write_text("\n".join(lines) + "\n")
    return {"run": run_page.write(run), "comparison": comparison_page.write(path)}


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_pages_are_readable_at_any_width(written, scheme, tmp_path) -> None:
    """Nothing makes the page wider than the screen, no text of a chart is cut, tiny or under
    another, and words stand out from what is behind them.
    """
    frames = [
        f'<iframe title="{name} {width}" src="{html.escape(page.as_uri())}" '
        f'style="width:{width}px;height:800px"></iframe>'
        for name, page in written.items()
        for width in WIDTHS
    ]
    around = tmp_path / "around.html"
    around.write_text(
        '<html style="color-scheme:light dark"><body>'
        f"{''.join(frames)}<script>onload=()=>{{{_MEASURE}}}</script></body></html>"
    )
    done = subprocess.run(
        [
            str(_BROWSER),
            "--headless",
            "--no-sandbox",  # of pages that were made here
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            around.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    body = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert body, done.stdout[-500:] + done.stderr[-500:]
    found = json.loads(html.unescape(body.group(1)))
    assert [one["name"] for one in found] == [f"{n} {w}" for n in written for w in WIDTHS]
    for one in found:
        assert one["svgs"] > 2, one["name"]
        for fault in ("wide", "cut", "small", "over"):
            assert not one[fault], (one["name"], fault)
        page, *words = (_luminance(one[name]) for name in ("page", "text", "note"))
        assert (page < 0.5) == (scheme == "dark")
        for word in words:
            assert (max(word, page) + 0.05) / (min(word, page) + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """The relative luminance of rgb(r, g, b), see WCAG 2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))

"""The page's own programs in node, with small stand-ins for the browser: quick, and they need none."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from mood_vae.review.page import ASSETS
from mood_vae.review.report_data import Report

STAND_INS = """
const timers = new Set(), listeners = {};
let fetching = 0, status = [];
const setTimeout = (act, ms) => { // at once, and what is only taken off the screen never
  if (ms > 1000) return null;
  const timer = setImmediate(() => { timers.delete(timer); act(); });
  timers.add(timer);
  return timer;
};
const clearTimeout = (timer) => { timers.delete(timer); clearImmediate(timer); };
const ask = async (path, options) => {
  const answer = await globalThis.fetch(ADDRESS + path, options);
  const text = await answer.text();
  return { ok: answer.ok, status: answer.status, text: async () => text, json: async () => JSON.parse(text) };
};
const fetch = async (...request) => {
  fetching += 1;
  try { return await ask(...request); } finally { fetching -= 1; }
};
const kept = {};
const localStorage = {
  getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = value; },
  removeItem: (key) => { delete kept[key]; },
};
const window = {
  addEventListener: (name, act) => { listeners[name] = act; }, get moodReview() { return { report, verdicts }; },
};
const document = {
  getElementById: () => ({ textContent: REPORT }),
  createElement: () => ({
    dataset: {}, setAttribute() {},
    append: (...parts) => status.push(...parts), replaceChildren: (...parts) => { status = parts; },
  }),
  createTextNode: (text) => text, addEventListener() {}, body: { append() {} },
};

// What a test uses: wait until the page has nothing left to do, read its status line, press a button there.
async function quiet() {
  do for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  while (timers.size || fetching);
}
const shown = () => status.map((part) => part.textContent ?? part).join("").trim();
const press = (label) => status.find((part) => part.textContent === label).onclick();
"""


def run_in_node(scripts: tuple[str, ...], body: str, report: Report, *, address: str = "") -> Any:
    """Run scripts of the page and then the body of an async function, and return what that returns.

    Args:
        scripts: File names.
        body: What a reader does; besides the scripts' names it has those at the end of `STAND_INS`.
        report: What the page shows.
        address: The server's.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed")
    given = f"const ADDRESS = {json.dumps(address)}, REPORT = {json.dumps(report.model_dump_json())};"
    sources = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in scripts)
    act = f"async () => {{ {given} {STAND_INS}\n{sources}\n{body} }}"
    program = f"({act})().then((found) => console.log(JSON.stringify(found)));"
    done = subprocess.run([node, "-"], input=program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

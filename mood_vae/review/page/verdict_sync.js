"use strict";
// Keeps the reader's verdicts with the server: each change is sent alone, with the version that it was made upon.

(() => {
  const { verdicts } = window.moodReview;
  const WAIT_MS = 400, SHOWN_MS = 4000;
  const known = new Map(); // what the server is known to have: {verdict, comment, version} by finding
  const waiting = new Map(); // what it is still to be told
  let sending = false, loading = false, fading = 0;

  const keyOf = (caseId, number) => JSON.stringify([caseId, number]);

  const status = document.createElement("div");
  status.id = "verdict-status";
  status.setAttribute("role", "status");
  document.body.append(status);

  function say(text, isBad = false, buttons = []) {
    status.replaceChildren(document.createTextNode(text));
    status.dataset.bad = isBad;
    clearTimeout(fading);
    if (!isBad) fading = setTimeout(() => status.replaceChildren(), SHOWN_MS);
    for (const [label, action] of buttons) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.onclick = action;
      status.append(" ", button);
    }
  }

  const words = ({ verdict, comment }) => `${verdict ? `“${verdict}”` : "no verdict"}${comment ? ` (${comment})` : ""}`;

  function learn(all, entry) {
    (all[entry.case] ??= {})[entry.finding] = { verdict: entry.verdict, comment: entry.comment };
    known.set(keyOf(entry.case, entry.finding), entry);
    return all;
  }

  function load(all) {
    loading = true;
    verdicts.load(all);
    loading = false;
    forget();
  }

  // The server keeps them: in the browser, the next program at this port could read them.
  function forget() {
    try {
      localStorage.removeItem(`mood-vae-review-${window.moodReview.report.id}`);
    } catch { /* a browser that keeps nothing */ }
  }

  async function fetchAll() {
    const answer = await fetch("verdicts");
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const kept = await answer.json();
    if (waiting.size || sending) return; // what the reader has just said comes first
    const all = {};
    known.clear();
    kept.verdicts.forEach((entry) => learn(all, entry));
    load(all);
    const n = kept.verdicts.filter((entry) => entry.verdict).length;
    const former = kept.former.length ? `; ${kept.former.length} on findings of an earlier prediction are kept apart` : "";
    say(`${n} ${n === 1 ? "verdict" : "verdicts"} saved in verdicts.json${former}`);
  }

  async function sendOne([key, change]) {
    const seen = known.get(key)?.version || 0;
    const body = JSON.stringify({ ...change, seen });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("verdicts", { method: "PUT", body, headers, keepalive: true });
    if (answer.status === 409) return conflict(key, change, await answer.json());
    if (!answer.ok) throw new Error((await answer.text()).trim());
    known.set(key, await answer.json());
    if (waiting.get(key) === change) waiting.delete(key);
    if (!waiting.size) say("Saved");
  }

  function conflict(key, mine, theirs) {
    waiting.delete(key);
    load(learn(verdicts.all(), theirs));
    const place = `finding ${theirs.finding} of ${theirs.case}`;
    say(`Not saved: another page had already set ${place} to ${words(theirs)}; yours was ${words(mine)}.`, true, [
      ["Keep theirs", () => say("Saved")],
      ["Use mine", () => verdicts.set(mine.case, mine.finding, { verdict: mine.verdict, comment: mine.comment })],
    ]);
  }

  async function sendAll() {
    if (sending) return;
    sending = true;
    try {
      while (waiting.size) await sendOne(waiting.entries().next().value);
    } catch (error) {
      say(`Not saved: ${error.message || "the server does not answer"}.`, true, [["Try again", sendAll]]);
    } finally {
      sending = false;
    }
  }

  let timer = 0;
  function send(caseId, number, { verdict, comment }) {
    // by characters: half of one that takes two places is no text
    const text = Array.from(comment).slice(0, 4000).join("");
    waiting.set(keyOf(caseId, number), { case: caseId, finding: number, verdict: verdict ?? null, comment: text });
    clearTimeout(timer);
    timer = setTimeout(sendAll, WAIT_MS);
  }

  // After an import the page says only that something changed.
  function sendDifferences() {
    for (const entry of window.moodReview.report.cases) {
      for (const { number } of entry.findings) {
        const here = verdicts.get(entry.id, number);
        const there = known.get(keyOf(entry.id, number)) || { verdict: null, comment: "" };
        if (here.verdict !== there.verdict || here.comment !== there.comment) send(entry.id, number, here);
      }
    }
  }

  verdicts.onChange((caseId, number, entry) => {
    if (loading) return;
    forget();
    if (number === null) sendDifferences();
    else send(caseId, number, entry);
  });

  const refresh = () => fetchAll().catch((error) => say(`Verdicts cannot be read: ${error.message}`, true));
  document.addEventListener("visibilitychange", () => (document.hidden ? sendAll() : refresh()));
  window.addEventListener("focus", refresh);
  window.addEventListener("pagehide", sendAll);
  window.addEventListener("beforeunload", (event) => { if (waiting.size) { sendAll(); event.preventDefault(); } });
  window.moodVerdictsReady = refresh();
})();

"use strict";
// Keeps the reader's verdicts with the server: each change is sent alone, with the version that it was made upon.

(() => {
  const { verdicts } = window.moodReview;
  verdicts.leaveToServer();
  const WAIT_MS = 400, SHOWN_MS = 4000;
  const known = new Map(); // what the server is known to have: {verdict, comment, version} by finding
  const waiting = new Map(); // what it is still to be told
  // what another page has said before: {mine, theirs} by finding, until the reader decides; `saved` is the version of
  // what this page has saved since
  const undecided = new Map();
  let sending = false, loading = false, fading = 0;

  const keyOf = (caseId, number) => JSON.stringify([caseId, number]);

  const status = document.createElement("div");
  status.id = "verdict-status";
  status.setAttribute("role", "status");
  document.body.append(status);

  // Good news do not take an open question away.
  function say(text) {
    if (undecided.size) ask();
    else show(text);
  }

  function show(text, isBad = false, buttons = []) {
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
    const key = keyOf(entry.case, entry.finding);
    known.set(key, entry);
    const open = undecided.get(key);
    if (open && entry.version !== open.saved) open.theirs = entry;
    return all;
  }

  function load(all) {
    loading = true;
    verdicts.load(all);
    loading = false;
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
    if (answer.status === 409) return conflict(key, await answer.json());
    if (!answer.ok) throw new Error((await answer.text()).trim());
    known.set(key, await answer.json());
    const open = undecided.get(key); // a comment was written on: what the reader said last is theirs to keep
    if (open) Object.assign(open, { mine: { ...open.mine, comment: change.comment }, saved: known.get(key).version });
    if (waiting.get(key) === change) waiting.delete(key);
    if (!waiting.size) say("Saved");
  }

  function conflict(key, theirs) {
    undecided.set(key, { mine: waiting.get(key), theirs });
    waiting.delete(key);
    load(learn(verdicts.all(), theirs));
    ask();
  }

  // Show both sides of the first open question.
  function ask() {
    const [key, { mine, theirs }] = undecided.entries().next().value;
    const place = `finding ${theirs.finding} of ${theirs.case}`;
    const more = undecided.size > 1 ? ` ${undecided.size - 1} more to decide.` : "";
    const text = `Not saved: another page had already set ${place} to ${words(theirs)}; yours was ${words(mine)}.${more}`;
    show(text, true, [
      ["Keep theirs", () => {
        undecided.delete(key);
        say("Saved");
      }],
      ["Use mine", () => {
        undecided.delete(key);
        verdicts.set(mine.case, mine.finding, { verdict: mine.verdict, comment: mine.comment });
        say("Saving …");
      }],
    ]);
  }

  async function sendAll() {
    if (sending) return;
    sending = true;
    try {
      while (waiting.size) await sendOne(waiting.entries().next().value);
    } catch (error) {
      show(`Not saved: ${error.message || "the server does not answer"}.`, true, [["Try again", sendAll]]);
    } finally {
      sending = false;
    }
  }

  let timer = 0;
  function send(caseId, number, { verdict, comment }) {
    // by characters: half of one that takes two places is no text
    const text = Array.from(comment).slice(0, 4000).join("");
    const key = keyOf(caseId, number);
    waiting.set(key, { case: caseId, finding: number, verdict: verdict ?? null, comment: text });
    // a new verdict on the same finding answers the question; a comment that is being written does not
    if (undecided.has(key) && undecided.get(key).theirs.verdict !== waiting.get(key).verdict) undecided.delete(key);
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
    if (number === null) sendDifferences();
    else send(caseId, number, entry);
  });

  const refresh = () => fetchAll().catch((error) => show(`Verdicts cannot be read: ${error.message}`, true));
  document.addEventListener("visibilitychange", () => (document.hidden ? sendAll() : refresh()));
  window.addEventListener("focus", refresh);
  window.addEventListener("pagehide", sendAll);
  window.addEventListener("beforeunload", (event) => {
    if (waiting.size || undecided.size) event.preventDefault();
    sendAll();
  });
  window.moodVerdictsReady = refresh();
})();

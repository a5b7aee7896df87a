// The whole page: where the reader is, the switches and the keys, and what the viewer may use.

window.moodReview = {
  report,
  verdicts,
  current: () => current,
  onCase(callback) {
    caseListeners.push(callback);
    if (current) callback(current);
  },
  onFinding(callback) {
    findingListeners.push(callback);
  },
  onConvention(callback) {
    conventionListeners.push(callback);
    callback(isRadiological());
  },
  selectFinding,
  viewerPanel: () => byId("viewer"),
};

function remember(name, value) {
  try {
    localStorage.setItem(`mood-vae-${name}`, value);
  } catch { /* a browser that keeps nothing */ }
}

function remembered(name) {
  try {
    return localStorage.getItem(`mood-vae-${name}`);
  } catch {
    return null;
  }
}

function goWhereTheAddressSays() {
  const match = location.hash.match(/^#case=(.*)$/);
  let id = null;
  try {
    id = match && decodeURIComponent(match[1]);
  } catch { /* a broken address leads to the list */ }
  const entry = report.cases.find((one) => one.id === id);
  if (entry) openCase(entry);
  else closeCase();
}

function goTo(entry) {
  location.hash = entry ? `case=${encodeURIComponent(entry.id)}` : "";
}

function setConvention(value) {
  const focus = document.activeElement;
  document.documentElement.dataset.convention = value === "neurological" ? value : "radiological";
  document.querySelectorAll("input[name=convention]").forEach((input) => { input.checked = input.value === value; });
  remember("convention", value);
  drawConvention();
  if (current) drawCase();
  drawList({ anew: false });
  focus?.focus?.({ preventScroll: true });
  conventionListeners.forEach((callback) => callback(isRadiological()));
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
}

function download(name, type, text) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function importVerdicts(file) {
  try {
    const content = JSON.parse(await file.text());
    const { cases, leftOut } = verdicts.merge(content.verdicts);
    if (leftOut) alert(`Left out: ${plural(leftOut, "verdict")} on findings that this report does not have.`);
    else if (!cases) throw new Error("none for a case of this report");
    say(`Verdicts on ${plural(cases, "case")} imported`);
    const isOther = content.report ? content.report !== report.id : false; // the server's file names no report
    if (isOther) alert("These verdicts were given for another report: check them.");
  } catch {
    alert("This file holds no verdicts on cases of this report: choose one that `Export JSON` or the viewer wrote.");
  }
}

const LIST_KEYS = {
  j: () => moveRow(1), ArrowDown: () => moveRow(1), k: () => moveRow(-1), ArrowUp: () => moveRow(-1),
};

function step(by) {
  const next = list.shown[list.shown.indexOf(current) + by];
  if (next) goTo(next);
}

const CASE_KEYS = {
  j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
  Escape: () => goTo(null),
  a: () => giveVerdict("accept"), r: () => giveVerdict("reject"), R: rejectTheRest, c: editComment,
};

const KEYS = {
  "?": () => byId("help").showModal(),
  "/": () => { if (!current) byId("search").focus(); },
  m: hideOrShow,
};

// Map and outlines of what is seen: those of the viewer, or else those of the pictures.
function hideOrShow() {
  if (current && byId("case-view").classList.contains("with-viewer")) window.moodViewer.hideOrShow();
  else document.documentElement.classList.toggle("bare");
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("help").open) return;
  const typing = event.target.closest("textarea, select, input:not([type=radio]):not([type=range])");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  // whoever has the focus in the viewer, or on a slider, moves that by the arrows
  if (event.key.startsWith("Arrow") && event.target.closest("#viewer, input")) return;
  const digit = current && /^[1-9]$/.test(event.key);
  const action = digit ? () => selectFinding(Number(event.key)) : (current ? CASE_KEYS : LIST_KEYS)[event.key] || KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

document.documentElement.dataset.convention = remembered("convention") === "neurological" ? "neurological" : "radiological";
document.querySelectorAll("input[name=convention]").forEach((input) => {
  input.checked = input.value === document.documentElement.dataset.convention;
  input.addEventListener("change", () => setConvention(input.value));
});
if (["light", "dark"].includes(remembered("theme"))) document.documentElement.dataset.theme = remembered("theme");
byId("theme").addEventListener("click", switchTheme);
byId("help-open").addEventListener("click", () => byId("help").showModal());
for (const id of ["search", "filter", "sort", "page-size"]) {
  byId(id).addEventListener("input", () => { list.page = list.row = 0; drawList(); });
}
byId("export-csv").addEventListener("click", () => download("verdicts.csv", "text/csv", verdictsAsCsv(report, verdicts)));
byId("export-json").addEventListener("click", () =>
  download("verdicts.json", "application/json", verdictsAsJson(report, verdicts)));
byId("import-json").addEventListener("change", (event) => {
  if (event.target.files[0]) importVerdicts(event.target.files[0]);
  event.target.value = "";
});
verdicts.onChange((caseId, number, entry, kept) => {
  if (!kept) alert("This browser keeps nothing for this page: export the verdicts before it is closed.");
  refreshVerdicts();
});
addEventListener("keydown", onKey);
addEventListener("hashchange", goWhereTheAddressSays);
drawKey();
drawList();
goWhereTheAddressSays();

// The list of cases: searched, filtered, sorted, one page at a time.

const list = { page: 0, row: 0, shown: [...report.cases] };

const state = (entry) => {
  const given = entry.findings.map((finding) => verdicts.get(entry.id, finding.number).verdict);
  const accepted = given.filter((verdict) => verdict === "accept").length;
  const rejected = given.filter((verdict) => verdict === "reject").length;
  return { accepted, rejected, open: given.length - accepted - rejected, done: accepted + rejected === given.length };
};

const FILTERS = {
  all: () => true,
  open: (entry) => !state(entry).done,
  done: (entry) => state(entry).done,
  accepted: (entry) => state(entry).accepted > 0,
  warned: (entry) => entry.warnings.length > 0,
};

const byName = (a, b) => a.id.localeCompare(b.id, "en", { numeric: true });
const SORTS = {
  score: (a, b) => (b.score ?? -1) - (a.score ?? -1) || byName(a, b),
  name: byName,
  mask: (a, b) => b.mask_ml - a.mask_ml || byName(a, b),
};

function searchText(entry) {
  const comments = entry.findings.map((finding) => verdicts.get(entry.id, finding.number).comment);
  return [entry.id, ...entry.warnings, ...entry.findings.map((finding) => finding.region || ""), ...comments]
    .join("\n").toLowerCase();
}

function chooseCases() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const keep = FILTERS[byId("filter").value];
  list.shown = report.cases
    .filter((entry) => keep(entry) && (!words.length || words.every((word) => searchText(entry).includes(word))))
    .sort(SORTS[byId("sort").value]);
}

const pageSize = () => Number(byId("page-size").value);
const lastPage = () => Math.max(0, Math.ceil(list.shown.length / pageSize()) - 1);

function drawList({ anew = true } = {}) {
  if (anew) chooseCases();
  list.page = Math.min(Math.max(0, list.page), lastPage());
  const start = list.page * pageSize();
  const rows = list.shown.slice(start, start + pageSize());
  list.row = Math.min(Math.max(0, list.row), Math.max(0, rows.length - 1));
  byId("cases").start = start + 1;
  byId("cases").replaceChildren(...rows.map(caseRow));
  byId("nothing").hidden = rows.length > 0;
  drawPager(start, rows.length);
  drawProgress();
}

function caseRow(entry, number) {
  const top = entry.findings[0];
  const href = `#case=${encodeURIComponent(entry.id)}`;
  return el("li", { class: "case", "data-case": entry.id },
    el("div", { class: "facts" },
      el("h3", {}, el("a", { href, class: "open", onfocus: () => { list.row = number; } }, entry.id)),
      el("p", { class: "score" }, el("strong", {}, scoreInWords(entry)), entry.score !== null && " score",
        healthyInWords(entry) && el("span", { class: "muted" }, `, ${healthyInWords(entry)}`)),
      top ? el("p", {}, top.region || "", top.region ? el("br") : null,
        place(top)) : null,
      el("p", {}, maskInWords(entry)),
      entry.label_ml !== null && el("p", { class: "muted" }, labelInWords(entry)),
      entry.warnings.map((warning) => el("p", { class: "warning" }, asSentence(warning))),
      statusLine(entry)),
    top?.images.scan
      ? el("a", { class: "thumbs", href, tabindex: "-1", "aria-hidden": "true" },
        ["scan", "reconstruction", "map"].filter((row) => row !== "reconstruction" || top.images.reconstruction)
          .map((row) => el("div", { class: "strip" }, planes(entry, top, row),
            el("span", { class: "caption" }, ROWS[row].title))))
      : el("p", { class: "muted" }, "No picture."));
}

function maskInWords(entry) {
  if (!entry.n_findings) return "nothing was searched";
  if (entry.findings[0]?.below_threshold) return `nothing marked; highest ${peakInWords(entry.findings[0])}`;
  return `${ml(entry.mask_ml)} marked in ${plural(entry.n_findings, "finding")}`;
}

function labelInWords(entry) {
  if (entry.label_ml === 0) return "label: empty";
  return `label: ${ml(entry.label_ml)}, Dice ${entry.dice === null ? "–" : entry.dice.toFixed(2)}`;
}

function statusLine(entry) {
  const { accepted, rejected, open } = state(entry);
  const parts = [];
  if (accepted) parts.push(el("span", { class: "accepted" }, `✓ ${accepted} accepted`));
  if (rejected) parts.push(el("span", { class: "rejected" }, `✗ ${rejected} rejected`));
  if (open && (accepted || rejected)) parts.push(el("span", { class: "muted" }, `${open} open`));
  return el("p", { class: "status" }, parts);
}

function drawPager(start, count) {
  const go = (page) => () => { list.page = page; list.row = 0; drawList({ anew: false }); scrollTo(0, 0); focusRow(); };
  const button = (text, label, page, enabled) =>
    el("button", { type: "button", "aria-label": label, disabled: !enabled, onclick: go(page) }, text);
  const total = list.shown.length;
  const text = total ? `${(start + 1).toLocaleString("en")}–${(start + count).toLocaleString("en")} of ` +
    plural(total, "case") : "0 cases";
  byId("pager").replaceChildren(
    button("«", "First page", 0, list.page > 0), button("‹", "Previous page", list.page - 1, list.page > 0),
    el("span", {}, text),
    button("›", "Next page", list.page + 1, list.page < lastPage()),
    button("»", "Last page", lastPage(), list.page < lastPage()));
}

function drawProgress() {
  const done = report.cases.filter((entry) => state(entry).done).length;
  byId("progress-text").textContent = `${done} of ${report.cases.length} reviewed`;
  byId("progress").max = Math.max(1, report.cases.length);
  byId("progress").value = done;
}

function focusRow() {
  byId("cases").querySelectorAll("a.open")[list.row]?.focus({ preventScroll: false });
}

// Move to the next or the previous case of the list, onto another page where that is needed.
function moveRow(step) {
  const focused = document.activeElement?.matches("a.open");
  const index = list.page * pageSize() + list.row + (focused ? step : 0);
  if (index < 0 || index >= list.shown.length) return;
  const page = Math.floor(index / pageSize());
  list.row = index % pageSize();
  if (page !== list.page) {
    list.page = page;
    drawList({ anew: false });
  }
  focusRow();
}

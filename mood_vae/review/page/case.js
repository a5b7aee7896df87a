// One case: pictures of the selected finding, facts, and the reader's verdicts.

let current = null, selected = null;
const caseListeners = [], findingListeners = [], conventionListeners = [];

function openCase(entry) {
  current = entry;
  selected = entry.findings[0] || null;
  byId("list-view").hidden = byId("toolbar").hidden = true;
  byId("case-view").hidden = false;
  const index = list.shown.indexOf(entry);
  if (index >= 0) {
    list.page = Math.floor(index / pageSize());
    list.row = index % pageSize();
  }
  drawCase();
  scrollTo(0, 0);
  byId("case-title").focus({ preventScroll: true });
  caseListeners.forEach((callback) => callback(entry));
}

function closeCase() {
  if (!current) return;
  current = selected = null;
  byId("case-view").hidden = true;
  byId("toolbar").after(key);
  byId("list-view").hidden = byId("toolbar").hidden = false;
  drawList();
  focusRow();
}

function drawCase() {
  const index = list.shown.indexOf(current);
  const neighbour = (step) => list.shown[index + step];
  const link = (entry, text, label) => entry
    ? el("a", { class: "button", href: `#case=${encodeURIComponent(entry.id)}`, "aria-label": label }, text)
    : el("span", { class: "button off", "aria-hidden": "true" }, text);
  byId("case").replaceChildren(
    el("div", { class: "case-head" },
      el("a", { class: "button", href: "#" }, "← All cases"),
      el("h2", { id: "case-title", tabindex: "-1" }, current.id),
      el("span", { class: "muted" }, index >= 0 ? `${index + 1} of ${list.shown.length}` : ""),
      link(index >= 0 && neighbour(-1), "‹ Previous", "Previous case"),
      link(index >= 0 && neighbour(1), "Next ›", "Next case")),
    key,
    el("div", { class: "case-body" },
      el("div", { id: "case-pictures" }, selected ? pictureRows(current, selected) : "The map is 0 everywhere."),
      el("div", { class: "case-facts" },
        current.warnings.map((warning) => el("p", { class: "warning" }, asSentence(warning))),
        factsTable(current),
        el("h3", {}, `Findings (${current.n_findings})`),
        el("ol", { class: "findings", id: "findings" }, current.findings.map(findingItem)),
        current.n_findings > current.findings.length && el("p", { class: "muted" },
          `${current.n_findings - current.findings.length} more with lower peaks are not listed.`))));
}

function factsTable(entry) {
  const rows = [
    ["Score", [el("strong", {}, scoreInWords(entry)), healthyInWords(entry) ? ` ${healthyInWords(entry)}` : ""]],
    ["Marked", maskInWords(entry)],
    ...(entry.label_ml === null ? [] : [["Label", labelInWords(entry).replace("label: ", "")]]),
    ...(entry.region_note ? [["Region", `not named: ${entry.region_note}`]] : []),
  ];
  return el("dl", { class: "facts-table" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function findingItem(finding) {
  const { verdict, comment } = verdicts.get(current.id, finding.number);
  const isSelected = finding.number === selected?.number;
  const choice = (value, text, key) => el("button", {
    type: "button", class: value, "aria-pressed": String(verdict === value), title: `Key ${key}`,
    onclick: () => { selectFinding(finding.number); giveVerdict(value); },
  }, text);
  const area = el("textarea", {
    rows: "2", maxlength: "4000", placeholder: "Comment", "aria-label": `Comment on finding ${finding.number}`,
  });
  area.value = comment;
  area.addEventListener("input", () => {
    const known = verdicts.get(area.dataset.case, finding.number);
    verdicts.set(area.dataset.case, finding.number, { ...known, comment: area.value });
  });
  area.dataset.case = current.id;
  return el("li", { class: isSelected ? "finding selected" : "finding", "data-finding": String(finding.number) },
    el("button", {
      type: "button", class: "pick", "aria-pressed": String(isSelected), onclick: () => selectFinding(finding.number),
    },
    el("span", { class: "number" }, String(finding.number)),
    el("span", { class: "what" }, el("b", {}, finding.region || `Finding ${finding.number}`),
      el("small", {}, findingInWords(finding)), el("small", {}, place(finding)))),
    el("div", { class: "choices", role: "group", "aria-label": `Verdict on finding ${finding.number}` },
      choice("accept", "✓ Accept", "a"), choice("reject", "✗ Reject", "r")),
    (isSelected || comment) && area);
}

function drawFindings() {
  byId("findings")?.replaceChildren(...current.findings.map(findingItem));
}

function selectFinding(number) {
  const finding = current?.findings.find((one) => one.number === number);
  if (!finding || finding === selected) return;
  selected = finding;
  byId("case-pictures").replaceChildren(pictureRows(current, selected));
  const hadFocus = byId("findings").contains(document.activeElement);
  drawFindings();
  if (hadFocus) byId("findings").querySelector(".selected .pick")?.focus();
  findingListeners.forEach((callback) => callback(current, selected));
}

// Give the selected finding a verdict, or take the same one back.
function giveVerdict(value) {
  if (!selected) return;
  const known = verdicts.get(current.id, selected.number);
  const verdict = known.verdict === value ? null : value;
  verdicts.set(current.id, selected.number, { ...known, verdict });
  say(`Finding ${selected.number} ${verdict ? `${verdict}ed` : "has no verdict"}`);
}

function rejectTheRest() {
  const rest = current.findings.filter((finding) => !verdicts.get(current.id, finding.number).verdict);
  rest.forEach((finding) => {
    verdicts.set(current.id, finding.number, { ...verdicts.get(current.id, finding.number), verdict: "reject" });
  });
  say(`${plural(rest.length, "finding")} rejected`);
}

function editComment() {
  byId("findings")?.querySelector(".selected textarea")?.focus();
}

// Show verdicts that changed, without taking the focus or a text that is being written.
function refreshVerdicts() {
  drawProgress();
  if (!current) return drawList();
  const writing = document.activeElement?.closest?.("#findings textarea");
  if (writing) { // it stays, with what another page has said since
    const { comment } = verdicts.get(current.id, Number(writing.closest("li").dataset.finding));
    if (writing.value !== comment) writing.value = comment;
    return undefined;
  }
  const focused = document.activeElement?.closest?.("#findings button");
  const place = focused && [...byId("findings").querySelectorAll("button")].indexOf(focused);
  drawFindings();
  if (focused) byId("findings").querySelectorAll("button")[place]?.focus();
  return undefined;
}

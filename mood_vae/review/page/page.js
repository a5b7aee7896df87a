"use strict";
const report = JSON.parse(document.getElementById("report").textContent);
const verdicts = makeVerdicts(report);
const caseListeners = [], findingListeners = [], conventionListeners = [];
let open = null, selected = null;

function openCase(id) {
  open = report.cases.find((entry) => entry.id === id) || null;
  selected = open?.findings[0] || null;
  if (open) caseListeners.forEach((callback) => callback(open));
}

function selectFinding(number) {
  selected = open?.findings.find((finding) => finding.number === number) || selected;
  if (open && selected) findingListeners.forEach((callback) => callback(open, selected));
}

window.moodReview = {
  report,
  verdicts,
  current: () => open,
  onCase(callback) { caseListeners.push(callback); if (open) callback(open); },
  onFinding(callback) { findingListeners.push(callback); },
  selectFinding,
  onConvention(callback) { conventionListeners.push(callback); callback(true); },
  viewerPanel: () => document.getElementById("viewer"),
};

for (const entry of report.cases) {
  const button = document.createElement("button");
  button.textContent = `${entry.id} ${entry.score ?? ""}`;
  button.onclick = () => openCase(entry.id);
  document.getElementById("cases").append(button);
}

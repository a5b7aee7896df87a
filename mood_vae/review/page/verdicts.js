const report = JSON.parse(document.getElementById("report").textContent);

// A reader's verdicts: what was said of each finding, kept in the browser unless a server keeps it.

function makeVerdicts(report) {
  const key = `mood-vae-review-${report.id}`;
  const listeners = [];
  let byCase = {};
  let isStored = true; // all of byCase is in the browser's store
  let hasServer = false;

  // What any tab has stored; null where nothing is.
  function read() {
    try {
      const text = localStorage.getItem(key);
      return text && clean(JSON.parse(text));
    } catch {
      return null;
    }
  }

  // Several tabs may show this report: a change goes upon what all have stored, not upon what this one read once.
  const latest = () => (isStored && !hasServer && read()) || byCase;

  function keep() {
    if (hasServer) return;
    try {
      localStorage.setItem(key, JSON.stringify(byCase));
      isStored = true;
    } catch {
      isStored = false;
    }
  }

  // Take only what has the form of verdicts: a stored or imported file may hold anything.
  function clean(all) {
    const found = Object.create(null);
    for (const [caseId, findings] of Object.entries(all && typeof all === "object" ? all : {})) {
      for (const [number, entry] of Object.entries(findings && typeof findings === "object" ? findings : {})) {
        const verdict = ["accept", "reject"].includes(entry?.verdict) ? entry.verdict : null;
        const comment = typeof entry?.comment === "string" ? entry.comment : "";
        if (/^\d+$/.test(number) && (verdict || comment)) {
          (found[caseId] ??= {})[number] = { verdict, comment };
        }
      }
    }
    return found;
  }

  const places = new Map(report.cases.flatMap((entry) =>
    entry.findings.map((finding) => [JSON.stringify([entry.id, finding.number]), String(finding.location_vox)])));

  // The server says where each finding lies: after another prediction, another one may have its number.
  const isElsewhere = (entry) => Boolean(entry?.location_vox)
    && places.get(JSON.stringify([entry.case, entry.finding])) !== String(entry.location_vox);

  function nested(list) {
    const all = Object.create(null);
    for (const entry of list) (all[entry?.case] ??= Object.create(null))[entry?.finding] = entry;
    return all;
  }

  byCase = latest();
  window.addEventListener("storage", (event) => { // another tab has stored something
    if (event.key !== key || hasServer) return;
    byCase = latest();
    listeners.forEach((callback) => callback(null, null, null, true));
  });
  return {
    get(caseId, number) {
      return byCase[caseId]?.[number] || { verdict: null, comment: "" };
    },
    set(caseId, number, entry) {
      const all = latest();
      byCase = clean({ ...all, [caseId]: { ...all[caseId], [number]: entry } });
      keep();
      listeners.forEach((callback) => callback(caseId, Number(number), this.get(caseId, number), isStored));
    },
    all() {
      return JSON.parse(JSON.stringify(byCase));
    },
    load(all) {
      byCase = clean(all);
      keep();
      listeners.forEach((callback) => callback(null, null, null, isStored));
    },
    // A server keeps them from here on: in the browser, the next program at its port could read them.
    leaveToServer() {
      hasServer = true;
      try {
        localStorage.removeItem(key);
      } catch { /* a browser that keeps nothing */ }
    },
    // Take what a file holds for cases of this report, as the page or the server writes it; return how many cases, and
    // how many verdicts were left out, on findings that this report does not have.
    merge(given) {
      const isList = Array.isArray(given);
      const left = isList ? given.filter((entry) => isElsewhere(entry) && (entry.verdict || entry.comment)) : [];
      const added = clean(isList ? nested(given.filter((entry) => !isElsewhere(entry))) : given);
      const here = report.cases.map((entry) => entry.id).filter((id) => id in added);
      const both = { ...latest() };
      for (const id of here) both[id] = { ...both[id], ...added[id] };
      this.load(both);
      return { cases: here.length, leftOut: left.length };
    },
    onChange(callback) {
      listeners.push(callback);
    },
  };
}

const verdicts = makeVerdicts(report);

// A spreadsheet takes a text that begins with one of these for a formula.
function csvText(text) {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function verdictsAsCsv(report, verdicts) {
  const lines = ["case,finding,verdict,comment,score,peak,ml,x_mm,y_mm,z_mm,region"];
  for (const entry of report.cases) {
    for (const finding of entry.findings) {
      const { verdict, comment } = verdicts.get(entry.id, finding.number);
      const numbers = [entry.score ?? "", finding.peak, finding.ml, ...finding.location_mm.map((mm) => mm.toFixed(1))];
      lines.push(
        [csvText(entry.id), finding.number, verdict ?? "", csvText(comment), ...numbers, csvText(finding.region ?? "")]
          .join(","),
      );
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}

function verdictsAsJson(report, verdicts) {
  return `${JSON.stringify({ report: report.id, verdicts: verdicts.all() }, null, 1)}\n`;
}

// Elements and words. Text reaches the page as text alone, never as HTML.

function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "style") Object.entries(value).forEach((pair) => element.style.setProperty(...pair));
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const byId = (id) => document.getElementById(id);
const plural = (count, what) => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;

const asSentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?>]$/.test(text) ? "" : ".");

function ml(volume) {
  if (volume === 0) return "0 mL";
  if (volume < 0.1) return `${volume.toFixed(2)} mL`;
  return `${volume.toFixed(volume < 10 ? 1 : 0)} mL`;
}

function scoreInWords(entry) {
  if (entry.score === null) return "no score";
  return entry.score.toFixed(2);
}

function healthyInWords(entry) {
  if (entry.healthy_share === null) return "";
  const below = Math.round(entry.healthy_share * report.n_healthy);
  if (below === report.n_healthy) return `above all ${report.n_healthy} healthy images`;
  if (below === 0) return `below all ${report.n_healthy} healthy images`;
  return `above ${below} of ${report.n_healthy} healthy images`;
}

// The header's millimetres, which need not begin in the middle of the brain: so no "left" or "right" is made of them.
function place(finding) {
  const [x, y, z] = finding.location_mm.map((mm) => Math.round(mm).toLocaleString("en").replace("-", "−"));
  return el("span", {
    class: "muted place", title: "Millimetres of the file's header: x to the patient's right, y to the front, z up",
  }, `${x}, ${y}, ${z} mm`);
}

// What lies below the threshold, 0.5, is not rounded up to it.
const peakInWords = (finding) => (finding.below_threshold ? Math.min(finding.peak, 0.49) : finding.peak).toFixed(2);

function findingInWords(finding) {
  if (finding.below_threshold) return `highest place, ${peakInWords(finding)}, below the threshold`;
  return `${ml(finding.ml)}, peak ${peakInWords(finding)}`;
}

function say(text) {
  byId("said").textContent = text;
}

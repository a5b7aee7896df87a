// Three planes of a finding, in layers; left and right follow the convention that the reader chose.

const PLANES = [
  { name: "Sagittal", letters: ["A", "P"], across: 1, up: 2, flipped: true },
  { name: "Coronal", letters: ["L", "R"], across: 0, up: 2, mirrors: true },
  { name: "Axial", letters: ["L", "R"], across: 0, up: 1, mirrors: true },
];

// The layers of each row of pictures; those that the finding lacks are left out.
const ROWS = {
  scan: { title: "Scan", layers: ["scan"] },
  reconstruction: { title: "Reconstruction", layers: ["reconstruction"] },
  map: { title: "Map over scan", layers: ["scan", "map", "label", "mask"] },
};

const isRadiological = () => document.documentElement.dataset.convention !== "neurological";

function planes(entry, finding, row, { crosses = false } = {}) {
  const { title, layers } = ROWS[row];
  const files = layers.filter((layer) => finding.images[layer]);
  return PLANES.map((plane, number) => plane && planeFigure(entry, finding, { plane, number, title, files, crosses }));
}

function planeFigure(entry, finding, { plane, number, title, files, crosses }) {
  const mirrored = plane.mirrors && isRadiological();
  const [left, right] = mirrored ? [...plane.letters].reverse() : plane.letters;
  const strips = files.map((layer) =>
    el("img", {
      class: `layer ${layer}`, src: finding.images[layer], alt: "", loading: "lazy", decoding: "async", draggable: false,
      style: { "margin-left": `${-100 * number}%` },
    }));
  const field = el("div", { class: mirrored ? "field mirrored" : "field" }, strips, crosses && ticks(plane, finding));
  return el("div", {
    class: "plane", role: "img",
    "aria-label": `${title}, ${plane.name.toLowerCase()} plane through finding ${finding.number}, ${left} on the left`,
  }, field,
  el("span", { class: "letter west", "aria-hidden": "true" }, left),
  el("span", { class: "letter east", "aria-hidden": "true" }, right));
}

function ticks(plane, finding) {
  const across = plane.flipped ? 1 - finding.cross[plane.across] : finding.cross[plane.across];
  const down = 1 - finding.cross[plane.up];
  const at = { "--across": `${100 * across}%`, "--down": `${100 * down}%` };
  return ["north", "south", "westward", "eastward"].map((side) => el("i", { class: `tick ${side}`, style: at }));
}

function pictureRows(entry, finding) {
  if (!finding.images.scan) {
    return el("p", { class: "notice" }, "No pictures: only the nine highest peaks have some.");
  }
  const rows = ["map", "scan", ...(finding.images.reconstruction ? ["reconstruction"] : [])];
  return el("div", { class: "pictures" },
    el("div", { class: "plane-names", "aria-hidden": "true" }, PLANES.map((plane) => el("span", {}, plane.name))),
    rows.map((row) => el("div", { class: "picture-row" },
      el("h3", {}, ROWS[row].title), el("div", { class: "strip" }, planes(entry, finding, row, { crosses: true })))));
}

// What the colours and lines mean; it goes along into a case's view.
const key = byId("key");

function drawKey() {
  const stops = report.colours.map((colour, i) => `${colour} ${(100 * i) / (report.colours.length - 1)}%`);
  const bar = el("div", { class: "colourbar", role: "img", "aria-label": "Colours of the map, from 0 to 1" },
    el("div", { class: "ramp", style: { background: `linear-gradient(90deg, ${stops.join(", ")})` } }),
    el("div", { class: "scale", "aria-hidden": "true" },
      el("span", {}, "0"), el("span", { class: "half" }, "mask from 0.5"), el("span", {}, "1")));
  const opacity = el("input", { type: "range", min: "0", max: "100", value: "100", id: "opacity" });
  opacity.addEventListener("input", () =>
    document.documentElement.style.setProperty("--map-opacity", opacity.value / 100));
  const hasLabels = report.cases.some((entry) => entry.label_ml !== null);
  key.replaceChildren(...el("div", {},
    el("span", { class: "key-title" }, "Anomaly map"), bar,
    el("span", { class: "line mask" }, "outline of the mask"),
    hasLabels && el("span", { class: "line label" }, "outline of the label"),
    el("label", { class: "opacity" }, "Map ", opacity),
    el("span", { class: "convention-text", id: "convention-text" })).childNodes);
  drawConvention();
}

function drawConvention() {
  key.querySelector("#convention-text").textContent = isRadiological()
    ? "Radiological: the patient's right is on the left of the picture."
    : "Neurological: the patient's right is on the right of the picture.";
}

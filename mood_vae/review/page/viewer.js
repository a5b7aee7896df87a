"use strict";
// The interactive viewer of a case: NiiVue's slices and rendering, with the page's findings and convention.

(() => {
  const review = window.moodReview;
  const { fetchVolume, usualWindow, voxelOf } = window.moodVolumes;
  const { root, control, look } = window.moodForm;
  const namesOfCase = JSON.parse(document.currentScript.dataset.volumes);
  const MASK_LEVEL = 0.5;
  const MASK_COLOUR = "#56b4e9", LABEL_COLOUR = "#009e73"; // as in the page's pictures
  const MAP_COLOURS = "inferno";
  const NOTHING_BELOW_MINIMUM = 2; // NiiVue's colour scale from 0 to the maximum; of volumes, 1 is the translucent one
  const SOFTWARE = /swiftshader|llvmpipe|softpipe|basic render/i;
  const PLANES = 3;
  const AUTO = 0, GRID = 2; // NiiVue's ways to lay out several views

  const [canvas, lines] = root.querySelectorAll("canvas");
  const spot = root.querySelector(".viewer-place"), message = root.querySelector(".viewer-message");

  const nv = new niivue.Niivue(look);

  let shown = null; // {entry, number, image, map, label, reconstruction}
  let turn = 0; // counts the cases that were opened, so that a slow one never replaces a later one

  function say(text) {
    message.textContent = text;
    message.hidden = !text;
  }

  // ---- drawing -----------------------------------------------------------------------------------------------

  function drawOutlines() {
    if (!shown) return;
    const layers = [];
    if (shown.map && control("mask").checked) {
      layers.push({ volume: shown.map, level: threshold(), colour: MASK_COLOUR, dashed: false });
    }
    if (shown.label && control("label").checked) {
      layers.push({ volume: shown.label, level: 0.5, colour: LABEL_COLOUR, dashed: true });
    }
    window.moodOutlines.draw(nv, lines, layers);
  }

  // the page has keys of its own, and so has this viewer: see KEYS
  nv.keyDownListener = nv.keyUpListener = () => {};

  const drawScene = nv.drawScene.bind(nv);
  nv.drawScene = (...args) => {
    const drawn = drawScene(...args);
    drawOutlines();
    return drawn;
  };

  const threshold = () => Math.min(1, Math.max(0.01, Number(control("threshold").value) || MASK_LEVEL));

  function applyMap() {
    if (!shown) return;
    shown.map.cal_min = threshold();
    shown.map.opacity = control("map").checked ? Number(control("opacity").value) : 0;
    root.querySelector(".of-mask span").textContent = `mask (map ≥ ${threshold()})`;
    soon(() => {
      if (shown?.reconstruction || !shown?.map.opacity) return nv.updateGLVolume();
      nv.refreshLayers(shown.map, 1); // the scan below stays as it is, which takes most of the time
      nv.drawScene();
    });
  }

  // Do the last of what was asked for before the next frame: a slider asks faster than a slow machine draws.
  let asked = null;
  function soon(action) {
    if (!asked) requestAnimationFrame(() => { const last = asked; asked = null; last(); });
    asked = action;
  }

  function applyView() {
    const view = control("view").value;
    nv.opts.multiplanarShowRender = view === "all" ? 1 : 0;
    nv.opts.multiplanarLayout = view === "all" ? GRID : AUTO;
    nv.setSliceType(view === "all" ? PLANES : Number(view));
  }

  function background() {
    return control("background").value === "reconstruction" && shown?.reconstruction ? shown.reconstruction : shown?.image;
  }

  function showWindow() {
    const volume = background();
    if (!volume) return;
    control("low").value = Number(volume.cal_min.toPrecision(4));
    control("high").value = Number(volume.cal_max.toPrecision(4));
  }

  // The same for scan and reconstruction, which are compared.
  function setWindow([low, high]) {
    for (const volume of [shown.image, shown.reconstruction]) {
      if (volume) [volume.cal_min, volume.cal_max] = [low, high];
    }
  }

  function applyWindow() {
    const low = Number(control("low").value), high = Number(control("high").value);
    if (!shown || !(high > low)) return;
    setWindow([low, high]);
    nv.updateGLVolume();
  }

  async function applyBackground() {
    if (!shown) return;
    const current = shown;
    const isWanted = () => control("background").value === "reconstruction";
    if (isWanted() && !current.reconstruction) {
      const volume = await fetchVolume(current.number, "reconstruction");
      if (shown !== current || current.reconstruction) return; // another case, or the control was moved twice
      current.reconstruction = volume;
      volume.colorbarVisible = false;
      setWindow([current.image.cal_min, current.image.cal_max]);
      atOnce(() => {
        nv.addVolume(volume);
        nv.setVolume(volume, 1); // over the scan, under the map
      });
    }
    if (current.reconstruction) current.reconstruction.opacity = isWanted() ? 1 : 0;
    nv.updateGLVolume();
    showWindow();
  }

  // ---- where it stands ---------------------------------------------------------------------------------------

  const panel = review.viewerPanel();
  const home = panel.parentElement;
  panel.replaceChildren(root);
  panel.hidden = false;

  // Beside the case's findings, in place of their pictures; the page draws that anew whenever it likes.
  function place() {
    const pictures = document.getElementById("case-pictures");
    if (pictures && pictures.previousElementSibling !== panel) pictures.before(panel);
    home.classList.toggle("with-viewer", root.dataset.state !== "failed");
  }
  new MutationObserver(place).observe(document.getElementById("case"), { childList: true, subtree: true });

  // ---- loading -----------------------------------------------------------------------------------------------

  async function open(entry) {
    const mine = ++turn;
    last = null;
    place();
    shown = null;
    root.dataset.state = "loading";
    place();
    say(`Loading ${entry.id} …`);
    try {
      await attached();
      const number = review.report.cases.findIndex((other) => other.id === entry.id);
      const names = namesOfCase[number];
      const [image, map, label] = await Promise.all([
        fetchVolume(number, "image", { colormap: "gray" }),
        fetchVolume(number, "map", { colormap: MAP_COLOURS, cal_min: MASK_LEVEL, cal_max: 1 }),
        names.includes("label") ? fetchVolume(number, "label") : null,
      ]);
      if (mine !== turn) return;
      image.colorbarVisible = false;
      image.usual = usualWindow(image, map);
      [image.cal_min, image.cal_max] = image.usual;
      map.colormapType = NOTHING_BELOW_MINIMUM;
      map.cal_min = threshold();
      map.cal_max = 1;
      atOnce(() => {
        for (const old of [...nv.volumes]) nv.removeVolume(old);
        nv.addVolume(image);
        nv.addVolume(map);
      });
      shown = { entry, number, image, map, label };
      root.querySelector(".of-label").hidden = !label;
      control("background").value = "image";
      control("background").parentElement.hidden = !names.includes("reconstruction");
      say("");
      showWindow();
      root.dataset.state = "ready";
      applyMap();
      goTo(selected(entry));
    } catch (error) {
      if (mine !== turn) return;
      root.dataset.state = "failed";
      place();
      say(`The viewer cannot show this case: ${error.message || error}`);
    }
  }

  // Change several volumes and build the picture once: NiiVue builds it after each, which a slow machine feels.
  function atOnce(change) {
    const build = nv.updateGLVolume;
    nv.updateGLVolume = () => {};
    try {
      change();
    } finally {
      nv.updateGLVolume = build;
    }
    nv.updateGLVolume();
  }

  let attaching = null;
  async function attached() {
    if (!document.createElement("canvas").getContext("webgl2")) {
      throw new Error("this browser has no WebGL2; switch its hardware acceleration on");
    }
    attaching ??= nv.attachToCanvas(canvas).then(() => {
      const renderer = nv.gl.getExtension("WEBGL_debug_renderer_info");
      if (SOFTWARE.test(renderer ? nv.gl.getParameter(renderer.UNMASKED_RENDERER_WEBGL) : "")) {
        control("view").value = PLANES;
        applyView();
        root.querySelector(".viewer-slow").hidden = false;
      }
    });
    return attaching;
  }

  // ---- findings ----------------------------------------------------------------------------------------------

  let last = null; // the finding that the reader chose last: [case, number]

  const selected = (entry) => entry.findings.find(({ number }) => last?.[0] === entry.id && last[1] === number) || entry.findings[0];

  function goTo(finding) {
    if (!finding || !shown) return;
    last = [shown.entry.id, finding.number];
    nv.scene.crosshairPos = nv.mm2frac(finding.location_mm, 0, true);
    nv.createOnLocationChange();
    nv.drawScene();
  }

  // The page says nothing where the finding was selected already; the crosshair may be elsewhere.
  function choose(finding) {
    review.selectFinding(finding.number);
    goTo(finding);
  }

  function step(by) {
    const { findings } = shown.entry;
    const at = findings.findIndex(({ number }) => number === last?.[1]);
    const next = findings[(at + by + findings.length) % findings.length];
    if (next) choose(next);
  }

  // ---- the place under the crosshair -------------------------------------------------------------------------

  nv.onLocationChange = ({ mm, values }) => {
    if (!shown) return;
    const voxel = voxelOf(shown.image.hdr.affine, mm);
    const value = (volume) => values.find(({ id }) => id === volume?.id)?.value;
    const numbers = [...mm].slice(0, 3).map((x) => x.toFixed(1));
    const parts = [`x ${numbers[0]}  y ${numbers[1]}  z ${numbers[2]} mm`, `voxel ${voxel.join(", ")}`];
    parts.push(`scan ${short(value(shown.image))}`, `map ${short(value(shown.map))}`);
    spot.textContent = parts.join("   ·   ");
    spot.dataset.mm = JSON.stringify(numbers.map(Number));
    spot.dataset.voxel = JSON.stringify(voxel);
    spot.dataset.map = value(shown.map);
  };

  const short = (value) => (value === undefined ? "–" : String(Number(value.toPrecision(4))));

  // ---- controls ----------------------------------------------------------------------------------------------

  control("threshold").addEventListener("input", () => {
    control("threshold-slider").value = threshold();
    applyMap();
  });
  control("threshold-slider").addEventListener("input", () => {
    control("threshold").value = control("threshold-slider").value;
    applyMap();
  });
  for (const name of ["opacity", "map"]) control(name).addEventListener("input", applyMap);
  for (const name of ["mask", "label"]) control(name).addEventListener("input", () => nv.drawScene());
  control("crosshair").addEventListener("input", () => {
    nv.opts.crosshairWidth = control("crosshair").checked ? look.crosshairWidth : 0;
    nv.drawScene();
  });
  for (const name of ["low", "high"]) control(name).addEventListener("change", applyWindow);
  control("view").addEventListener("input", applyView);
  control("background").addEventListener("input", () => applyBackground().catch((error) => say(error.message)));
  nv.onIntensityChange = showWindow;

  control("reset").addEventListener("click", () => {
    control("threshold").value = control("threshold-slider").value = MASK_LEVEL;
    control("opacity").value = 0.6;
    for (const name of ["map", "mask", "label"]) control(name).checked = true;
    if (shown) setWindow(shown.image.usual);
    nv.setPan2Dxyzmm([0, 0, 0, 1]);
    applyMap();
    nv.updateGLVolume();
    showWindow();
  });

  // All that lies over the scan, at the page's key; KEYS have the map and the outlines apart.
  function hideOrShow() {
    const isOn = !control("map").checked;
    for (const name of ["map", "mask", "label"]) control(name).checked = isOn;
    applyMap();
  }

  const toggle = (name) => () => control(name).click();
  const KEYS = {
    ArrowLeft: () => move(-1, 0, 0), ArrowRight: () => move(1, 0, 0), ArrowUp: () => move(0, 1, 0),
    ArrowDown: () => move(0, -1, 0), PageUp: () => move(0, 0, 1), PageDown: () => move(0, 0, -1),
    n: () => step(1), p: () => step(-1), m: toggle("map"),
    o: () => { control("mask").click(); if (shown.label) control("label").checked = control("mask").checked; nv.drawScene(); },
    v: () => {
      const view = control("view");
      view.selectedIndex = (view.selectedIndex + 1) % view.options.length;
      view.dispatchEvent(new Event("input"));
    },
  };

  // Left on the screen is left on the screen, whatever the convention.
  function move(x, y, z) {
    nv.moveCrosshairInVox(nv.opts.isRadiologicalConvention ? -x : x, y, z);
  }

  canvas.addEventListener("keydown", (event) => {
    const action = KEYS[event.key];
    if (!action || !shown || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }, { capture: true });

  function setConvention(isRadiological) {
    nv.opts.isRadiologicalConvention = isRadiological;
    if (shown) nv.drawScene();
  }
  review.onConvention(setConvention);
  document.addEventListener("click", (event) => { // also of a finding that was selected before
    const number = Number(event.target.closest?.("#findings .pick")?.closest("[data-finding]")?.dataset.finding);
    const finding = shown?.entry.findings.find((one) => one.number === number);
    if (finding) goTo(finding);
  }, { capture: true });
  review.onCase(open);
  review.onFinding((entry, finding) => {
    last = [entry.id, finding.number];
    if (shown?.entry.id === entry.id) goTo(finding);
  });
  window.moodViewer = { nv, setConvention, hideOrShow };
})();

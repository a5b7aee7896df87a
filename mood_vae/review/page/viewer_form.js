"use strict";
// The viewer's element: its controls, its two canvases, and what it says.

(() => {
  const root = document.createElement("section");
  root.className = "viewer-body";
  root.setAttribute("aria-label", "Viewer");
  root.innerHTML = `
    <div class="viewer-bar">
      <label>View <select name="view">
        <option value="all">Planes and 3-D</option><option value="3">Planes</option><option value="0">Axial</option>
        <option value="1">Coronal</option><option value="2">Sagittal</option><option value="4">3-D</option>
      </select></label>
      <label>Background <select name="background">
        <option value="image">Scan</option><option value="reconstruction">Reconstruction</option>
      </select></label>
      <fieldset><legend>Map</legend>
        <label><input type="checkbox" name="map" checked> show</label>
        <label>from <input type="number" name="threshold" min="0.01" max="1" step="0.01" value="0.5"></label>
        <input type="range" name="threshold-slider" min="0.01" max="1" step="0.01" value="0.5" aria-label="Threshold">
        <label>opacity <input type="range" name="opacity" min="0" max="1" step="0.05" value="0.6"></label>
      </fieldset>
      <fieldset><legend>Outlines</legend>
        <label class="of-mask"><input type="checkbox" name="mask" checked> <span>mask</span></label>
        <label class="of-label"><input type="checkbox" name="label" checked> <span>label</span></label>
      </fieldset>
      <label><input type="checkbox" name="crosshair" checked> crosshair</label>
      <fieldset><legend>Window</legend>
        <label>from <input type="number" name="low" step="any"></label>
        <label>to <input type="number" name="high" step="any"></label>
      </fieldset>
      <button type="button" name="reset">Reset</button>
    </div>
    <div class="viewer-stage"><canvas class="viewer-gl" tabindex="0"></canvas><canvas class="viewer-lines"></canvas></div>
    <output class="viewer-place"></output>
    <p class="viewer-message" role="status" hidden></p>
    <p class="viewer-slow" hidden>This browser draws without a graphics card, so 3-D is off. It is slow, but there: choose
      it under View.</p>
    <details class="viewer-help"><summary>Mouse and keys</summary>
      <p>Click or drag: move the crosshair. Wheel: next slice. Right button and drag: window. Drag in the 3-D view: turn it.
      Keys, once the picture has been clicked: arrows and Page Up, Page Down move the crosshair by a voxel; n and p go to
      the next and previous finding; m shows or hides the map, o the outlines; v changes the view.</p></details>`;

  // NiiVue's options: https://niivue.com/docs
  const look = {
    logLevel: "error",
    loadingText: "",
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.9, 0.6, 0, 0.8],
    crosshairWidth: 1,
    crosshairWidthUnit: "mm",
    crosshairGap: 4,
    fontColor: [1, 1, 1, 1],
    showAllOrientationMarkers: true,
    isOrientCube: true,
    isColorbar: true,
    multiplanarShowRender: 1,
    multiplanarLayout: 2,
    colorbarHeight: 0.025,
    tileMargin: 20,
    dragAndDropEnabled: false,
    drawingEnabled: false,
    isRadiologicalConvention: true,
    clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "",
    viewModeHotKey: "",
  };

  window.moodForm = {
    root,
    look,
    control: (name) => root.querySelector(`[name="${name}"]`),
  };
})();

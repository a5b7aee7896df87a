"use strict";
// Outlines of masks over NiiVue's slices, drawn as lines of one width whatever the zoom: NiiVue itself only fills.

(() => {
  // Of the axes x, y, z (RAS): the two in the plane and the one across it, by NiiVue's number of the plane.
  const PLANES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]]; // axial, coronal, sagittal
  const WIDTH_PX = 1.6;

  // Return what tells whether a volume's voxel, in RAS order, is at least `level`.
  function insideOf(volume, level) {
    const { img, img2RASstart: start, img2RASstep: step, hdr } = volume;
    const least = (level - hdr.scl_inter) / hdr.scl_slope;
    const first = start[0] + start[1] + start[2];
    return (x, y, z) => img[first + x * step[0] + y * step[1] + z * step[2]] >= least;
  }

  // Return the edges between inside and outside in one slice, in units of voxels; of a dashed line two of three.
  function edges({ volume, level, dashed }, [u, v, across], slice) {
    const inside = insideOf(volume, level);
    const size = [1, 2, 3].map((axis) => volume.dimsRAS[axis]);
    const path = new Path2D();
    const at = [0, 0, 0];
    at[across] = slice;
    const is = (a, b) => {
      if (a < 0 || b < 0 || a >= size[u] || b >= size[v]) return false;
      at[u] = a;
      at[v] = b;
      return inside(at[0], at[1], at[2]);
    };
    for (let b = 0; b <= size[v]; b++) {
      for (let a = 0; a <= size[u]; a++) {
        const here = is(a, b);
        if (dashed && (a + b) % 3 === 0) continue;
        if (here !== is(a - 1, b)) { path.moveTo(a, b); path.lineTo(a, b + 1); }
        if (here !== is(a, b - 1)) { path.moveTo(a, b); path.lineTo(a + 1, b); }
      }
    }
    return path;
  }

  // Return where a place, as shares of the volume along x, y, z, lies in a tile of the canvas.
  function toCanvas(nv, tile, [u, v], share) {
    const mm = nv.frac2mm(share);
    const [left, top, width, height] = tile.leftTopWidthHeight; // a mirrored tile has a negative width
    return [
      left + (width < 0 ? width : 0) + Math.abs(width) * mirrored((mm[u] - tile.leftTopMM[0]) / tile.fovMM[0], width),
      top + height * (1 - (mm[v] - tile.leftTopMM[1]) / tile.fovMM[1]),
    ];
  }

  const mirrored = (share, width) => (width < 0 ? 1 - share : share);

  // Return the matrix from voxels in a plane to the canvas.
  function matrix(nv, tile, plane, size, position) {
    const place = (a, b) => {
      const share = [...position];
      share[plane[0]] = a;
      share[plane[1]] = b;
      return toCanvas(nv, tile, plane, share);
    };
    const origin = place(0, 0), right = place(1, 0), up = place(0, 1);
    const [nu, nv_] = [size[plane[0]], size[plane[1]]];
    return new DOMMatrix([
      (right[0] - origin[0]) / nu, (right[1] - origin[1]) / nu,
      (up[0] - origin[0]) / nv_, (up[1] - origin[1]) / nv_, origin[0], origin[1],
    ]);
  }

  // Draw outlines over what NiiVue has just drawn. Each layer: {volume, level, colour, dashed}.
  function draw(nv, canvas, layers) {
    const source = nv.canvas;
    if (canvas.width !== source.width || canvas.height !== source.height) {
      canvas.width = source.width;
      canvas.height = source.height;
    }
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const ratio = nv.uiData.dpr || 1;
    for (const tile of nv.screenSlices) {
      const plane = PLANES[tile.axCorSag];
      if (!plane || !(tile.fovMM?.length > 1)) continue;
      const [left, top, width, height] = tile.leftTopWidthHeight;
      context.save();
      context.beginPath();
      context.rect(left, top, width, height);
      context.clip();
      for (const layer of layers) {
        const { volume, colour } = layer;
        const size = [1, 2, 3].map((axis) => volume.dimsRAS[axis]);
        const position = [...nv.scene.crosshairPos];
        const slice = Math.min(size[plane[2]] - 1, Math.max(0, Math.floor(position[plane[2]] * size[plane[2]])));
        const path = new Path2D();
        path.addPath(edges(layer, plane, slice), matrix(nv, tile, plane, size, position));
        context.strokeStyle = colour;
        context.lineWidth = WIDTH_PX * ratio;
        context.stroke(path);
      }
      context.restore();
    }
  }

  window.moodOutlines = { draw };
})();

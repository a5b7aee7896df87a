"use strict";
// Volumes: from the server, and what of them is shown and said.

(() => {
  async function fetchVolume(number, name, options = {}) {
    const url = `volumes/${number}/${name}.nii.gz`;
    try {
      return await niivue.NVImage.loadFromUrl({ url, name: `${name}.nii.gz`, ...options });
    } catch (error) {
      const answer = await fetch(url); // NiiVue does not say what the server said
      throw new Error(answer.ok ? `the ${name} cannot be shown: ${error.message || error}` : (await answer.text()).trim());
    }
  }

  // Black and white, as in the page's pictures: of nearly all of the air, and of nearly all that was searched.
  function usualWindow(image, map) {
    const every = Math.max(1, Math.floor(image.img.length / 200_000));
    const all = [], searched = [];
    for (let at = 0; at < image.img.length; at += every) {
      all.push(image.img[at]);
      if (map.img.length === image.img.length && map.img[at] > 0) searched.push(image.img[at]);
    }
    const value = (values, share) =>
      values.sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] * image.hdr.scl_slope + image.hdr.scl_inter;
    const low = value(all, 0.005), high = value(searched.length ? searched : all, 0.997);
    return [low, Math.max(high, low + 1e-6)];
  }

  // Return the voxel of a place, in the file's own order: the affine's inverse, by Cramer's rule.
  function voxelOf(affine, mm) {
    const column = (j) => [affine[0][j], affine[1][j], affine[2][j]];
    const right = [0, 1, 2].map((i) => mm[i] - affine[i][3]);
    const det = ([a, b, c], [d, e, f], [g, h, i]) => a * (e * i - f * h) - d * (b * i - c * h) + g * (b * f - c * e);
    const columns = [column(0), column(1), column(2)];
    return [0, 1, 2].map((j) => Math.round(det(...columns.map((own, i) => (i === j ? right : own))) / det(...columns)));
  }

  window.moodVolumes = { fetchVolume, usualWindow, voxelOf };
})();

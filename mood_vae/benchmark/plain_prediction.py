"""A plain prediction with the networks of a checkpoint, to compare ours with, in the style of the challenge's examples.

nibabel's `get_fdata` in float64, scipy, slices in batches of 16, float32 networks as they are, one pass for the map and
another for the score, `nib.save`. The method is the same, and so is the map but for its rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, special
from torch import Tensor

from mood_vae.detection import postprocessing
from mood_vae.detection.anomaly_map import MAX_PROBABILITY, full_size
from mood_vae.detection.checkpoint import NORMATIVE, Checkpoint, fill
from mood_vae.imaging import foreground
from mood_vae.imaging.preprocessing import GridConfig, intensity_range
from mood_vae.imaging.resampling import LEAST_SHARE
from mood_vae.io.volume import Affine, Array, Mask
from mood_vae.models.discriminator import BACKGROUND_LOGIT, Discriminator
from mood_vae.models.discriminator_inputs import BrainView
from mood_vae.models.vae import Vae

BATCH = 16


def plain_brain(stored: npt.NDArray[np.float64], affine: Affine, grid: GridConfig) -> tuple[Array, Mask, Affine]:
    """Return an aligned brain (I, J, K) on a grid, slices first, its mask there, and the way from the grid to it."""
    to_native = np.linalg.inv(affine) @ grid.affine
    sigma = 0.5 * np.sqrt(np.maximum(np.linalg.norm(to_native[:3, :3], axis=1) ** 2 - 1, 0))
    x, inside = (
        ndimage.affine_transform(
            ndimage.gaussian_filter(part, sigma, truncate=3), to_native, output_shape=grid.shape, order=1
        ).transpose(2, 0, 1)
        for part in (stored, (stored > 0).astype(np.float64))
    )
    low, top = intensity_range(x[inside >= 0.5], grid)
    mask: Mask = ndimage.binary_fill_holes(inside >= 0.5)
    scaled = np.ascontiguousarray(np.where(mask, np.clip((x - low) / (top - low), 0, 1), 0), np.float32)
    return scaled, mask, to_native


class PlainPrediction:
    """Predicts an aligned brain whose background is 0, with discriminators on the VAE of slices of a checkpoint."""

    def __init__(self, trained: Checkpoint) -> None:
        self._description, self._config = trained.description, trained.description.detector
        self._vae = Vae(self._config.vae).eval()
        fill(self._vae, trained.tensors, "vae")
        self._discriminators = [Discriminator(config).eval() for config in self._config.discriminators]
        for number, discriminator in enumerate(self._discriminators):
            fill(discriminator, trained.tensors, f"discriminator.{number}")
        self._normative_CKHW = full_size(trained.tensors[NORMATIVE], self._config.grid.shape)

    def predict(self, path: Path, map_path: Path, score_path: Path) -> None:
        """Write the map of a volume, then, in a second pass, its score."""
        self._write_map(path, map_path)
        raw_map, search_mask, native_mask, _, image = self._raw_map(path)
        score = postprocessing.top_k_mean(raw_map, search_mask, self._config.aggregation)
        score = float(postprocessing.normalise_score(score, self._description.calibration.score_reference))
        if self._config.flat_regions:
            score = max(score, float(postprocessing.flat_map(image.get_fdata(), native_mask).max()))
        score_path.write_text(f"{score}\n")

    def _write_map(self, path: Path, map_path: Path) -> None:
        raw_map, search_mask, native_mask, to_native, image = self._raw_map(path)
        config, threshold = self._config.postprocessing, self._description.calibration.threshold
        pooled = postprocessing.neighbourhood_pool(raw_map, config)
        mask = postprocessing.binary_mask(pooled, threshold, search_mask, config)
        if config.wide_pooling_vox:
            values = postprocessing.widely_ranked_map(raw_map, pooled, threshold, mask, search_mask, config)
        else:
            values = postprocessing.calibrated_map(pooled, threshold, mask, search_mask)
        to_grid = np.linalg.inv(to_native)
        found, share = (
            ndimage.affine_transform(part.transpose(1, 2, 0), to_grid, output_shape=image.shape, order=1)
            for part in (np.where(search_mask, values, 0), search_mask.astype(np.float64))
        )
        there = native_mask & (share > LEAST_SHARE)
        native = np.divide(found, share, out=np.zeros(image.shape, np.float32), where=there)
        anomaly_map = postprocessing.to_float16_values(native)
        if self._config.flat_regions:
            flat = postprocessing.flat_map(image.get_fdata(), native_mask)
            anomaly_map = np.maximum(anomaly_map, postprocessing.to_float16_values(flat))
        nib.save(nib.Nifti1Image(anomaly_map, image.affine), map_path)

    def _raw_map(self, path: Path) -> tuple[Array, Mask, Mask, Affine, Any]:
        """Return the raw map and the search mask, (K, H, W), that mask as stored, the way there, and the file."""
        image: Any = nib.load(path)
        stored: Any = image.get_fdata()
        scaled, mask, to_native = plain_brain(stored, image.affine, self._config.grid)
        search_mask = foreground.fill_between(mask)
        raw_map = self._one_way(scaled, search_mask)
        if self._config.mirroring:
            mirrored_map = self._one_way(scaled[:, ::-1].copy(), search_mask[:, ::-1].copy())
            raw_map = np.mean([raw_map, mirrored_map[:, ::-1]], axis=0, dtype=np.float32)
        native_mask = foreground.fill_between(ndimage.binary_fill_holes(stored > 0))
        return raw_map, search_mask, native_mask, to_native, image

    @torch.no_grad()
    def _one_way(self, x: Array, search_mask: Mask) -> Array:
        x_KHW, search_KHW = torch.from_numpy(x), torch.from_numpy(search_mask.astype(np.float32))
        x_hat_KHW = torch.cat([self._vae(x_BHW[:, None]).x_hat_BCHW[:, 0] for x_BHW in x_KHW.split(BATCH)])
        view = BrainView(
            x_KHW=x_KHW,
            ks=torch.arange(len(x_KHW)),
            search_BHW=search_KHW,
            x_hat_BHW=x_hat_KHW * search_KHW.amax((1, 2), keepdim=True),
            normative_BCHW=self._normative_CKHW.transpose(0, 1),
        )
        logits: list[Tensor] = []
        total = np.zeros_like(x)
        weights = sum(config.ensemble_weight for config in self._config.discriminators)
        for discriminator in self._discriminators:
            batch = len(x_KHW) if discriminator.volumetric else BATCH
            parts = [discriminator(discriminator.inputs(view, ks, logits)) for ks in view.ks.split(batch)]
            shown = search_KHW.amax((1, 2), keepdim=True) > 0
            logits.append(torch.where(shown, torch.cat(parts), BACKGROUND_LOGIT))
            probability = special.expit(logits[-1].numpy())
            if self._config.residual.gaussian_vox:
                probability = ndimage.gaussian_filter(
                    np.where(search_mask, probability, 0), self._config.residual.gaussian_vox
                )
            probability = np.where(search_mask, probability, 0).clip(0, MAX_PROBABILITY)
            total -= np.float32(discriminator.config.ensemble_weight / weights) * np.log1p(-probability)
        return total

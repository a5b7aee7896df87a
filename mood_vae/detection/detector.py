"""A volume in, its anomaly map and score out: the one path that both containers and all commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from mood_vae.detection import postprocessing, reconstruction, residual
from mood_vae.detection.checkpoint import Checkpoint
from mood_vae.errors import CheckpointError
from mood_vae.imaging import foreground, preprocessing, slices
from mood_vae.imaging.preprocessing import Prepared
from mood_vae.io.volume import Array, Mask, Volume
from mood_vae.models.discriminator import Head, judge
from mood_vae.models.discriminator_inputs import View
from mood_vae.models.vae import Vae

CERTAIN = 1 - 1e-6  # a probability of 1 would be infinite evidence


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found in a volume.

    map: (I, J, K) float32 on the volume's own grid, in [0, 1), 0 outside the head; `map >= 0.5` is the mask, and every
        value is one that float16 holds.
    score: in [0, 1), higher is more abnormal.
    location_vox, location_mm: the map's maximum, in voxels ijk and in RAS+ mm; None where the map is 0.
    """

    map: Array
    score: float
    location_vox: tuple[int, int, int] | None
    location_mm: tuple[float, float, float] | None


class Detector(Protocol):
    """Anything that finds anomalies in a volume."""

    def detect(self, volume: Volume) -> Detection:
        """Return the volume's map and score."""


class VaeDetector:
    """Input minus reconstruction by a trained VAE, in the steps that its checkpoint describes."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.description = described = checkpoint.description
        self._device = device
        self._vae = Vae(described.model)
        checkpoint.fill(self._vae, "vae")
        self._vae.eval().to(device)
        self._heads = [Head(config) for config in described.heads]
        for number, head in enumerate(self._heads):
            checkpoint.fill(head, f"head.{number}")
            head.eval().to(device)
        if self._heads or described.residual.standardised:
            usual_CKHW = checkpoint.tensors.get("usual_CKHW", torch.zeros(0))
            needed = max((config.usual_channels for config in described.heads), default=1)
            if len(usual_CKHW) < needed:
                raise CheckpointError(
                    expected=f"the tensor usual_CKHW, of {needed} channels", found=f"shape {list(usual_CKHW.shape)}",
                    remedy="use the checkpoint that the training wrote",
                )  # fmt: skip
            self._usual_CKHW = full_size(usual_CKHW, described.grid.shape).to(device)

    def detect(self, volume: Volume) -> Detection:
        """Return the map and the score of one volume; all 0 where it shows no head."""
        described = self.description
        prepared = preprocessing.prepare(volume, described.grid)
        evidence = self.evidence(prepared, self.reconstruct(prepared))
        pooled = postprocessing.pool(evidence, described.postprocess)
        mask = self.binary_mask(pooled, prepared)
        region = self.region(prepared)
        values = postprocessing.to_map(pooled, described.threshold, mask, region)
        native = postprocessing.to_float16_values(preprocessing.undo(values, region, prepared, volume.array.shape))
        inside = foreground.fill(foreground.foreground_mask(volume.array))
        # the surface, exactly, on the volume's own grid
        native[~(foreground.span(inside) if self._heads else inside)] = 0
        top = postprocessing.top_mean(evidence, region, described.aggregate)
        return detection(native, float(postprocessing.relative(top, described.score_reference)), volume)

    def region(self, prepared: Prepared) -> Mask:
        """Return where anomalies are looked for: in the head and, by a trained eye, also in gaps that it may have."""
        return prepared.reach if self._heads else prepared.mask

    def binary_mask(self, pooled: Array, prepared: Prepared) -> Mask:
        """Return where pooled evidence (I, J, K) speaks for an anomaly, on the model's grid."""
        described = self.description
        return postprocessing.binary_mask(pooled, described.threshold, self.region(prepared), described.postprocess)

    def evidence(self, prepared: Prepared, x_hat: Array) -> Array:
        """Return the evidence against health of a prepared brain, (I, J, K) float32 on the model's grid, at least 0.

        x_hat: its reconstruction. The evidence is the residual or, with heads, the weighted mean of their -log(1 - p)
        for their probabilities p of an anomaly, in nats; with mirroring, the mean of the brain's and of its mirror
        image's.
        """
        found = self._evidence(prepared, x_hat)
        if not self.description.mirroring:
            return found
        image = preprocessing.mirrored(prepared)
        return np.mean([found, self._evidence(image, self.reconstruct(image))[::-1]], axis=0, dtype=np.float32)

    def _evidence(self, prepared: Prepared, x_hat: Array) -> Array:
        """Return the evidence of a brain as it lies."""
        config, region = self.description.residual, self.region(prepared)
        if not self._heads:
            found = residual.residual(prepared.array, x_hat, config.kind)
            if config.standardised:
                found = found / slices.join(self._usual_CKHW[0][:, None].cpu().numpy())
            if config.kl_gradient:
                found = found * reconstruction.kl_gradient(self._vae, prepared.array, prepared.reach)
            return residual.clean(found, region, config)
        total, weights = np.zeros_like(prepared.array), [head.config.weight for head in self._heads]
        for probability, weight in zip(self.judge(prepared, x_hat), weights, strict=True):
            if not weight:  # only shown to others
                continue
            nats = -np.log1p(-residual.clean(probability, region, config).clip(0, CERTAIN))
            total += np.float32(weight / sum(weights)) * nats
        return total

    @torch.inference_mode()
    def judge(self, prepared: Prepared, x_hat: Array) -> list[Array]:
        """Return each head's probability of an anomaly, (I, J, K) float32; next to 0 where a slice shows no head."""
        x_KHW, x_hat_KHW, reach_KHW = (
            torch.from_numpy(slices.split(array)[:, 0]).to(self._device)
            for array in (prepared.array, x_hat, prepared.reach.astype(np.float32))
        )
        view = View(
            x_KHW=x_KHW,
            ks=torch.arange(len(x_KHW), device=self._device),
            reach_BHW=reach_KHW,
            x_hat_BHW=x_hat_KHW,
            usual_BCHW=self._usual_CKHW.transpose(0, 1),
        )
        # torch's own sigmoid has another last digit where one thread's share ends
        return [slices.join(special.expit(found_BHW[:, None].cpu().numpy())) for found_BHW in judge(self._heads, view)]

    def reconstruct(self, prepared: Prepared) -> Array:
        """Return the reconstruction, see `reconstruct.reconstruct`."""
        return reconstruction.reconstruct(self._vae, prepared.array, prepared.reach)


def full_size(usual_CKHW: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return what is usual, stored at a coarser size, on a grid of `shape` (I, J, K): (C, K, I, J) float32."""
    size = (shape[2], shape[0], shape[1])
    return functional.interpolate(usual_CKHW.float()[None], size, mode="trilinear")[0]


def detection(native: Array, score: float, volume: Volume) -> Detection:
    """Return a finished map and score together with where the map is highest."""
    location = postprocessing.location_of_maximum(native, volume.affine)
    vox, mm = location if location is not None else (None, None)
    return Detection(map=native, score=score, location_vox=vox, location_mm=mm)

"""A detector for raw scans: it prepares each, detects on the brain, and brings the map back onto the scan's grid."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np

from mood_vae.detection.detector import Detection, Detector
from mood_vae.detection.postprocessing import to_float16_values
from mood_vae.imaging.preprocessing import in_units_of
from mood_vae.io.volume import Mask, Volume
from mood_vae.preparation.config import PreparationConfig
from mood_vae.preparation.scan import PreparedScan, prepare_scan

log = logging.getLogger(__name__)

MaskOf = Callable[[Volume], Mask | None]
"""The user's own brain mask of a scan; None where there is none."""


class PreparingDetector:
    """Detects on a scan's brain in the challenge's form, whatever form the scan has.

    Args:
        detector: Takes the prepared brains.
        config: What to leave out.
        mask_of: Gives the user's own brain masks, if there are any.
    """

    def __init__(
        self, detector: Detector, config: PreparationConfig | None = None, *, mask_of: MaskOf = lambda volume: None
    ) -> None:
        self.detector, self.config, self.mask_of = detector, config or PreparationConfig(), mask_of

    def detect(self, volume: Volume) -> Detection:
        """Return the map and the score of one scan, the map on the scan's own grid, 0 outside its brain.

        Raises:
            VolumeError: No brain is found.
        """
        scan = prepare_scan(volume, self.config, mask=self.mask_of(volume))
        for step in scan.steps:
            log.info("%r: %s %s (%s), %.1f s", volume.case_id, step.step, step.outcome, step.detail, step.seconds)
        return self.detect_prepared(volume, scan)

    def detect_prepared(self, volume: Volume, scan: PreparedScan) -> Detection:
        """Return the map and the score of one scan, given what its preparation gave."""
        found = self.detector.detect(scan.volume)
        if scan.is_untouched:
            return dataclasses.replace(found, warnings=(*scan.warnings, *found.warnings))
        anomaly_map = to_float16_values(scan.onto_scan(found.anomaly_map))
        reconstruction = found.reconstruction
        if reconstruction is not None:
            brain = scan.onto_scan(scan.volume.array)
            inside = brain > 0
            reconstruction = in_units_of(scan.onto_scan(reconstruction), brain, volume.array, inside)
            reconstruction = np.where(inside, reconstruction, np.float32(0))
        return Detection.of(
            np.ascontiguousarray(anomaly_map),
            found.anomaly_score,
            volume,
            warnings=(*scan.warnings, *found.warnings),
            healthy_scores=found.healthy_scores,
            reconstruction=reconstruction,
        )

"""Regions of one exact intensity, which no scanner produces: a detector that needs no training."""

from __future__ import annotations

from mood_vae.detection.detector import Detection
from mood_vae.detection.postprocessing import flat_map, to_float16_values
from mood_vae.imaging.foreground import body_mask
from mood_vae.io.volume import Volume


class FlatRegionDetector:
    """Compares a volume with nothing but itself; for regions without trained weights, such as the abdomen."""

    def detect(self, volume: Volume) -> Detection:
        """Return a map that rises with the size of each flat region, and the score of the largest one."""
        found = flat_map(volume.array, body_mask(volume.array))
        return Detection.of(to_float16_values(found), float(found.max(initial=0)), volume)

"""What the preparation of a scan may be told to leave out, and how it finds the brain."""

from __future__ import annotations

from typing import Literal, get_args

from mood_vae.config import Config

Step = Literal["extraction", "bias", "alignment", "intensity"]
"""What is done to a scan, in this order: the skull is stripped, the bias field removed, the brain brought into MNI
position by a rigid motion, and the intensities scaled to [0, 1]."""

STEPS: tuple[Step, ...] = get_args(Step)

Extraction = Literal["auto", "deepbet", "registration"]
"""How a brain is found: by the network of deepbet, by registration of the template's brain mask, or by the former
where it is installed."""


class PreparationConfig(Config):
    """How a scan is prepared.

    Attributes:
        skip: The steps that are left out.
        extraction: How the brain is found where no mask is given.
    """

    skip: tuple[Step, ...] = ()
    extraction: Extraction = "auto"

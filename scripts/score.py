"""Score a folder of predictions: the same as `mood-vae score`, for a checkout that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mood_vae.cli import main

if __name__ == "__main__":
    main(["score", *sys.argv[1:]], prog_name="scripts/score.py")

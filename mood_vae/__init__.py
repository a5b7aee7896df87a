"""mood_vae learns healthy brains and points at the rest."""

from mood_vae.version import __version__

__all__ = ["__version__"]

"""mood_vae learns healthy brains and points at the rest."""

__version__ = "0.1.0"

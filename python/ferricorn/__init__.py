"""A prefork application server: Gunicorn's process model, settings and signals with a Rust engine."""

from ._core import __version__

__all__ = ["__version__"]

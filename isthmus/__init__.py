"""Isthmus: what every party shares, and what a department system installs."""

__version__ = "0.1.0"

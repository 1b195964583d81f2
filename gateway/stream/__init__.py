"""Streams: a whole dataset, or a filtered part of it, handed on chunk by chunk (DESIGN section 6)."""

"""Timestamps of checkpoints by an authority that is not the operator (RFC 3161): what was logged when, by another's clock."""

from audit.timestamps.token import Timestamp, TimestampError, load_roots, verify_token
from audit.timestamps.verify import verify_tokens

__all__ = ["Timestamp", "TimestampError", "load_roots", "verify_token", "verify_tokens"]

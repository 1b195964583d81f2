"""Verifying a log offline: nothing is trusted but its public key, and the first damage is named with its kind."""

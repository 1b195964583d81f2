"""Witnesses: what a department runs to vouch that a log only ever grew, and how the audit service asks them to."""

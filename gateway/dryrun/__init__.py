"""Trying other terms, or another policy, on the recorded past. docs/POLICY.md says what is replayed and what is not."""

"""The ledger: access records, the transparency log that makes them undeniable, and its verifiers."""

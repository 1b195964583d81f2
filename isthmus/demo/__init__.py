"""The demonstration: departments, a gateway, a ledger and an audit service on one machine, playing a story."""

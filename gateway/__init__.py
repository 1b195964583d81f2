"""The front door: identity, policy, catalogue, contracts, consents, quotas and the exchange pipeline."""

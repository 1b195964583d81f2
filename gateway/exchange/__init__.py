"""The exchange: what happens between a consumer's question and the provider's answer (DESIGN section 6)."""

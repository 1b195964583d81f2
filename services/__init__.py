"""The department node: a department's own database behind its own manifest, served to the gateway alone."""

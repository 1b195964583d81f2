"""Break-glass: what was released in an emergency without the consent it otherwise needs, and its review."""

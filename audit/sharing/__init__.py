"""Whether departments really share: figures that are a function of the log alone, so that anybody who holds it can recompute them."""

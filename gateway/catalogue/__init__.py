"""The catalogue of what departments offer (政务数据目录)."""

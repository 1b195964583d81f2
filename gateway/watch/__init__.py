"""Those who watch exchanges: metrics, the log and, where spans are exported, the traces."""

"""Records handed over as a file: JSON Lines, CSV, Parquet, and OCSF for a SIEM; every export is a record itself."""

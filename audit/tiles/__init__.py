"""The log as static resources (C2SP tlog-tiles): read from a ledger, served over HTTP, written as files."""

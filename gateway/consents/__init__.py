"""Consents of data subjects: their states, and one file for each RPC that changes them."""

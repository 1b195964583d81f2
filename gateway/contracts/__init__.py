"""Exchange contracts: their states, what their terms may say, and one file for each RPC that changes them."""

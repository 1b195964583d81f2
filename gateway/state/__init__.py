"""The gateway's control state: tables and the narrow stores over them.

The tables live in the ledger's database, so that a change and its record commit together (DESIGN section 11).
Every function here takes the connection of a transaction that somebody else began, and begins none.
"""

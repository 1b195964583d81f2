"""Evidence of a case as one file, which anybody verifies without a server, a network or a database.

A bundle holds every record of the contiguous range in which the case lies, so that whoever receives it sees that nothing in
between was left out; a C2SP `.tlog-proof` for each record of the case and for each that it rests on; the statements that
these records name, as their signers signed them; and the keys, certificates and policies to check them with.
"""

"""Certificates and keys: a development authority, and the credentials a process presents.

Production brings its own CA; what it must put into a certificate is written in `isthmus.pki.authority`.
"""

from isthmus.identity import server_name
from isthmus.pki.authority import Authority, Issued, PkiError, create_authority
from isthmus.pki.credentials import Credentials, CredentialsError, load_credentials, pinned_to
from isthmus.pki.store import file_stem, load_authority, save_authority, save_issued

__all__ = [
    "Authority",
    "Credentials",
    "CredentialsError",
    "Issued",
    "PkiError",
    "create_authority",
    "file_stem",
    "load_authority",
    "load_credentials",
    "pinned_to",
    "save_authority",
    "save_issued",
    "server_name",
]

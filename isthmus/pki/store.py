"""Certificates and keys as files: written whole or not at all, never over another without being told to.

A directory holds `ca.pem`, `ca.key`, and `<stem>.pem`, `<stem>.key` for every identity. Keys have mode 0600
from the moment they exist.
"""

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from isthmus.identity import Identity, require_trust_domain
from isthmus.pki.authority import Authority, Issued, PkiError
from isthmus.pki.credentials import load_certificates, load_credentials

CA_STEM: Final = "ca"
_KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
_SCHEME: Final = "spiffe://"


def file_stem(identity: Identity) -> str:
    """Returns the file name of an identity without its suffix, such as `education.system.enrolment`.

    Slugs hold no dot, so two identities never share a stem and none is `ca`.
    """
    parts = (identity.department, identity.role.value, identity.name)
    return ".".join(part for part in parts if part is not None)


def save_authority(directory: Path, authority: Authority, *, force: bool = False) -> tuple[Path, Path]:
    """Writes `ca.pem` and `ca.key`; returns their paths. Errors are those of `save_issued`."""
    return _save_pair(directory, CA_STEM, authority.certificate, authority.key, force=force)


def save_issued(
    directory: Path, identity: Identity, issued: Issued, *, force: bool = False
) -> tuple[Path, Path]:
    """Writes `<stem>.pem` and `<stem>.key`; returns their paths.

    Args:
        directory: made with mode 0700 if it is missing.
        identity: names the files.
        issued: what to write.
        force: replaces files that are there.

    Raises:
        PkiError: one of the files exists and `force` is off, or the directory cannot be written.
    """
    return _save_pair(directory, file_stem(identity), issued.certificate, issued.key, force=force)


def load_authority(directory: Path) -> Authority:
    """Reads the authority back from `ca.pem` and `ca.key`.

    Raises:
        CredentialsError: a file is missing or broken, or the key is not the certificate's.
        PkiError: `ca.pem` holds several certificates or names no trust domain.
    """
    path, key_path = directory / f"{CA_STEM}.pem", directory / f"{CA_STEM}.key"
    credentials = load_credentials(path, key_path, path)
    if len(load_certificates(path)) != 1:
        raise PkiError(f"{path}: holds several certificates; a development authority has one")
    return Authority(_trust_domain(credentials.certificate, path), credentials.certificate, credentials.key)


def _trust_domain(certificate: x509.Certificate, path: Path) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if len(uris) != 1 or not uris[0].startswith(_SCHEME):
        raise PkiError(f"{path}: does not name its trust domain with one URI spiffe://<trust domain>")
    return require_trust_domain(uris[0].removeprefix(_SCHEME))


def _save_pair(
    directory: Path, stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, force: bool
) -> tuple[Path, Path]:
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate_path, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PkiError(f"{directory}: cannot be made: {error.strerror or 'unknown error'}") from error
    try:
        _write(key_path, key_pem, mode=_KEY_MODE, force=force)
        try:
            _write(
                certificate_path, certificate.public_bytes(Encoding.PEM), mode=_CERTIFICATE_MODE, force=force
            )
        except OSError:
            # The new key belongs to no certificate on disk; left behind, it would block the next attempt.
            key_path.unlink(missing_ok=True)
            raise
    except FileExistsError as error:
        raise PkiError(f"{error.filename2 or error.filename} exists; --force replaces it") from error
    except OSError as error:
        raise PkiError(f"{directory}: cannot be written: {error.strerror or 'unknown error'}") from error
    return certificate_path, key_path


def _write(path: Path, data: bytes, *, mode: int, force: bool) -> None:
    """Puts `data` at `path` in one step: a reader sees the old file, or all of the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(temporary, path)
        else:
            # link(), unlike rename(), fails when the name is taken, even by a file made a moment ago.
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Where an HTTP server listens, as it stands in a configuration."""


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of `host:port` or `[IPv6]:port`.

    Raises:
        ValueError: of another form.
    """
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare) != (bare != host) or not port.isascii() or not port.isdigit():
        raise ValueError("address must be host:port, such as 127.0.0.1:8446 or [::]:8446")
    if int(port) > 65_535:
        raise ValueError("the port of address must be at most 65535")
    return bare, int(port)

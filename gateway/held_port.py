"""One port for several processes: chosen, and kept from others, before the first of them listens there."""

import re
import socket
from dataclasses import replace
from typing import Final

from gateway.config import ServerSection
from gateway.load import GatewayError

_MAX_PORT: Final = 65_535


def hold_port(section: ServerSection) -> tuple[socket.socket, ServerSection]:
    """Binds the address without listening, so that workers can share it and port 0 means the same to all of them.

    The kernel gives no connection to a socket that does not listen. Only processes of the same user can join it.

    Returns:
        The socket, to be closed when nobody serves there any more, and the section with the port in its address and
        `reuse_port` set.

    Raises:
        GatewayError: the address is not host:port, is not ours, or is taken. By another gateway it may be taken if
            the section says `reuse_port`.
    """
    host, _, port = section.address.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > _MAX_PORT:
        raise GatewayError(f"{section.address}: several workers need an address of the form host:port")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if not section.reuse_port:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        held = _bind_shared(socket.socket(family, kind, protocol), where)
    except OSError as error:
        raise GatewayError(f"{section.address} cannot be bound: {error.strerror}") from error
    address = f"{host}:{held.getsockname()[1]}"
    return held, replace(section, address=address, reuse_port=True)


def _bind_shared(held: socket.socket, where: object) -> socket.socket:
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(where)  # type: ignore[arg-type]
    except BaseException:
        held.close()
        raise
    return held

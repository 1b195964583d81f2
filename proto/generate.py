"""Regenerates the Python stubs of every `.proto` file under this folder.

    python proto/generate.py               writes the stubs into the repository
    python proto/generate.py --out DIR     writes them below DIR instead
    python proto/generate.py --check       writes nothing; exits 1 and names every stub that differs

A file `proto/isthmus/v1/x.proto` becomes `isthmus/v1/x_pb2.py`, `.pyi` and, when it holds a service,
`x_pb2_grpc.py`, `.pyi`. The output depends on nothing but the `.proto` files and the two pinned generators
(`grpcio-tools`, `mypy-protobuf`), so a test can compare it byte by byte.

Contracts say `import "buf/validate/validate.proto"`, as they do in every language. protoc would turn that into
`from buf.validate import validate_pb2`, and a distribution should not claim a top-level package `buf` that it
does not own. The stubs of vendored files therefore go below `isthmus/vendor/`, and their Python imports are
rewritten to match. The descriptor keeps its own name, `buf/validate/validate.proto`, which is what reflection
and other languages see. `google/**` is neither vendored nor generated: `googleapis-common-protos` and
`protobuf` ship those stubs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROTO = Path(__file__).resolve().parent
ROOT = PROTO.parent
VENDORED = "buf"
VENDOR_PACKAGE = "isthmus.vendor"
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
GENERATED_PACKAGES = ("isthmus/v1", "isthmus/vendor")
PACKAGE_FILE = '"""Generated from proto/ by proto/generate.py; never edited by hand."""\n'

_SERVICE = re.compile(r"^service\s+\w+\s*\{", re.MULTILINE)
# A module name: after `from`, `import` or a quote, but not inside a serialised descriptor (b'...' or \').
_VENDORED_NAME = re.compile(rf"(?P<before>^from |^import |(?<![b\\])')(?P<name>{VENDORED}\.)", re.MULTILINE)


class GenerationError(Exception):
    """protoc refused the contracts; its own message has already gone to stderr."""


def generate(out: Path) -> list[Path]:
    """Writes all stubs below `out` and returns their paths relative to it, sorted.

    Raises:
        GenerationError: if protoc rejects a file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch)
        _run_protoc(raw)
        return sorted(_place(raw, file, out) for file in raw.rglob("*_pb2*")) + _packages(out)


def drift(out: Path) -> list[str]:
    """Compares the stubs below `out` with fresh ones: one line for each that is missing, stale or different."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh_root = Path(scratch)
        fresh = set(generate(fresh_root))
        present = _present(out)
        lines = [f"missing: {path}" for path in fresh - present]
        lines += [f"stale: {path}" for path in present - fresh]
        lines += [
            f"different: {path}"
            for path in fresh & present
            if (fresh_root / path).read_bytes() != (out / path).read_bytes()
        ]
    return sorted(lines)


def _run_protoc(raw: Path) -> None:
    from grpc_tools import protoc

    sources = sorted(PROTO.rglob("*.proto"))
    names = [source.relative_to(PROTO).as_posix() for source in sources]
    services = [name for name in names if _SERVICE.search((PROTO / name).read_text("utf-8"))]
    _protoc(protoc, [f"--python_out={raw}", f"--mypy_out=quiet:{raw}", *names])
    if services:
        _protoc(protoc, [f"--grpc_python_out={raw}", f"--mypy_grpc_out=quiet,only_sync:{raw}", *services])


def _protoc(protoc: object, arguments: Sequence[str]) -> None:
    plugins = [
        f"--plugin={name}={_beside_python(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    status = protoc.main(["protoc", *(f"-I{path}" for path in include_paths()), *plugins, *arguments])  # type: ignore[attr-defined]
    if status != 0:
        raise GenerationError(f"protoc exited with status {status}")


def include_paths() -> list[Path]:
    """Where protoc looks for imports: this folder, `google/protobuf`, then `google/rpc` and `google/api`."""
    from google.rpc import status_pb2
    from grpc_tools import protoc

    return [PROTO, Path(protoc.__file__).parent / "_proto", Path(status_pb2.__file__).parents[2]]


def _beside_python(name: str) -> Path:
    """The plugin of this interpreter's environment, never one that happens to be first on PATH."""
    return Path(sys.executable).parent / name


def _place(raw: Path, file: Path, out: Path) -> Path:
    name = file.relative_to(raw)
    if name.parts[0] == VENDORED:
        name = Path(*VENDOR_PACKAGE.split("."), name)
    target = out / name
    target.parent.mkdir(parents=True, exist_ok=True)
    text = _VENDORED_NAME.sub(rf"\g<before>{VENDOR_PACKAGE}.\g<name>", file.read_text("utf-8"))
    target.write_text(text, "utf-8", newline="\n")
    return name


def _packages(out: Path) -> list[Path]:
    """Makes each generated folder a regular package, and returns the files that do so."""
    made = []
    for top in GENERATED_PACKAGES:
        folders = {file.parent for file in (out / top).rglob("*_pb2.py")}
        folders |= {
            parent
            for folder in folders
            for parent in folder.parents
            if out / top in [parent, *parent.parents]
        }
        for folder in sorted(folders):
            (folder / "__init__.py").write_text(PACKAGE_FILE, "utf-8", newline="\n")
            made.append((folder / "__init__.py").relative_to(out))
    return made


def _present(out: Path) -> set[Path]:
    return {
        file.relative_to(out)
        for top in GENERATED_PACKAGES
        for file in (out / top).rglob("*.py*")
        if file.name == "__init__.py" or file.name.endswith(STUB_SUFFIXES)
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Regenerate the Python stubs from proto/.")
    parser.add_argument(
        "--out", type=Path, default=ROOT, help="folder to write below (default: the repository)"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a stub would change")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            print(f"{len(generate(options.out))} files written")
            return 0
        differences = drift(options.out)
    except GenerationError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(differences) or "stubs match proto/")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

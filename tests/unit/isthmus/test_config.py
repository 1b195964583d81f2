"""A configuration is taken whole and exact, or refused with the file, the key and the reason."""

from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path

import pytest

from isthmus.config import ConfigError, load


class Backend(Enum):
    SQLITE = "sqlite"
    POSTGRES = "postgresql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    url: str
    backend: Backend = Backend.SQLITE
    timeout_s: float = 5.0
    durable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    address: str
    workers: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    ledger: Ledger
    tls: Tls | None = None
    title: str = ""
    from_day: date | None = None
    origins: tuple[str, ...] = ()
    departments: dict[str, Node] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        if self.title == "forbidden":
            raise ValueError("a title must not be forbidden")


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, Config, environ=environ)


def refused(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, environ)
    return caught.value


WHOLE = """
title = "政务数据网关"
origins = ["a", "b"]
from_day = 2026-11-01

[ledger]
url = "sqlite:///x.db"
backend = "postgresql"
timeout_s = 3
durable = false

[tls]
certificate = "tls/gateway.pem"
key = "/etc/gateway.key"

[departments.education]
address = "n1:1"

[[nodes]]
address = "n2:1"
workers = 8
"""


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == Config(
        title="政务数据网关",
        origins=("a", "b"),
        from_day=date(2026, 11, 1),
        ledger=Ledger(url="sqlite:///x.db", backend=Backend.POSTGRES, timeout_s=3.0, durable=False),
        tls=Tls(certificate=tmp_path / "tls" / "gateway.pem", key=Path("/etc/gateway.key")),
        departments={"education": Node(address="n1:1")},
        nodes=(Node(address="n2:1", workers=8),),
    )


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('[ledger]\nurl = "x"\nurll = "y"', "ledger.urll", "did you mean url?"),
        ('[ledger]\nurl = "x"\n[unheard]', "unheard", "there are ledger"),
        ("", "ledger", "ISTHMUS_LEDGER"),
        ("[ledger]", "ledger.url", "ISTHMUS_LEDGER_URL"),
        ("[ledger]\nurl = 7", "ledger.url", "must be text, not a whole number"),
        ('[ledger]\nurl = "x"\ntimeout_s = true', "ledger.timeout_s", "must be a number, not true or false"),
        (
            '[ledger]\nurl = "x"\n[[nodes]]\naddress = "a"\nworkers = true',
            "nodes.0.workers",
            "a whole number",
        ),
        ('[ledger]\nurl = "x"\nbackend = "oracle"', "ledger.backend", "sqlite, postgresql"),
        ('ledger = "x"', "ledger", "must be a table, not text"),
        ('origins = "a"\n[ledger]\nurl = "x"', "origins", "must be a list, not text"),
        ('origins = ["a", 1]\n[ledger]\nurl = "x"', "origins.1", "must be text"),
        ('[ledger]\nurl = "x"\n[[nodes]]\nworkers = 1', "nodes.0.address", "is missing"),
        (
            '[ledger]\nurl = "x"\n[tls]\ncertificate = ""\nkey = "k"',
            "tls.certificate",
            "a path, not empty text",
        ),
        ('title = "forbidden"\n[ledger]\nurl = "x"', "", "must not be forbidden"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, key: str, words: str) -> None:
    error = refused(tmp_path, text)
    assert error.key == key
    assert words in str(error)
    assert "gateway.toml" in str(error)


def test_a_secret_put_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in str(refused(tmp_path, '[ledger]\nurl = "x"\ntimeout_s = "hunter2"'))


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    environ = {
        "ISTHMUS_LEDGER_URL": "postgresql://db",
        "ISTHMUS_LEDGER_TIMEOUT_S": "1.5",
        "ISTHMUS_LEDGER_DURABLE": "true",
        "ISTHMUS_LEDGER_BACKEND": "sqlite",
        "ISTHMUS_ORIGINS": "x, y",
        "ISTHMUS_TLS_KEY": "other.key",
    }
    config = read(tmp_path, WHOLE, environ)
    assert config.ledger == Ledger(url="postgresql://db", timeout_s=1.5)
    assert config.origins == ("x", "y")
    assert config.tls is not None
    assert config.tls.key == Path("other.key")


def test_a_section_may_come_from_the_environment_alone(tmp_path: Path) -> None:
    assert read(tmp_path, "", {"ISTHMUS_LEDGER_URL": "x"}).ledger.url == "x"


def test_a_mistake_in_the_environment_is_named_by_its_variable(tmp_path: Path) -> None:
    error = refused(tmp_path, WHOLE, {"ISTHMUS_LEDGER_DURABLE": "maybe"})
    assert str(error) == "ISTHMUS_LEDGER_DURABLE: must be true or false"


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml", Config)
    assert "is not TOML" in str(refused(tmp_path, "a ="))
    (tmp_path / "latin.toml").write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "latin.toml", Config)
    (tmp_path / "large.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="is larger than"):
        load(tmp_path / "large.toml", Config)

"""gateway.toml: the example loads, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.keys import load_log_key, load_subject_tokens
from gateway.config import load_config
from gateway.load import GatewayError, load_own_credentials
from isthmus.cli.gateway import app
from isthmus.config import ConfigError

EXAMPLE = Path(__file__).parents[3] / "deploy" / "gateway.toml"
RUNNER = CliRunner()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "gateway.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_example_says_what_the_defaults_are() -> None:
    config = load_config(EXAMPLE, environ={})
    [(name, node)] = config.nodes().items()
    assert name == "departments/education"
    assert node.identity.path == "/department/education/node/n1"
    assert config.ledger.url == "sqlite:////var/lib/isthmus/ledger.db"
    defaults = type(config.exchange)()
    assert config.exchange == defaults and config.metrics == type(config.metrics)()


def test_the_environment_overrides(tmp_path: Path) -> None:
    environ = {"ISTHMUS_SERVER_ADDRESS": "127.0.0.1:1", "ISTHMUS_LEDGER_URL": "sqlite:////var/x.db"}
    config = load_config(EXAMPLE, environ=environ)
    assert (config.server.address, config.ledger.url) == ("127.0.0.1:1", "sqlite:////var/x.db")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('node = "n1"\n', "", "belong together"),
        ('node = "n1"', 'node = "N 1"', "not a slug"),
        ("[departments.education]", "[departments.Education]", "lower-case"),
        ('trust_domain = "data.example"', 'trust_domain = "Data"', "trust domain"),
        ("utc_offset_minutes = 480", "utc_offset_minutes = 4800", "utc_offset_minutes"),
        ("aboard = 128", "aboard = 0", "more than 0"),
        ("waiting = 192", "waitin = 192", "did you mean waiting"),
        ("workers = 1 ", "workers = 256 ", "number of gateway processes, from 1 to 64.*is `threads`"),
        ("workers = 1 ", "workers = 0 ", "number of gateway processes"),
        ("threads = 256", "threads = 0", "threads must be from 1"),
        ("threads = 256", "threads = 5000", "threads must be from 1"),
        ("port = 9464", "port = 65536", "metrics.port must leave a port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_config(changed(tmp_path, old, new), environ={})


def test_each_worker_has_a_port_for_its_metrics(tmp_path: Path) -> None:
    config = load_config(changed(tmp_path, "workers = 1 ", "workers = 8 "), environ={})
    assert [config.metrics.of_worker(number).port for number in (0, 7)] == [9464, 9471]
    assert replace(config.metrics, port=0).of_worker(7).port == 0
    with pytest.raises(ConfigError, match="each of the 8 workers"):
        load_config(tmp_path / "gateway.toml", environ={"ISTHMUS_METRICS_PORT": "65530"})


def test_a_missing_certificate_stops_the_start_in_words(tmp_path: Path) -> None:
    config = load_config(changed(tmp_path, "threads = 256", "threads = 8"), environ={})
    with pytest.raises(GatewayError, match=r"gateway\.main\.pem"):
        load_own_credentials(config)
    result = RUNNER.invoke(app, ["--config", str(tmp_path / "gateway.toml")])
    assert result.exit_code == 1 and "refused" in result.output


def test_init_makes_keys_that_only_their_owner_reads_and_replaces_none(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = RUNNER.invoke(app, ["init", "log.data.example/main", "--dir", str(folder)])
    assert made.exit_code == 0, made.output
    key = load_log_key(folder / "log.key")
    assert made.stdout.strip() == key.verifier.encode() == (folder / "log.pub").read_text().strip()
    assert load_subject_tokens({"1": folder / "subject-1.key"}, 1).token("s", "i").startswith("1.")
    assert [(folder / name).stat().st_mode & 0o777 for name in ("log.key", "subject-1.key")] == [0o600] * 2
    before = (folder / "log.key").read_bytes()
    again = RUNNER.invoke(app, ["init", "log.data.example/main", "--dir", str(folder)])
    assert again.exit_code == 1 and (folder / "log.key").read_bytes() == before

"""`isthmus demo` as a person starts it: in a process of its own, from the installed package."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.e2e

_ROOT = Path(__file__).parents[2]
_DATA = Path(os.environ.get("ISTHMUS_TEST_DATA", _ROOT.parent / "shared" / "data"))
_COMMAND = [sys.executable, "-c", "from isthmus.cli.main import main; main()"]
_WITHIN_S = 100


def _demo(*arguments: str, temporary: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*_COMMAND, "demo", *arguments],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=_WITHIN_S,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def _checked(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    assert done.returncode == 0, f"{done.stderr}\n{document.get('differences')}"
    assert document["as_expected"] is True
    assert document["verified"] is True
    assert document["records"] > len(document["exchanges"])
    assert all(each["expected"] == each["decision"] for each in document["exchanges"])
    assert list(document["exchanges"][0]) == ["name", "expected", "decision", "reasons"]
    return document


def test_the_invented_story_comes_as_expected_in_one_document_and_leaves_nothing(tmp_path: Path) -> None:
    done = _demo("--json", "--seed", "7", temporary=tmp_path)
    document = _checked(done)
    assert done.stderr == ""
    assert document["source"] == "generated"
    assert len(set(document["exchange_ids"])) == len(document["exchange_ids"]) > 20
    assert any("入学资格核验" in line for line in document["who_looked"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["us_gi_bill", "synthea_persons", "chicago_food"])
def test_the_story_of_each_data_set_comes_as_expected(name: str, tmp_path: Path) -> None:
    folder = _DATA / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; ISTHMUS_TEST_DATA names another place")
    renamed = tmp_path / "some-folder"
    renamed.symlink_to(folder, target_is_directory=True)
    document = _checked(_demo("--json", "--data", str(renamed), temporary=tmp_path))
    assert document["source"] == name
    assert document["who_looked"]


# The command with another story: `tell` gets the scenario's own.
_RETOLD = """
import dataclasses, sys
from isthmus.cli import demo
from isthmus.cli.main import main
from isthmus.demo.actions import denied
own = demo.story
def tell(story):
    {tell}
demo.story = lambda scenario: tell(own(scenario))
sys.argv = ["isthmus", "demo", *sys.argv[1:]]
main()
"""
# The first question is allowed; this story claims that it is refused.
_WRONG = _RETOLD.format(
    tell='return (dataclasses.replace(story[0], expected=denied("NO_CONTRACT")), story[1])'
)
_BRIEF = _RETOLD.format(tell="return story[:6]")


def test_a_story_that_expects_something_else_ends_with_exit_status_1() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRONG, "--json"],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=_WITHIN_S,
    )
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["as_expected"] is False
    assert document["verified"] is True
    assert [each["decision"] for each in document["exchanges"]] == ["ALLOW", "ALLOW"]
    assert any("expected DENY, got ALLOW" in each for each in document["differences"])


def test_a_work_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = _demo("--workdir", str(tmp_path), temporary=tmp_path)
    assert done.returncode == 1
    assert "is not empty" in done.stderr


class Kept:
    """A demonstration of a brief story that was left running, and what it has printed."""

    def __init__(self, temporary: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BRIEF, "--keep"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=os.environ | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._running = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if "Ctrl-C ends everything" in line:
                self._running.set()
        self._running.set()

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return "".join(self.lines)

    def await_running(self) -> list[psutil.Process]:
        """Returns its servers once they are to be used."""
        assert self._running.wait(_WITHIN_S), self.text
        assert self.process.poll() is None, self.text
        return [psutil.Process(int(pid)) for pid in re.findall(r" pid (\d+)", self.text)]

    def await_end(self) -> int:
        """Returns its exit status once it has ended by itself and everything is printed."""
        status = self.process.wait(30)
        self._reader.join(10)
        return status

    def close(self) -> None:
        """Ends it whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    demonstration = Kept(tmp_path)
    try:
        yield demonstration
    finally:
        demonstration.close()


def _gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=15)
    return not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


_PRINTED = {
    "query": "户籍地址",
    "explain": "ALLOW",
    "audit list": "FIELDS_OUTSIDE_CONTRACT",
    "audit verify": "",
}


def test_a_kept_demonstration_can_be_used_as_printed_and_ends_cleanly_on_ctrl_c(
    kept: Kept, tmp_path: Path
) -> None:
    servers = kept.await_running()
    assert len(servers) == 6
    exports = re.search(r"export (.*)", kept.text)
    assert exports is not None
    environment = dict(each.split("=", 1) for each in shlex.split(exports[1]))
    for command, answer in _PRINTED.items():
        line = next(line for line in kept.lines if re.search(rf" {command} ", line))
        used = subprocess.run(
            [*_COMMAND, *shlex.split(line)[1:]],
            check=False,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env=os.environ | environment,
        )
        assert used.returncode == 0, f"{line}\n{used.stdout}\n{used.stderr}"
        assert answer in used.stdout
    # As a terminal does it: the signal goes to the whole group of processes.
    os.killpg(kept.process.pid, signal.SIGINT)
    assert kept.await_end() == 0
    assert _gone(servers)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_end_even_when_the_demonstration_is_killed(kept: Kept) -> None:
    servers = kept.await_running()
    kept.process.kill()
    assert _gone(servers)


def test_a_demonstration_that_is_asked_to_stop_stops_everything(kept: Kept, tmp_path: Path) -> None:
    servers = kept.await_running()
    kept.process.terminate()
    assert kept.await_end() == 128 + signal.SIGTERM
    assert _gone(servers)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_dies_is_told_with_its_last_words(kept: Kept) -> None:
    servers = kept.await_running()
    servers[-1].kill()
    assert kept.await_end() == 1
    assert "exit status -9" in kept.text and "last words" in kept.text
    assert _gone(servers)

"""Another distribution must not be able to stand in for `audit`, `gateway` or `services`."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from isthmus.packaging_guard import TOP_LEVEL_PACKAGES, ForeignPackageError, Owners, ensure_sole_owner


def claims(owners: Owners) -> None:
    ensure_sole_owner(owners=lambda: owners)


def install(site: Path, distribution: str, package: str) -> None:
    """What pip leaves behind: the package, and metadata that claims it."""
    (site / package).mkdir(parents=True)
    (site / package / "__init__.py").write_text("")
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{info.name}/METADATA,,\n")


def test_this_environment_is_ours_alone() -> None:
    ensure_sole_owner()


def test_a_source_tree_that_nobody_claims_passes() -> None:
    claims({"pytest": ["pytest"]})


def test_our_own_wheel_passes_however_its_name_is_spelt() -> None:
    claims({package: ["isthmus", "Isthmus"] for package in TOP_LEVEL_PACKAGES})


@pytest.mark.parametrize("package", TOP_LEVEL_PACKAGES)
def test_a_package_of_that_name_installed_by_a_stranger_is_refused(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "some-other-dist", package)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ForeignPackageError, match=rf"{package} \(from some-other-dist\).*Uninstall some-other-dist"
    ):
        ensure_sole_owner()


def test_a_stranger_that_overwrote_part_of_our_wheel_is_refused() -> None:
    with pytest.raises(ForeignPackageError, match=r"audit \(from some-other-dist\)"):
        claims({"audit": ["isthmus", "some-other-dist"]})


def test_metadata_without_a_name_is_a_stranger() -> None:
    with pytest.raises(ForeignPackageError, match="unnamed"):
        claims({"gateway": [None]})


def test_the_refusal_names_every_conflict_and_each_intruder_once() -> None:
    with pytest.raises(ForeignPackageError) as refused:
        claims({"services": ["b", "a"], "audit": ["a"]})
    assert "audit (from a); services (from a, b)" in str(refused.value)
    assert "Uninstall a, b," in str(refused.value)


def test_no_dependency_brings_one_of_our_names() -> None:
    """Looks at the libraries themselves, so that it also holds where Isthmus is not installed."""
    others = {
        name: owners
        for name, owners in packages_distributions().items()
        if name in TOP_LEVEL_PACKAGES and set(owners) != {"isthmus"}
    }
    assert others == {}, sys.path

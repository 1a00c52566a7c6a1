"""What the container is built from is what the project asks for."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("serve", "edf", "dicom")


def test_the_lock_has_every_dependency_in_a_version_that_is_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock + (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    versions: dict[str, list[str]] = {}
    for name, version in pinned:
        versions.setdefault(canonicalize_name(name), []).append(version)
    for requirement in map(Requirement, asked):
        found = versions.get(canonicalize_name(requirement.name), [])
        assert found, f"{requirement.name} is not locked; `make lock` renews the lock"
        assert all(requirement.specifier.contains(version) for version in found), (requirement, found)
    assert lock.count("--hash=sha256:") > len(pinned)
    assert "://" not in lock

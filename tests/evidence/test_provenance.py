"""What a record says of its origin is true of this checkout and this machine."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from ltqlib.evidence import provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_commit_and_dirty_flag(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    file = tmp_path / "a.txt"
    file.write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.git_state(tmp_path) == {"commit": head, "dirty": False}
    file.write_text("two")
    assert provenance.git_state(tmp_path) == {"commit": head, "dirty": True}


def test_outside_a_checkout_nothing_is_claimed(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == {"commit": None, "dirty": None}


def test_versions_are_the_installed_ones() -> None:
    found = provenance.versions(("numpy", "no-such-package"))
    assert found == {"numpy": importlib.metadata.version("numpy")}


def test_machine_names_its_cores_and_not_the_host() -> None:
    words = provenance.machine()
    assert words.endswith("cores")
    assert platform.node() not in words

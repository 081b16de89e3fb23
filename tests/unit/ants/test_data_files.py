"""Files of a working directory: what is found and packed comes back the same, and nothing leads out."""

from __future__ import annotations

import glob
import os
import tarfile
from pathlib import Path

import pytest

from formicary.engine.ants.cache_keys import cache_key
from formicary.engine.ants.data_files import DataError, digest_of, find, pack, put_back


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with files, and a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "work"
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / "out" / "a.txt").write_text("a")
    (folder / "out" / "deep" / "b.txt").write_text("b")
    (folder / "run.sh").write_text("#!/bin/sh")
    (folder / "run.sh").chmod(0o755)
    (folder / "log.txt").write_text("log")
    return folder


@pytest.mark.parametrize(
    ("pattern", "form", "names"),
    [
        ("log.txt", "file", ["log.txt"]),
        ("run.sh", "tar", ["run.sh"]),
        ("out", "tar", ["out/a.txt", "out/deep/b.txt"]),
        ("**/*.txt", "tar", ["log.txt", "out/a.txt", "out/deep/b.txt"]),
    ],
)
def test_what_was_packed_comes_back(work: Path, tmp_path: Path, pattern: str, form: str, names: list[str]) -> None:
    """Under the same names, with the same content, and programs stay programs."""
    packed = pack(work, pattern, find(work, pattern), tmp_path / "archive")
    assert (packed.form, packed.size, packed.sha256) == (form, packed.path.stat().st_size, digest_of(packed.path))
    copy, back = tmp_path / "copy", tmp_path / "back"
    copy.write_bytes(packed.path.read_bytes())
    back.mkdir()
    put_back(back, packed.name, packed.form, copy)
    found = sorted(path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file())
    assert found == names
    assert all((back / name).read_bytes() == (work / name).read_bytes() for name in names)
    assert all(os.access(back / name, os.X_OK) == os.access(work / name, os.X_OK) for name in names)


@pytest.mark.parametrize("pattern", ["../secret", "out/../../secret", "/etc/passwd", "*/../../secret"])
def test_a_pattern_that_leads_out_is_refused(work: Path, pattern: str) -> None:
    """Climbing and absolute paths never match anything."""
    with pytest.raises(DataError, match="leads out of the working directory"):
        find(work, pattern)


def test_an_absolute_pattern_inside_of_the_folder_is_taken(work: Path) -> None:
    """As a relative one; what climbs out of it again is refused."""
    assert find(work, f"{work}/log.txt") == ["log.txt"]
    with pytest.raises(DataError, match="leads out of the working directory"):
        find(work, f"{work}/../secret")


def test_links_that_lead_out_are_refused_wherever_they_are(work: Path, tmp_path: Path) -> None:
    """As a match, as a folder on the way, and inside a folder that is packed; one that stays inside is kept."""
    (work / "inside").symlink_to("log.txt")
    assert pack(work, "inside", find(work, "inside"), tmp_path / "archive").form == "tar"
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "up").symlink_to(tmp_path)
    for pattern in ("link", "up/secret", "l*"):
        with pytest.raises(DataError, match="through a link"):
            find(work, pattern)
    (work / "out" / "deep" / "link").symlink_to("../../../secret")
    with pytest.raises(DataError, match="through a link"):
        pack(work, "out", find(work, "out"), tmp_path / "archive")


@pytest.mark.parametrize("pattern", ["**", "**/*.txt", "*/*/b.txt", "out/**", "**/deep/**", "o*", "./out//deep/"])
def test_patterns_match_what_they_match_elsewhere(work: Path, pattern: str) -> None:
    """Where there are no links, the same as Python's own patterns."""
    named = glob.glob(pattern, root_dir=work, recursive=True, include_hidden=True)
    assert find(work, pattern) == sorted({os.path.normpath(name) for name in named})


def test_no_pattern_follows_links(work: Path, tmp_path: Path) -> None:
    """One that leads out is refused where it is a match, and never looked behind; circles end."""
    (work / "round").symlink_to(".")
    (work / "again").symlink_to("out")
    assert find(work, "**/b.txt") == ["out/deep/b.txt"]
    assert find(work, "*/deep/b.txt") == ["again/deep/b.txt", "out/deep/b.txt"]
    many = tmp_path / "many"
    many.mkdir()
    (many / "c.txt").write_text("c")
    (work / "out" / "up").symlink_to(many)
    assert find(work, "**/c.txt") == find(work, "out/*/c.txt") == []
    for pattern in ("**/*", "out/**", "out/up/*", "out/up/**", "out/up/c.txt"):
        with pytest.raises(DataError, match=r"'out/up.*through a link"):
            find(work, pattern)


def test_an_archive_cannot_write_outside(work: Path, tmp_path: Path) -> None:
    """Neither by its members' names nor through a link that is already there."""
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        archive.add(work / "log.txt", "../evil.txt")
    with pytest.raises(DataError, match="cannot be put"):
        put_back(work, "evil", "tar", evil)
    (work / "up").symlink_to(tmp_path)
    (tmp_path / "content").write_text("x")
    with pytest.raises(DataError, match="through a link"):
        put_back(work, "up/secret", "file", tmp_path / "content")
    assert (tmp_path / "secret").read_text() == "secret" and not (tmp_path / "evil.txt").exists()


def test_what_is_no_file_is_refused(work: Path, tmp_path: Path) -> None:
    """A pipe would never end."""
    os.mkfifo(work / "pipe")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        pack(work, "pipe", find(work, "pipe"), tmp_path / "archive")


def test_a_cache_key_changes_with_the_files_and_with_nothing_else(work: Path) -> None:
    """`key_paths` and checksums in `key` alike."""
    for cache in ({"key_paths": ["out/**/*.txt"]}, {"key": "v1-checksum(out/a.txt)-x"}):
        (work / "out" / "a.txt").write_text("a")
        first = cache_key(work, cache)
        (work / "log.txt").write_text("another log")
        assert cache_key(work, cache) == first
        (work / "out" / "a.txt").write_text("changed")
        assert cache_key(work, cache) != first


@pytest.mark.parametrize(
    "cache", [{"key_paths": ["none.txt"]}, {"key": "checksum(none.txt)"}, {"key": "checksum(out)"}, {"key": "x" * 501}]
)
def test_a_cache_key_that_cannot_be_computed_says_why(work: Path, cache: dict[str, object]) -> None:
    """A missing file, a folder, or a key that is too long."""
    with pytest.raises(DataError, match="key"):
        cache_key(work, cache)

"""The files of others: each is the one that was looked at, from the package that VERSIONS.toml names."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.support.vendor import FOLDER, VERSIONS, File, NotAsWritten, Package, packages, sha512_of, take


def test_every_file_of_others_is_the_one_that_is_written_and_no_further_one_is_there() -> None:
    files = {file.name: file.sha512 for package in packages() for file in package.files}
    assert {name: sha512_of(FOLDER / name) for name in files} == files
    assert {file.name for file in FOLDER.iterdir()} == {*files, VERSIONS.name}


def test_every_package_has_a_version_a_licence_and_its_text() -> None:
    for package in packages():
        assert package.version.count(".") == 2
        assert package.licence in {"0BSD", "MIT"}
        assert len(package.sha512) == 128
        (text,) = [file for file in package.files if file.name.endswith(".LICENSE")]
        assert text.path == "package/LICENSE"


def tarball(folder: Path, content: bytes) -> Path:
    """A package with one file."""
    with tarfile.open(folder / "p-1.0.0.tgz", "w:gz") as archive:
        entry = tarfile.TarInfo("package/p.js")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return folder / "p-1.0.0.tgz"


def test_a_package_as_it_is_written_is_copied_and_another_one_is_not(tmp_path: Path) -> None:
    packed = tarball(tmp_path, b"let it = be;")
    file = File("p.js", "package/p.js", hashlib.sha512(b"let it = be;").hexdigest())
    target = tmp_path / "there"
    target.mkdir()
    take(Package("p", "1.0.0", "MIT", sha512_of(packed), (file,)), packed, target)
    assert (target / "p.js").read_bytes() == b"let it = be;"
    with pytest.raises(NotAsWritten, match=r"SHA-512 of p 1\.0\.0 is"):
        take(Package("p", "1.0.0", "MIT", "0" * 128, (file,)), packed, target)


def test_a_file_that_is_another_one_is_told_before_any_is_copied(tmp_path: Path) -> None:
    packed = tarball(tmp_path, b"evil()")
    files = (File("p.js", "package/p.js", "0" * 128),)
    with pytest.raises(NotAsWritten, match=r"package/p\.js"):
        take(Package("p", "1.0.0", "MIT", sha512_of(packed), files), packed, tmp_path)
    assert not (tmp_path / "p.js").exists()

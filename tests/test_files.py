"""Digests name settings and files by what they say, not by how they are written down."""

import hashlib

import pytest

from alignment_limits.files import digest, file_sha256


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


@pytest.mark.parametrize(
    "other", [{"a": [2, 1]}, {"a": [1, 2.5]}, {"b": [1, 2]}, {"a": [1, 2], "b": None}, {"a": "[1, 2]"}]
)
def test_a_digest_depends_on_every_value_and_the_order_of_lists(other):
    assert digest({"a": [1, 2]}) != digest(other)


def test_a_digest_is_the_first_twelve_digits_of_sha256():
    assert digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a": 2, "b": 1}').hexdigest()[:12]


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 7])
def test_a_files_checksum_is_its_sha256(tmp_path, size):
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()

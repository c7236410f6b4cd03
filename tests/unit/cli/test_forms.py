"""Files in a form: whatever a file is called, and whatever a disk behind the output says."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stoa.cli.asking import Exit
from stoa.cli.forms import readable, uploading


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain.txt", b'filename="plain.txt"'),
        ("Grüße 🌍.txt".encode(), 'filename="Grüße 🌍.txt"'.encode()),
        (b'a"b\\c.txt', b'filename="a%22b_c.txt"'),
        (b"two\nlines\r.txt", b'filename="two lines .txt"'),
        (b"\xff\xfe.txt", b'filename="_xff_xfe.txt"'),
    ],
)
def test_every_name_of_a_file_can_be_sent(name: bytes, shown: bytes) -> None:
    call = uploading("/v1/x", "file", [(Path(os.fsdecode(name)), b"content")])
    assert call.body is not None
    assert shown in call.body


def test_names_that_differ_stay_different() -> None:
    assert readable(os.fsdecode(b"\xff.txt")) != readable(os.fsdecode(b"\xfe.txt"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_an_output_that_is_full_is_a_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "stoa", "version", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == Exit.FAILED
    assert done.stderr == f"stoa: Nothing more can be written: {os.strerror(errno.ENOSPC)}.\n"

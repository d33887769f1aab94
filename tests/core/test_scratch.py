"""The folder to which a session spills: nobody else's."""

import os
import shlex
from pathlib import Path

import pytest

from reweight.core.errors import SetupError
from reweight.core.session import _scratch_settings


def test_a_scratch_folder_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    for _ in range(2):
        assert _scratch_settings(scratch)["spark.local.dir"] == str(scratch)
    assert scratch.stat().st_mode & 0o777 == 0o700
    shared, linked, file = (tmp_path / name for name in ("shared", "linked", "file"))
    shared.mkdir()
    shared.chmod(0o707)
    linked.symlink_to(scratch)
    file.touch(mode=0o600)
    for folder in (shared, linked, file):
        with pytest.raises(SetupError, match="may be used by others") as caught:
            _scratch_settings(folder)
        assert str(folder) in caught.value.expected
        assert "TMPDIR" in caught.value.fix
    uid = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: uid + 1)
    with pytest.raises(SetupError, match="may be used by others"):
        _scratch_settings(scratch)


def test_a_scratch_folder_may_have_spaces_in_its_name(tmp_path: Path) -> None:
    scratch = tmp_path / "my scratch"
    options = _scratch_settings(scratch)["spark.driver.extraJavaOptions"]
    assert shlex.split(options) == [f"-Djava.io.tmpdir={scratch}"]

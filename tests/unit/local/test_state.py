"""Files of the local state folder."""

from __future__ import annotations

from sealwax.local.state import exports, write_private


def test_exports_are_one_quoted_line_each():
    assert exports({"A": "x y", "B": "it's"}) == "export A='x y'\nexport B='it'\"'\"'s'\n"


def test_private_files_are_readable_by_their_owner_only(tmp_path):
    write_private(tmp_path / "env", "secret")
    write_private(tmp_path / "env", "newer")
    assert (tmp_path / "env").read_text() == "newer"
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600

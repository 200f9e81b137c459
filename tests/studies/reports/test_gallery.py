"""The gallery shows every kind of figure, and its page is the one that its command writes."""

from pathlib import Path

import pytest

import accelsim as acs
from accelsim.base.errors import AccelsimError
from accelsim.cli.plot import _SHOWS
from accelsim.studies.reports import gallery
from accelsim.studies.reports.gallery import PICTURES, Picture, write_gallery

GALLERY = Path(acs.__file__).parent.parent / "reports" / "gallery"
PNG = b"\x89PNG"


def test_every_kind_has_a_small_picture() -> None:
    assert sorted(picture.kind for picture in PICTURES) == sorted(_SHOWS)
    files = {path.name: path for path in GALLERY.iterdir()}
    assert set(files) == {"README.md", *(f"{picture.kind}.png" for picture in PICTURES)}
    for picture in PICTURES:
        found = files[f"{picture.kind}.png"].read_bytes()
        assert found.startswith(PNG)
        assert len(found) < 100_000, picture.kind


def test_the_page_is_the_one_that_is_written() -> None:
    assert (GALLERY / "README.md").read_text() == "\n".join(gallery._page()) + "\n"


def test_a_gallery_is_written_beside_the_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = Picture(kind="claims", says="?", plot="reports/paper/speedups.csv")
    monkeypatch.setattr(gallery, "PICTURES", (claims,))
    (tmp_path / "paper").symlink_to(GALLERY.parent / "paper")
    write_gallery(tmp_path / "gallery")
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == ["README.md", "claims.png"]
    assert (tmp_path / "gallery" / "claims.png").read_bytes() == (GALLERY / "claims.png").read_bytes()


def test_a_command_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PICTURES", (Picture(kind="sweep", says="?", plot="no.csv"),))
    message = r"^accelsim plot sweep no\.csv --width single -o sweep\.png: error: no\.csv: no such file$"
    with pytest.raises(AccelsimError, match=message):
        write_gallery(tmp_path / "gallery")

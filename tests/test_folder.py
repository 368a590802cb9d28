"""A study's folder, read only: what is missing is None or an error that names the command."""

import pytest

from astroprism import Study
from astroprism.errors import AstroprismError, ModelError, StoreError
from astroprism.folder import StudyFolder


def test_what_is_missing_names_the_command(tmp_path):
    folder = StudyFolder(tmp_path / "study")
    assert repr(folder).startswith("StudyFolder(")
    assert folder.model_facts() is None
    assert folder.label_table() is None
    assert folder.training_history() is None
    assert folder.history == []
    assert not folder.has_codes()
    assert not folder.has_findings()
    for ask, kind, command in (
        (lambda: folder.store, StoreError, "astroprism ingest"),
        (folder.require_model, ModelError, "astroprism train"),
        (folder.model, ModelError, "astroprism train"),
        (folder.codes, ModelError, "astroprism encode"),
        (folder.findings, AstroprismError, "astroprism find"),
        (lambda: folder.finding_table("matches"), AstroprismError, "astroprism find"),
    ):
        with pytest.raises(kind, match=command):
            ask()
    assert not folder.path.exists()


def test_a_study_is_a_folder_with_verbs(tmp_path):
    assert isinstance(Study(tmp_path), StudyFolder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(AstroprismError, match="is a file; a study is a folder"):
        StudyFolder(tmp_path / "file")

"""Fetching by hub name, with a hub of the test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from analyzer.importing.hub import HubUnreachableError, is_hub_name, open_from_hub
from tests.support.llama_checkpoints import RandomCheckpoint, byte_level_source, tiny_shape, write_huggingface


@pytest.mark.parametrize(
    ("text", "hub_name"),
    [
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", True),
        ("model.gguf", False),
        ("../folder/model", False),
        ("a/b/c", False),
        ("/abs", False),
    ],
)
def test_hub_names_are_told_from_paths(text: str, hub_name: bool) -> None:  # noqa: FBT001 - a table's column
    """Owner, slash, model."""
    assert is_hub_name(text) is hub_name


def test_a_fetched_folder_is_opened_under_its_hub_name(tmp_path: Path) -> None:
    """Name, licence and origin for the manifest come from the hub; only needed files are asked for."""
    asked: dict[str, Any] = {}

    def download(**options: Any) -> str:
        asked.update(options)
        folder = write_huggingface(options["local_dir"], RandomCheckpoint(tiny_shape(), byte_level_source()))
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        return str(folder)

    base = open_from_hub("owner/tiny", tmp_path, download=download).base
    assert (base.name, base.licence, base.source) == ("owner/tiny", "apache-2.0", "hub:owner/tiny")
    assert "*.bin" not in asked["allow_patterns"]
    assert asked["repo_id"] == "owner/tiny"


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), OSError("no route")])
def test_an_unreachable_hub_says_what_to_do(error: Exception, tmp_path: Path) -> None:
    """Run again to resume, or import a folder."""

    def download(**_options: Any) -> str:
        raise error

    with pytest.raises(HubUnreachableError, match="resume"):
        open_from_hub("owner/tiny", tmp_path, download=download)

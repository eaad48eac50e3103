"""The manifest is read as strictly as it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzer.framing import FrameParameters
from analyzer.manifest import Manifest, ManifestError, OutputLayer, PromptFrame, is_plain_name
from tests.support.manifests import make_manifest


def test_a_manifest_survives_a_round_trip() -> None:
    """Written and read again, it is equal."""
    manifest = make_manifest(calibration={"biases": [0.5, 1], "nested": {"a": None}})
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"schema_version": 2}, "schema_version"),
        ({"judge": "oracle"}, "judge"),
        ({"revision": "../up"}, "revision"),
        ({"files": {"../x": {"size": 1, "sha256": "0" * 64}}}, "files"),
        ({"files": {"x": {"size": -1, "sha256": "0" * 64}}}, "files.x.size"),
        ({"frame": {"token_limit": 4}}, "frame.token_limit"),
        ({"frame": {"token_limit": 40, "earlier_token_reserve": 39}}, "frame"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, Any], field: str) -> None:
    """The error says which field, so that a person finds it."""
    document = json.loads(make_manifest().to_json()) | change
    with pytest.raises(ManifestError, match=field):
        Manifest.from_json(json.dumps(document))


def test_more_layers_than_there_are_is_refused() -> None:
    """Contradictions inside a part are found too."""
    document = json.loads(make_manifest().to_json())
    document["architecture"]["layers_kept"] = 31
    with pytest.raises(ManifestError, match="layers_kept 31"):
        Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_manifest_at_all_is_refused(text: str) -> None:
    """Damaged JSON is a ManifestError like any other."""
    with pytest.raises(ManifestError, match="manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("model.bin", True),
        ("a b.json", True),
        ("", False),
        (".", False),
        ("..", False),
        (".hidden", False),
        ("a/b", False),
        ("/etc/passwd", False),
        ("a\\b", False),
        ("a\x00b", False),
    ],
)
def test_plain_names_stay_in_their_folder(name: str, plain: bool) -> None:  # noqa: FBT001 - a table's column
    """Only a single visible path component is plain."""
    assert is_plain_name(name) is plain


def test_two_parts_merge_into_one_score_a_row() -> None:
    """Coarse and fine columns add up; one part stays as it is."""
    assert OutputLayer(kind="rows", rows=2, parts=2).merge([1.0, 2.0, 0.25, 0.5]) == [1.25, 2.5]
    assert OutputLayer(kind="rows", rows=2).merge([1.0, 2.0]) == [1.0, 2.0]
    with pytest.raises(ValueError, match="expected 4 columns"):
        OutputLayer(kind="rows", rows=2, parts=2).merge([1.0, 2.0])


def test_a_frame_holds_the_parameters_it_was_made_of() -> None:
    """What a head was trained with is what its revision cuts with."""
    parameters = FrameParameters(token_limit=96, system_token_limit=8, head_share=0.75)
    assert PromptFrame.of(parameters).parameters() == parameters
    assert PromptFrame().parameters() == FrameParameters()

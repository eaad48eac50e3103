"""Timing engines against each other in processes of their own."""

from pathlib import Path

import pytest

from analyzer.bench.race import Contender, ContenderFailedError, Shape, race, running
from analyzer.bench.shapes import HEAD_ROWS, write_depth, write_random_model
from analyzer.importing.checkpoint import LlamaShape

TINY = LlamaShape(
    layers=3,
    width=64,
    heads=4,
    kv_heads=2,
    head_width=16,
    ffn_width=128,
    vocabulary=100,
    rope_theta=10000.0,
    rms_epsilon=1e-5,
    tied_embeddings=False,
)


@pytest.fixture(scope="module")
def depth_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random three-layer model, cut to two layers."""
    folder = tmp_path_factory.mktemp("models")
    return write_depth(write_random_model(folder / "base", "tiny", TINY), folder / "two", layers=2, width=TINY.width)


def test_every_contender_is_timed_on_every_shape(depth_two: Path) -> None:
    """Each pair has as many times as there were rounds; none is zero."""
    contenders = [
        Contender("tuned", "ctranslate2", depth_two),
        Contender("installed", "ctranslate2-as-installed", depth_two),
    ]
    times = race(contenders, [Shape(4), Shape(6, prompts=3)], rounds=2, vocabulary=TINY.vocabulary)
    assert set(times) == {"tuned", "installed"}
    for row in times.values():
        assert {shape: len(found) for shape, found in row.items()} == {Shape(4): 2, Shape(6, prompts=3): 2}
        assert min(min(found) for found in row.values()) > 0


def test_contenders_of_one_model_give_the_same_scores(depth_two: Path) -> None:
    """The settings make it fast, not different: within the rounding of another instruction set."""
    ids = [[11, 12, 13, 14]]
    outputs = []
    for engine in ("ctranslate2", "ctranslate2-as-installed"):
        with running(Contender(engine, engine, depth_two)) as lane:
            outputs.append(lane.scores(ids))
    assert len(outputs[0]) == HEAD_ROWS
    assert outputs[0] == pytest.approx(outputs[1], rel=0.1, abs=0.05)


def test_a_contender_that_can_not_start_is_named(tmp_path: Path) -> None:
    """No hang, no figure of zero: an error with the contender's name."""
    with (
        running(Contender("nothing there", "ctranslate2", tmp_path / "missing")) as lane,
        pytest.raises(ContenderFailedError, match=r"nothing there ended: .*missing"),
    ):
        lane.milliseconds([[1, 2]])


def test_shapes_are_named_as_people_say_them() -> None:
    """One prompt by its tokens, several as a product."""
    assert [str(Shape(64)), str(Shape(64, 8))] == ["64", "8 x 64"]

"""A policy survives being written down."""

import numpy as np
import pytest

from router.analysis import Task
from router.learning.proposing import Objective, propose
from router.learning.versions import State, Version, from_json, to_json, version_of
from router.policy import Policy
from router.request import Tier
from tests.support.learning_worlds import World, observe

SERVING = Policy("configured", confidence_threshold=0.0)


def test_a_proposal_comes_back_as_it_was() -> None:
    """Curves and papers included."""
    seen = observe(World(), SERVING, 4000, np.random.default_rng(2))
    version = version_of(propose(seen, SERVING, Objective(0.9), "v1"), seen, "2026-01-01T00:00:00+00:00")
    assert from_json(to_json(version)) == version
    assert version.state is State.PROPOSED
    assert version.reported_quality is not None
    read = from_json(to_json(version)).policy
    assert read.predict is not None
    assert read.recalibrate(Tier.SMALL, Task.OTHER, 0.9) == version.policy.recalibrate(Tier.SMALL, Task.OTHER, 0.9)


def test_a_configured_policy_comes_back_as_it_was() -> None:
    """It recalibrates nothing."""
    version = Version(Policy("configured", quality_target=0.9), State.RETIRED, "2026-01-01", note="left")
    assert from_json(to_json(version)) == version


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}'])
def test_other_texts_are_refused(text: str) -> None:
    """With one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        from_json(text)

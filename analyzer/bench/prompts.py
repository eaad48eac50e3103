"""Prompts to measure with: a file's, or made ones of known length that no cache has seen."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

# Common words: one token each in the vocabularies of most models, so that words count tokens well enough to aim with.
_WORDS = """
about above action after again age air all almost always animal answer apple area arm art ask away back ball bank base
bear beat bed before begin behind bell best between big bird black blood blue board boat body bone book born both
bottom box bread break bridge bright bring brother brown build burn busy buy call camp car card care carry case cat
catch cause cell center chance change chart check child choose city class clean clear climb clock close cloud coast
coat cold color come common company cook cool copy corn cost count country course cover cross cry cut dance dark day
dead deal death deep degree desert design die differ dinner direct doctor dog dollar door double down draw dream dress
drink drive drop dry early earth east eat edge effect egg eight engine enough enter equal even evening event ever
exact example eye face fact fall family farm fast father fear feed feel field fight fill final find fine finger finish
fire first fish five flat floor flow flower fly follow food foot force forest form forward four free fresh friend
front fruit full game garden gas gather general girl give glad glass gold good
""".split()  # noqa: SIM905 - a list of 200 strings is no easier to read


def read_prompts(path: Path) -> list[str]:
    """One prompt a line, plain or as JSON with a `prompt`; blank lines are passed over.

    Raises ValueError with the line's number where a JSON line has no prompt, or when the file has none at all.
    """
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            prompts.append(_prompt_of(line, path, number))
    if not prompts:
        msg = f"{path}: no prompts in it"
        raise ValueError(msg)
    return prompts


def _prompt_of(line: str, path: Path, number: int) -> str:
    if not line.startswith("{"):
        return line
    prompt = json.loads(line).get("prompt")
    if not isinstance(prompt, str):
        msg = f'{path}:{number}: expected {{"prompt": "…"}}'
        raise ValueError(msg)  # noqa: TRY004 - wrong data, not a wrong type of argument
    return prompt


def made_prompt(index: int, words: int, seed: int = 0) -> str:
    """Prompt number `index`, of so many words, unlike every other number's."""
    chosen = random.Random(f"{seed}/{index}").choices(_WORDS, k=words)
    return " ".join(chosen).capitalize() + "?"


class PromptSource:
    """Prompt number i of a run, where a share of the calls repeats earlier prompts.

    Repeats draw from 32 hot prompts, so that at a repeat share of .9 nine calls of ten can be answered from a cache.
    Another `seed` gives prompts that no earlier run has left in a cache.
    """

    def __init__(
        self, fixed: Sequence[str] = (), *, words: tuple[int, int] = (20, 100), repeats: float = 0.0, seed: int = 0
    ) -> None:
        self._fixed = fixed
        self._seed = seed
        self._words = words
        self._repeats = repeats
        self._hot = 32

    def __call__(self, index: int) -> str:
        """The prompt for call `index`; the same index gives the same prompt."""
        dice = random.Random(index)
        if dice.random() < self._repeats:
            index = -1 - dice.randrange(self._hot)
        if self._fixed:
            return self._fixed[index % len(self._fixed)]
        return made_prompt(index, random.Random(f"length/{index}").randint(*self._words), self._seed)

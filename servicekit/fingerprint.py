"""What makes two texts the same prompt: an exact key, and a signature by which trivial rewrites find each other.

Two texts are near-duplicates when what carries meaning (words in their order, numbers, negations, code) is equal, and
only case, white space, punctuation, politeness, articles and the names of people addressed differ. A bottom-k sketch of
word shingles (Broder 1997, MinHash with one permutation) then says how alike the whole wordings are. Pure, and bounded:
beyond `MOST_SIGNED_CHARACTERS` a text has an exact key and a bucket, but no signature.
"""

from __future__ import annotations

import hashlib
import re
import struct
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from servicekit.wording import canonical_words, substance_words

MOST_SIGNED_CHARACTERS = 16_384
_BUCKET_CHARACTERS = 2_048

_SKETCH_SIZE = 32

# Every repetition is bounded: texts come from outside, and an unbounded one would take quadratic time.
_CODE_MARKS = re.compile(
    r"```|^[ \t]{0,40}(?:def|class|import|from|return|public|private|static|void|func|fn|let|const|var|#include|SELECT"
    r"|INSERT|UPDATE|DELETE)\b|[{};][ \t]{0,8}$|=>|::|==|!=|\+=|->|</?[a-z]{1,20}[^>\n]{0,80}>"
    r"|\w\([^)\n]{0,80}\)[ \t]{0,8}[;:{]",
    re.MULTILINE,
)
_CODE_FENCE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signature:
    """What must be equal in near-duplicates (`meaning`), and how they are worded (`sketch`)."""

    meaning: bytes
    sketch: bytes
    """Hashes of 32 bits, ascending."""

    word_count: int

    def similarity(self, other: Signature) -> float:
        """Returns the estimated Jaccard similarity of the wordings, 0..1; 0 when the meanings differ."""
        if self.meaning != other.meaning:
            return 0.0
        mine, theirs = set(_unpacked(self.sketch)), set(_unpacked(other.sketch))
        smallest = sorted(mine | theirs)[:_SKETCH_SIZE]
        return sum(value in mine and value in theirs for value in smallest) / len(smallest)


def normalised(text: str) -> str:
    """Returns the text in composed form, each run of white space one blank.

    Case stays, because code has it, and so do compatibility characters: 2² is not 22.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def exact_key(parts: Sequence[str]) -> bytes:
    """Returns 16 bytes that are equal for equal lists of texts, up to white space and Unicode composition."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = normalised(part).encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.digest()


def signature(text: str) -> Signature | None:
    """Returns the near-duplicate signature of a text; None when it is too long or holds no words."""
    if len(text) > MOST_SIGNED_CHARACTERS:
        return None
    words = canonical_words(text)
    if not words:
        return None
    return Signature(_meaning(text, words), _sketch(_shingles(words)), len(words))


def affinity_bucket(text: str) -> str:
    """Returns a short stable name that near-duplicates mostly share, for routing them to the same replica.

    The smallest hash over pairs of the words that carry meaning: two texts share it with the probability of their
    Jaccard similarity. Long texts are judged by both their ends.
    """
    if len(text) > 2 * _BUCKET_CHARACTERS:
        text = f"{text[:_BUCKET_CHARACTERS]} {text[-_BUCKET_CHARACTERS:]}"
    words = substance_words(canonical_words(text))
    pairs = [f"{left} {right}" for left, right in pairwise(words)] or words or [normalised(text)]
    return f"{min(_hash(pair) for pair in pairs):08x}"


def _meaning(text: str, words: Sequence[str]) -> bytes:
    """Digests what may not differ: substance in its order, script, code to the letter."""
    parts = [" ".join(substance_words(words)), _script(words), *_code(text)]
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\x00")
    return digest.digest()


def _code(text: str) -> list[str]:
    """Returns the code in a text, white space collapsed: every character of it counts, case included."""
    if fenced := _CODE_FENCE.findall(text):
        return [" ".join(part.split()) for part in fenced]
    return [" ".join(text.split())] if _CODE_MARKS.search(text) else []


def _script(words: Sequence[str]) -> str:
    """Returns the alphabets used, as a guard against another language that shares the digits."""
    letters = {character for word in words[:64] for character in word if character.isalpha()}
    names = {unicodedata.name(letter, "?").split(" ", 1)[0] for letter in letters}
    return " ".join(sorted(names))


def _shingles(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{left} {right}" for left, right in pairwise(words))]


def _sketch(shingles: Sequence[str]) -> bytes:
    """Returns the smallest distinct hashes, ascending; all of them when there are few."""
    smallest = sorted({_hash(shingle) for shingle in shingles})[:_SKETCH_SIZE]
    return struct.pack(f">{len(smallest)}I", *smallest)


def _unpacked(sketch: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(sketch) // 4}I", sketch)


def _hash(text: str) -> int:
    """Returns 32 bits, the same in every process (which Python's own hash is not), well mixed (which crc32 is not)."""
    value = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    value = (value ^ (value >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ (value >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ (value >> 16)

"""Words of a text without what never changes its meaning: case, punctuation, politeness, names of people addressed.

The lists are English; texts in other languages lose only case and punctuation, and so match less often, never wrongly.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

SOMEBODY = "<name>"

# ruff: noqa: RUF001 - typographic signs are what is matched here

_WORD = re.compile(r"[^\W_]+(?:[.,:/'’][^\W_]+)*|[+\-*/=<>^%$€£#&@|~√∑∫≤≥≠±×÷]", re.UNICODE)
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", "`": "'"})

_CONTRACTIONS = (
    (re.compile(r"\bcan't\b"), "can not"),
    (re.compile(r"\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bshan't\b"), "shall not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(what|who|where|when|how|why|that|it|he|she|there|here)'s\b"), r"\1 is"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
)

# What people put before and after a request; longer ones first. Matched on lower case, between any words.
_POLITENESS = re.compile(
    r"\b(?:"
    r"(?:hello|hi|hey|dear|good (?:morning|afternoon|evening|day)|greetings)"
    r"(?: (?:there|assistant|ai|everyone|all|team))?(?=[\s,!.:]|$)"
    r"|thank you(?: (?:so|very) much)?(?: (?:in advance|for (?:your|the|any) help|for helping))?"
    r"|(?:many )?thanks(?: (?:a lot|so much|a million|again|in advance|for (?:your|the|any) help))*"
    r"|i (?:was|am) (?:just )?wondering (?:if|whether) you (?:could|can|would|might)(?: be able to)?"
    r"|i would (?:really |greatly )?(?:appreciate|be grateful|be glad) (?:it )?if you (?:could|can|would)"
    r"|i would (?:like|love) (?:for )?you to|i (?:want|need) you to"
    r"|(?:would|do) you mind"
    r"|would it be possible (?:for you )?to|is it possible for you to"
    r"|(?:^|(?<=[.!?,;:] )|(?<=please )|(?<=there )|(?<=hi )|(?<=hey )|(?<=hello ))(?:could|can|would|will) you"
    r"(?: (?:be so kind as to|kindly|possibly|maybe|just|perhaps))?"
    r"|(?:be so kind as to|if you do not mind|if (?:it is|that is) (?:ok|okay|possible))"
    r"|(?:when you (?:get a chance|have time))"
    r"|(?:i hope (?:you are|this finds you|you are doing) (?:doing )?well)"
    r"|(?:much appreciated|i appreciate (?:it|your help|the help)|cheers|regards|best regards|kind regards)"
    r"|please|pls|plz|kindly"
    r")(?![\w'])"
)

# Articles and fillers: dropping or adding one changes nothing. Prepositions, tenses and quantities are substance.
_FILLERS = frozenset(["a", "an", "the", "just", "me", "really", "so", "well", "ok", "okay"])

_NAMES = frozenset(
    """
    james robert john michael david william richard joseph thomas christopher daniel matthew anthony donald
    steven andrew paul joshua kenneth kevin brian timothy ronald jason edward jeffrey ryan jacob gary nicholas
    eric jonathan stephen larry justin scott brandon benjamin samuel gregory alexander patrick frank raymond
    jack dennis jerry tyler aaron jose adam nathan henry zachary douglas peter kyle noah ethan jeremy walter
    christian keith roger terry sean gerald carl harold dylan arthur lawrence jesse bryan billy bruce gabriel
    joe logan alan juan albert willie elijah wayne randy vincent liam oliver lucas mason aiden luke owen isaac
    leo oscar max felix hugo emil otto hans klaus stefan markus lukas jonas mary patricia jennifer linda
    elizabeth barbara susan jessica karen sarah lisa nancy sandra ashley emily kimberly margaret donna michelle
    carol amanda melissa deborah stephanie rebecca laura sharon cynthia amy kathleen angela shirley brenda emma
    anna pamela nicole samantha katherine christine helen debra rachel carolyn janet maria catherine heather
    diane olivia julie joyce victoria ruth kelly lauren christina joan evelyn judith andrea hannah megan cheryl
    jacqueline martha madison teresa sara janice ann kathryn abigail sophia frances jean alice judy isabella
    julia grace denise amber danielle marilyn beverly charlotte theresa natalie diana brittany doris kayla
    alexis lori marie mia chloe zoe lucy ella ava sofia priya raj amit anita sanjay ravi deepak fatima ahmed
    mohammed muhammad omar ali hassan aisha layla yusuf wei chen li ming yuki hiroshi kenji sakura haruto carlos
    miguel luis pedro diego javier carmen lucia elena ana paula ivan dmitri olga natasha sergei pierre jacques
    claire sophie camille marco giulia luca francesca bob tom tim jim bill mike dave steve chris matt dan nick
    ben sam alex tony greg jeff jenny kate beth sue jane
    """.split()  # noqa: SIM905 - a list of words reads better as text
)

# A first name stands for anybody only where a person is addressed, mentioned as one's own, or the recipient.
_PERSON_BEFORE = frozenset(
    """
    to for from named called name's friend friends colleague coworker boss manager brother sister son daughter
    mother father mom mum dad wife husband uncle aunt cousin nephew niece neighbor neighbour teacher student
    client customer roommate partner girlfriend boyfriend mentor dear hi hello hey mr mrs ms with tell ask
    invite thank congratulate
    """.split()  # noqa: SIM905 - a list of words reads better as text
)


def canonical_words(text: str) -> list[str]:
    """Returns the words in order, lower case, without politeness; numbers and operators are words of their own."""
    plain = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
    anonymous = _without_names(plain)
    folded = anonymous.casefold()
    for pattern, replacement in _CONTRACTIONS:
        folded = pattern.sub(replacement, folded)
    return _WORD.findall(_POLITENESS.sub(" ", " ".join(folded.split())).replace(SOMEBODY, " somebodysname "))


def substance_words(words: Sequence[str]) -> list[str]:
    """Returns the words that carry meaning, in their order."""
    return [word for word in words if word not in _FILLERS]


_CAPITALISED = re.compile(r"(?P<before>\b[^\W\d_]{1,20}(?:'s)?[ ,]{1,3})(?P<name>[A-Z][a-z]{1,20})\b(?! [A-Z])")
_SIGNED = re.compile(r"(?:my name is|i'm|i am|this is) (?P<name>[A-Z][a-z]{1,20})\b(?! [A-Z])", re.IGNORECASE)


def _without_names(text: str) -> str:
    text = _SIGNED.sub(_anonymous_signature, text)
    return _CAPITALISED.sub(_anonymous, text)


def _anonymous(match: re.Match[str]) -> str:
    before, name = match["before"], match["name"]
    if name.casefold() not in _NAMES or before.strip(" ,").casefold() not in _PERSON_BEFORE:
        return match[0]
    return f"{before}{SOMEBODY}"


def _anonymous_signature(match: re.Match[str]) -> str:
    name = match["name"]
    if name.casefold() not in _NAMES or not name[0].isupper():
        return match[0]
    return match[0].removesuffix(name) + SOMEBODY

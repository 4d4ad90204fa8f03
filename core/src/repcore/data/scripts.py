"""Which older code page a text is written in, by its words: their letters, their script, the order of their capitals.

Western languages have foreign letters between ASCII ones; in other scripts whole words are foreign. Both are judged by
the words that hold such letters alone, so that a table that is mostly numbers and English counts no less.
"""

from __future__ import annotations

import re
import unicodedata

_WORDS = re.compile(rb"[A-Za-z\x80-\xff]+")
_FOREIGN = re.compile(rb"[\x80-\xff]")
_CYRILLIC, _GREEK = "оеаинтсрвлкмЕОАИНТ", "αοιετσνηυρκπΑΟΙΕΤΣ"
_SCRIPTS = {  # code page -> script as Unicode names it, and its most frequent letters
    "cp1251": ("CYRILLIC", _CYRILLIC),
    "koi8_r": ("CYRILLIC", _CYRILLIC),
    "koi8_u": ("CYRILLIC", _CYRILLIC),
    "cp866": ("CYRILLIC", _CYRILLIC),
    "iso8859_5": ("CYRILLIC", _CYRILLIC),
    "mac_cyrillic": ("CYRILLIC", _CYRILLIC),
    "cp1253": ("GREEK", _GREEK),
    "iso8859_7": ("GREEK", _GREEK),
    "cp1255": ("HEBREW", "יוהלאתרבמש"),
    "cp1256": ("ARABIC", "اليمنورتبة"),
}
_ASIAN = ["shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"]
_ENDS = frozenset("ךםןףץς")  # letters that only end a word
SURE = 1.2  # of 2: all words are regular and two letters of five are frequent ones
WORDS_JUDGED = 2000


def older_code_page(sample: bytes) -> str | None:
    """Name of the code page that the words of a text speak for; None where they are western or too few."""
    words = [word for word in _WORDS.findall(sample) if _FOREIGN.search(word)][:WORDS_JUDGED]
    whole = [word for word in words if len(word) > 1 and len(_FOREIGN.findall(word)) == len(word)]
    mixed = [word for word in words if _FOREIGN.sub(b"", word)]
    if len(whole) <= len(mixed):
        return _european(mixed)
    scores = {name: _score(whole, name, *facts) for name, facts in _SCRIPTS.items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] >= SURE:
        return best
    return _asian(sample) or (best if scores[best] > SURE / 2 else None)


def _score(words: list[bytes], encoding: str, script: str, frequent: str) -> float:
    """Share of words that are regular in a script, and share of its frequent letters; 0 to 2."""
    try:
        texts = [word.decode(encoding) for word in words]
    except UnicodeDecodeError:
        return 0.0
    letters = "".join(texts)
    regular = sum(_is_regular(text, script) for text in texts) / len(texts)
    return regular + sum(letter in frequent for letter in letters) / len(letters)


def _is_regular(text: str, script: str) -> bool:
    """Letters of one script; capitals first, everywhere or nowhere; letters that end words at their end."""
    if not all(letter.isalpha() and unicodedata.name(letter, "").startswith(script) for letter in text):
        return False
    is_cased = text.islower() or text.isupper() or text.istitle() or text.lower() == text.upper()
    return is_cased and not _ENDS.intersection(text[:-1])


def _european(words: list[bytes]) -> str | None:
    """A code page of another time or part of Europe where a western one has signs, such as a raised 3, amid letters."""
    amid = [word for word in words if len(word) > 2]
    scores = {name: _letters_only(amid, name) for name in ("cp1252", "cp1250", "iso8859_2", "cp850", "mac_roman")}
    best = max(scores, key=lambda name: scores[name])  # the first on a tie: western
    if best != "cp1252":
        return best
    return _by_neighbours(b" ".join(words).decode("cp1252", "replace").lower())


def _by_neighbours(text: str) -> str | None:
    """Turkish and Hungarian, whose bytes are letters of the western page, too: told by letters that stand beside them.

    Icelandic has thorn and eth beside acute vowels, Turkish (in their place) beside none. Portuguese has a tilde before
    e, Estonian beside no acute, Hungarian (in its place) anywhere and beside acutes.
    """
    found = set(text)
    if len(found & set("ðýþ")) >= 2 and not found & set("áéíóúæ"):
        return "cp1254"
    has_long_o = any(follows != "e" for follows in re.findall("õ(.?)", text, re.DOTALL))
    if has_long_o and found & set("áéíóú") and not found & set("ãäçàèêâ"):
        return "cp1250"
    return None


def _letters_only(words: list[bytes], encoding: str) -> int:
    texts = [word.decode(encoding, "replace") for word in words]
    return sum(text.isalpha() and (text.islower() or text.isupper() or text.istitle()) for text in texts)


def _asian(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes  # only wanted for texts of other scripts

    lines = b"\n".join(line for line in sample.splitlines() if _FOREIGN.search(line))
    best = from_bytes(lines, cp_isolation=_ASIAN).best()
    return None if best is None else best.encoding

"""A person's name that came in capitals throughout, or in small letters: SEYDOU D'ALMEIDA becomes Seydou D'Almeida.

A name in both cases stays as it is: somebody knew how it is spelled. Of the others each word gets a capital and small
letters, and is otherwise spelled by a list, or not at all. What the lists leave in doubt stays as the MIS has it.

The lists:
    IRISH      names with O': the most common surnames of Ireland (Central Statistics Office, table VSA110), and Woulfe,
               Sloinnte Gaedheal is Gall, 1923
    SCOTTISH   names with Mc: the most common surnames of Scotland (National Records of Scotland, 2024), the same table
               of Ireland, and Black, The Surnames of Scotland, 1946
    PARTICLES  those family-name particles of python-nameparser (`nameparser/config/particles.py`) that Spanish,
               Portuguese, French and Dutch write small inside a name
    NUMERALS   `CAPITALIZATION_EXCEPTIONS` of python-nameparser (`nameparser/config/capitalization.py`)
    EASTERN    the most common surnames of Vietnam, without accents (Wikipedia): beside them De, Do and Du are names
    ELIDED     d and l before an apostrophe: French, Italian, Portuguese, and Goa's D'Souza
    NASAL      m and n before an apostrophe and a consonant: N'Guessan, N'Diaye, M'Baye (Wikipedia's pages of these
               surnames). Kenya's parliament spells M'eruaki: before a vowel it is in doubt
"""

from __future__ import annotations

import re
import unicodedata

from kiva_relay.resource import field, unseen

_IRISH = frozenset(
    (
        "brien", "callaghan", "connell", "connor", "donnell", "donoghue", "donovan", "driscoll", "dwyer", "farrell",
        "flaherty", "gorman", "grady", "hanlon", "hara", "keeffe", "leary", "loughlin", "mahony", "malley", "meara",
        "neill", "regan", "reilly", "riordan", "rourke", "shaughnessy", "shea", "sullivan", "toole",
    )
)  # fmt: skip
_SCOTTISH = frozenset(
    (
        "allister", "alpine", "arthur", "auley", "avoy", "bride", "cabe", "callum", "cann", "carthy",
        "clelland", "clure", "cormack", "cormick", "coy", "culloch", "dermott", "donagh", "donald", "donnell",
        "dougall", "dowell", "elroy", "ewan", "fadden", "farlane", "gee", "ghee", "ginley", "ginn", "gowan",
        "grath", "gregor", "guinness", "guire", "hale", "henry", "hugh", "innes", "intosh", "intyre", "kay",
        "kee", "kenna", "kenzie", "keown", "kinley", "kinnon", "lachlan", "laren", "laughlin", "lean", "lellan",
        "leod", "loughlin", "mahon", "manus", "master", "millan", "morran", "nair", "namara", "namee", "neill",
        "nulty", "phee", "pherson", "quade", "queen", "quillan", "rae", "shane", "sweeney", "tavish", "vey",
        "vicar", "williams",
    )
)  # fmt: skip
_PARTICLES = frozenset(("de", "da", "do", "dos", "das", "del", "du", "des"))
_AFTER_DE = frozenset(("la", "las", "los"))
_DUTCH = {"van": ("der", "den", "de"), "von": ("der", "dem", "den")}
_NUMERALS = frozenset(("ii", "iii", "iv"))
_EASTERN = frozenset(
    (
        "nguyen", "tran", "pham", "huynh", "hoang", "phan", "vu", "vo", "dang", "bui", "ngo", "duong", "ly", "doan",
        "vuong", "trinh", "truong", "phung", "thi", "luong", "trieu", "quach", "dinh", "le", "ho", "dao", "lam", "thai",
    )
)  # fmt: skip
_ELIDED = frozenset("dl")
_NASAL = frozenset("mn")
_VOWELS = frozenset("aeiou")

# Apostrophes as keyboards, word processors and the scripts of Oceania and Arabia write them.
_APOSTROPHES = "'’‘ʼʻʾʿ`´"
# A letter with the accents that stand behind it; an apostrophe that Unicode calls a letter is none.
_PIECES = re.compile(r"((?:[^\W\d_ʼʻʾʿ][\u0300-\u036f]*)+)")
# Of Turkish and Azeri: beside one of these an I has no dot. Beside the others it cannot be told: more languages have Ş.
_TURKISH, _PERHAPS_TURKISH = frozenset("İĞ"), frozenset("ŞƏ")


def cased(text: str) -> str:
    """The name without doubled blanks and unseen letters, in mixed letter case when it came in one."""
    name = " ".join(unicodedata.normalize("NFC", unseen.removed(text)).split())
    letters = name.replace("ß", "")
    if len(name) > field.NAME_LIMIT or letters.upper() == letters.lower():
        return name
    if letters not in (letters.upper(), letters.lower()):
        return name
    words = name.split(" ")
    folded = [_plain(word) for word in words]
    eastern = bool(_EASTERN.intersection(folded))
    spelled = []
    for number, word in enumerate(words):
        inside = 0 < number < len(words) - 1
        spelled.append(folded[number] if inside and not eastern and _is_particle(folded, number) else _word(word, name))
    return " ".join(spelled)


def _plain(word: str) -> str:
    """Small, and without accents: as the lists are written."""
    return "".join(each for each in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(each))


def _is_particle(words: list[str], number: int) -> bool:
    word, before, behind = words[number], words[number - 1], words[number + 1]
    return (
        word in _PARTICLES
        or (word in _AFTER_DE and before == "de")
        or behind in _DUTCH.get(word, ())
        or word in _DUTCH.get(before, ())
    )


def _word(word: str, name: str) -> str:
    """One word; what stands between letters (hyphens, full stops, brackets) stays, and a capital follows it."""
    if _plain(word) in _NUMERALS:
        return word.upper()
    parts = _PIECES.split(word)
    made: list[str] = []
    for number in range(1, len(parts), 2):
        mark = parts[number - 1]
        behind = parts[number + 1]
        before = parts[number - 2] if number > 1 else ""
        apostrophe = len(mark) == 1 and mark in _APOSTROPHES
        piece = _small(parts[number], name)
        if piece is None:
            return word
        if apostrophe and before:
            capital = _is_capital(before.casefold(), piece)
            if capital is None:
                return word
            made += [mark, _capital(piece) if capital else piece]
        elif len(piece) == 1 and len(behind) == 1 and behind in _APOSTROPHES:
            made += [mark, piece.upper()]
        else:
            made += [mark, _capital(piece)]
    return "".join([*made, parts[-1]])


def _is_capital(before: str, piece: str) -> bool | None:
    """Whether a capital stands behind an apostrophe; None where no list says it.

    Behind several letters it is a sound of the word itself: Ng'ang'a, Ma'afu, Sa'id; behind one vowel too: A'eau.
    """
    if len(before) > 1:
        return False
    if before == "o":
        return True if _plain(piece) in _IRISH else None
    if before in _ELIDED:
        return True
    if before in _NASAL:
        return None if _plain(piece[:1]) in _VOWELS else True
    return False if before in _VOWELS else None


def _capital(piece: str) -> str:
    if piece.startswith("mc") and _plain(piece[2:]) in _SCOTTISH:
        return "Mc" + piece[2:].capitalize()
    return piece.capitalize()


def _small(piece: str, name: str) -> str | None:
    """In small letters; None for an I of which it is in doubt whether it is Turkish."""
    signs = frozenset(name)
    if "I" in piece and not signs & _TURKISH and signs & _PERHAPS_TURKISH:
        return None
    if signs & _TURKISH:
        first = "I" if piece[:1] == "I" else "İ" if piece[:1] == "İ" else ""
        small = piece.replace("I", "ı").replace("İ", "i").lower()
        # `capitalize` would make an I of both.
        return first + small[1:] if first else small
    return piece.lower().replace("i̇", "i")

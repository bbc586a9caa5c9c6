"""How names are spelled: of the lists that people keep of their own names, and where none says it, as the MIS has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiva_relay.mapping.name import cased
from kiva_relay.resource.field import NAME_LIMIT

FILE = Path(__file__).parents[1] / "data" / "surnames.txt"
LINES = FILE.read_text("utf-8").splitlines()
SURNAMES = [line for line in LINES if not line.startswith("#")]
TURKIC = ("TR", "AZ")


def upper(surname: str, group: str) -> str:
    """In capitals, as a clerk of that country writes it."""
    if group in TURKIC:
        surname = surname.replace("i", "İ").replace("ı", "I")
    return surname.upper()


def grouped() -> list[tuple[str, str]]:
    found, group = [], ""
    for line in LINES:
        if line.startswith("#"):
            group = line.partition(": ")[2].partition(" ")[0]
        else:
            found.append((group, line))
    return found


def test_the_surnames_of_four_parts_of_the_world() -> None:
    areas = {line[2:].partition(":")[0] for line in LINES if line.startswith("#")}
    assert areas == {"Africa", "Asia", "Latin America", "Pacific"}
    assert len(SURNAMES) > 300
    tried = [
        (written, surname)
        for group, surname in grouped()
        for written in (upper(surname, group), surname, surname if group in TURKIC else surname.lower())
    ]
    assert [(written, cased(written)) for written, surname in tried if cased(written) != surname] == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("FATOU", "Fatou"),
        ("fatou  bint   ali", "Fatou Bint Ali"),
        ("MCDONALD", "McDonald"),
        ("McDonald", "McDonald"),
        ("JEAN-PIERRE", "Jean-Pierre"),
        ("nguyễn văn đức", "Nguyễn Văn Đức"),
        ("TRẦN THỊ Ý", "Trần Thị Ý"),
        ("ბექა", "ბექა"),
        ("علي", "علي"),
        ("van den Berg", "van den Berg"),
        ("", ""),
        ("NG'ANG'A", "Ng'ang'a"),
        ("NYONG’O", "Nyong’o"),
        ("MCHOME", "Mchome"),
        ("MA'AFU", "Ma'afu"),
        ("A'EAU", "A'eau"),
        ("KA'AHUMANU", "Ka'ahumanu"),
        ("ʻOKINA", "ʻOkina"),
        ("'OFA", "'Ofa"),
        ("SA'ID", "Sa'id"),
        ("NGUYEN VAN AN", "Nguyen Van An"),
        ("nguyễn thị de", "Nguyễn Thị De"),
        ("JUAN DELA CRUZ III", "Juan Dela Cruz III"),
        ("III", "III"),
        ("J.P.", "J.P."),
        ("J.P. KAMAU", "J.P. Kamau"),
        ("MA. TERESA", "Ma. Teresa"),
        ("SAMMY DAVIS JR.", "Sammy Davis Jr."),
        ("KING SR", "King Sr"),
        ("O'BRIEN", "O'Brien"),
        ("O'TKIR", "O'TKIR"),
        ("BOBUR O'G'LI", "Bobur O'G'LI"),
        ("D'SOUZA", "D'Souza"),
        ("D'ALMEIDA", "D'Almeida"),
        ("N'DIAYE", "N'Diaye"),
        ("M'BAYE", "M'Baye"),
        ("M'ERUAKI", "M'ERUAKI"),
        ("T'CHALLA", "T'CHALLA"),
        ("OKOTH-OGENDO", "Okoth-Ogendo"),
        ("MARY-ANNE", "Mary-Anne"),
        ("DE LA CRUZ", "De la Cruz"),
        ("MARIA DE LA CRUZ", "Maria de la Cruz"),
        ("JOSE DOS SANTOS", "Jose dos Santos"),
        ("SUBRATA DE", "Subrata De"),
        ("VAN DER MERWE", "Van der Merwe"),
        ("PIET VAN DER MERWE", "Piet van der Merwe"),
        ("DELA CRUZ", "Dela Cruz"),
        ("TE RANGI", "Te Rangi"),
        ("ST. JOHN", "St. John"),
        ("AHMAD BIN ALI", "Ahmad Bin Ali"),
        ("AL-HASSAN", "Al-Hassan"),
        ("JUAN Y PEREZ", "Juan Y Perez"),
        ("MUTHU A/L RAMAN", "Muthu A/L Raman"),
        ("MARIA (LUPE)", "Maria (Lupe)"),
        ("ALİ", "Ali"),
        ("İSMAYILOV", "İsmayılov"),
        ("IŞIK", "IŞIK"),
        ("WEIß", "Weiß"),
        ("ΝΊΚΟΣ", "Νίκος"),
        ("ИВАНОВ", "Иванов"),
        ("ỌLỌ́RUN", "Ọlọ́run"),
        ("A", "A"),
        ("x", "X"),
        ("Nguyen van an", "Nguyen van an"),
        ("NG'ang'a", "NG'ang'a"),
        ("KAMAU\u200b", "Kamau"),
        ("KA\u00adMAU", "Kamau"),
        ("\ufeffKAMAU", "Kamau"),
        ("\u202eKAMAU\u202c", "Kamau"),
        ("KAMAU\U000e0041", "Kamau"),
        ("KAMAU\u00a0\u2003WA", "Kamau Wa"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("\u200cعلی\u200c", "علی"),
        ("क्\u200dष", "क्\u200dष"),
        ("ශ්\u200dරී", "ශ්\u200dරී"),
        ("Ka\u200dmau", "Kamau"),
    ],
)
def test_one_by_one(written: str, expected: str) -> None:
    assert cased(written) == expected
    assert cased(expected) == expected


def test_a_name_that_is_longer_than_any_is_left_alone() -> None:
    long = "A" * (NAME_LIMIT + 1)
    assert cased(long) == long

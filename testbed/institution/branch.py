"""The branches of the demo's institution, and the lists that it filled in itself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Branch:
    """One office.

    `location` is what Kiva calls the place, `digits` what the currency has behind the point, `unit` the step
    in which loans are granted there, `names` the key of `people.NAMES`, `story` what people write for Kiva.
    """

    name: str
    location: str
    currency: str
    digits: int
    unit: Decimal
    names: str
    story: str


BRANCHES: tuple[Branch, ...] = (
    Branch(
        "Agence de Thiès",
        "Thiès: Senegal",
        "XOF",
        0,
        Decimal(5000),
        "wolof",
        "Grâce à ce prêt, elle a doublé son étal au marché.\nSes enfants vont à l'école. Jërëjëf !",
    ),
    Branch(
        "Agence de Ziguinchor",
        "Ziguinchor: Senegal",
        "XOF",
        0,
        Decimal(5000),
        "wolof",
        "La récolte d'anacarde a été bonne ; « nous avons acheté une décortiqueuse », dit-elle.",
    ),
    Branch(
        "Agencia Cusco",
        "Cusco: Peru",
        "PEN",
        2,
        Decimal(100),
        "quechua",
        "Compró ovejas y teje más rápido que antes. ¡Está muy agradecida! Añade: «sulpayki».",
    ),
    Branch(
        "فرع إربد",
        "Irbid: Jordan",
        "JOD",
        3,
        Decimal(25),
        "arabic",
        "وسّعت دكانها واشترت ثلاجة جديدة، وهي تشكر كل من ساعدها.",
    ),
    Branch(
        "Бишкек",
        "Bishkek: Kyrgyzstan",
        "KGS",
        2,
        Decimal(1000),
        "kyrgyz",
        "Ал насыяга эки уй сатып алып, сүттү базарга алып барат. Чоң рахмат!",
    ),
    Branch(
        "ქუთაისი",
        "Kutaisi: Georgia",
        "GEL",
        2,
        Decimal(50),
        "georgian",
        "სესხით სათბური ააშენა და პომიდორს ყიდის. მადლობას გიხდით!",
    ),
    Branch(
        "សាខាសៀមរាប",
        "Siem Reap: Cambodia",
        "KHR",
        0,
        Decimal(20000),
        "khmer",
        "គាត់បានទិញម៉ាស៊ីនបូមទឹក ហើយស្រូវទទួលបានផលល្អ។ សូមអរគុណ!",
    ),
    Branch(
        "Chi nhánh Thanh Hóa",
        "Thanh Hoá: Vietnam",
        "VND",
        0,
        Decimal(100000),
        "vietnamese",
        "Chị đã mua thêm hai con lợn nái và sửa lại chuồng. Chị xin cảm ơn!",
    ),
    Branch(
        "赤峰分部",
        "Chifeng: China",
        "CNY",
        2,
        Decimal(100),
        "chinese",
        "她用贷款买了十只羊,今年冬天的饲料也够了。谢谢大家!",
    ),
    Branch(
        "Kisumu Branch",
        "Kisumu: Kenya",
        "KES",
        2,
        Decimal(1000),
        "swahili",
        'She bought a freezer & sells 40 kg of fish a day. "asante sana", she says.',
    ),
)

PURPOSES: dict[str, str | None] = {
    "Agriculture": "Agriculture",
    "Elevage": "Livestock",
    "Petit commerce": "General Store",
    "Vente de poisson": "Fish Selling",
    "Couture": "Sewing",
    "Costura y tejido": "Weaving",
    "Crianza de animales": "Livestock",
    "تجارة الملابس": "Clothing Sales",
    "Животноводство": "Livestock",
    "Dairy": "Dairy",
    "Food Stall": "Food Stall",
    "School fees": "Primary/secondary school costs",
    "Chăn nuôi": "Pigs",
    "ជួសជុលផ្ទះ": "Personal Housing Expenses",
    "养羊": "Livestock",
    "Travaux divers": None,
}
"""What the institution calls the purposes of its loans, and Kiva's activity; None: Kiva has no such thing."""

COMMON_PURPOSES = tuple(purpose for purpose, activity in PURPOSES.items() if activity)

FUNDS = ("Fonds propres", "Kiva Microfunds", "Oikocredit")
KIVA_FUND = 2
"""`m_fund.id` of the second."""

GENDERS = ("Female", "Male")

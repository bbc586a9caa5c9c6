"""Names as they are written where Kiva's partners work, in their own scripts and with their own gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True)
class Person:
    """A name as the MIS keeps it: in parts, or as one text when the parts are unknown.

    `gender` is `Female`, `Male` or None. A name in one text has neither first nor last name.
    """

    firstname: str | None
    middlename: str | None
    lastname: str | None
    fullname: str | None
    gender: str | None

    @property
    def display_name(self) -> str:
        """The name in one text, never empty."""
        parts = (self.firstname, self.middlename, self.lastname)
        return self.fullname or " ".join(part.strip() for part in parts if part)


@dataclass(frozen=True)
class Names:
    """What people of one place are called."""

    women: tuple[str, ...]
    men: tuple[str, ...]
    families: tuple[str, ...]
    entities: tuple[str, ...]
    groups: tuple[str, ...]


def _names(women: str, men: str, families: str, entities: str, groups: str) -> Names:
    cut = tuple(tuple(text.split(", ")) for text in (women, men, families, entities, groups))
    return Names(*cut)


NAMES: dict[str, Names] = {
    "wolof": _names(
        "Aïssatou, Ndèye, Fatou, Awa, Mariétou, Khady, Rokhaya, Adja, Sokhna, Coumba, N'Deye Maty, Bineta",
        "Cheikh, Moussa, Ibrahima, Ousmane, Modou, Alioune, Sérigne, Babacar, El Hadji, Pape",
        "Diop, Ndiaye, Fall, Sow, Guèye, Bâ, Faye, M'Baye, Sané, Diédhiou, Touré, Cissé",
        "Coopérative Jappoo, Union des mareyeuses, Atelier Bégué Coumba",
        "Takku Liggéey, And Jëf, Bokk Jom, Deggo, Jàppalante, Sant Yàlla, Mbooloo, Kaay Fecc",
    ),
    "quechua": _names(
        "María, Rosa, Flor, Yésica, Nélida, Concepción, Begoña, Sumaq, Ana María, Inés, Qori",
        "José, Jesús, Ángel, Wilber, Andrés, Íñigo, Raúl, Illari, Ramón, Óscar",
        "Quispe Huamán, Mamani, Ñahui, Condori, Peña Núñez, Güemes, Choque, Yupanqui, Muñoz, Ccahuana",
        "Asociación Ch'aska, Tejedoras de Chinchero S.A.C.",
        "Virgen del Carmen, Sumaq Warmi, Nueva Esperanza, Las Ñustas, Pachamama, Señor de Huanca",
    ),
    "arabic": _names(
        "فاطمة, عائشة, مريم, خديجة, زينب, نور, سلمى, هدى, رنا, أمينة",
        "محمد, أحمد, خالد, يوسف, عمر, إبراهيم, محمود, طارق, سامي",
        "العلي, الخطيب, بني هاني, الحداد, القضاة, النجار, عبيدات, الزعبي, الشرع",
        "جمعية نساء الرمثا, مشغل الأمل",
        "نساء الأمل, بيت الخير, وردة الشمال, سنابل, الياسمين, زيتونة",
    ),
    "kyrgyz": _names(
        "Айгүл, Гүлнара, Жылдыз, Нургүл, Бактыгүл, Чолпон, Анна, Мээрим, Сайкал, Татьяна",
        "Азамат, Бакыт, Нурлан, Эрлан, Өмүрбек, Талант, Сергей, Уланбек, Таалай",
        "Асанова, Токтогулова, Жумабаева, Абдырахманова, Кожоева, Өмүралиева, Цой, Бекова, Сыдыкова",
        "Кооператив Береке, Чүй артели",
        "Береке, Ак-Жол, Ынтымак, Бирдик, Ырыс, Келечек, Алтын-Дан",
    ),
    "georgian": _names(
        "ნინო, მარიამ, თამარ, ანა, ქეთევან, ელენე, ნათელა, ლალი, მანანა",
        "გიორგი, დავით, ლევან, ზურაბ, ნოდარ, თენგიზ, ვახტანგ, ბადრი",
        "ბერიძე, კაპანაძე, გელაშვილი, ლომიძე, ჯიშკარიანი, წიკლაური, ხვიჩია, მაისურაძე",
        "კოოპერატივი იმერეთი",
        "იმედი, მზიური, ვაზი, კოლხეთი, რიონი",
    ),
    "khmer": _names(
        "សុភា, ចាន់ថា, ស្រីមុំ, រតនា, បុប្ផា, កល្យាណ, ធីតា, សុខា, ម៉ាលី",
        "វិចិត្រ, សុវណ្ណ, ពិសិដ្ឋ, ដារ៉ា, រិទ្ធី, សំណាង, បូរ៉ា, វណ្ណា",
        "សុខ, ជា, លី, ហេង, កែវ, ម៉ៅ, ប៊ុន, ស៊ឹម, អ៊ុក",
        "សហគមន៍កសិកម្មសំរោង",
        "ក្រុមសាមគ្គី, ក្រុមសង្ឃឹម, ក្រុមផ្កាឈូក, ក្រុមអភិវឌ្ឍន៍, ក្រុមរុងរឿង",
    ),
    "vietnamese": _names(
        "Thị Hương, Thị Ngọc, Thị Ánh Tuyết, Thị Bưởi, Thị Đào, Thị Nở, Thị Phượng, Thúy, Thị Lệ, Thị Gái",
        "Văn Đức, Văn Hải, Quốc Việt, Đình Thắng, Hữu Nghĩa, Xuân Trường, Văn Tý",
        "Nguyễn, Trần, Lê, Phạm, Hoàng, Vũ, Đặng, Bùi, Đỗ, Ngô",
        "Hợp tác xã Đông Sơn, Cơ sở Mây Tre Ánh",
        "Tổ phụ nữ Đông Tiến, Tổ Thống Nhất, Tổ Hòa Bình, Tổ Ánh Dương, Tổ Quảng Xương",
    ),
    "chinese": _names(
        "秀英, 桂兰, 玉梅, 丽华, 小红, 淑珍, 春花, 婷婷, 敏",
        "建国, 志强, 海涛, 永福, 军, 伟, 德明, 国栋",
        "王, 李, 张, 刘, 陈, 赵, 欧阳, 司马, 斯琴",
        "红山养殖合作社",
        "向阳组, 团结组, 兴旺组, 丰收组, 草原组",
    ),
    "swahili": _names(
        "Achieng', Wanjikũ, Nyambura, Akinyi, Mwanaisha, Zawadi, Neema, Atieno, Mary Goretti",
        "Otieno, Kamau, Juma, Ochieng', Baraka, Kipkorir, Mũthomi, Omondi",
        "Ouma, O'Dinga, Wafula, Njoroge, Cheruiyot, Mũgo, Abdalla, Onyango, Ng'ang'a",
        "Kisumu Fish Traders, Jiinue Enterprises",
        "Tujikaze, Upendo, Amani, Nyota Njema, Mwangaza, Umoja, Wema, Bidii",
    ),
}


WOMEN = 0.78
"""Their share among Kiva's borrowers."""


def person(names: Names, rng: Random) -> Person:
    """Somebody, with the gaps that a MIS has, each in one of a hundred."""
    woman = rng.random() < WOMEN
    first, family = rng.choice(names.women if woman else names.men), rng.choice(names.families)
    gender = "Female" if woman else "Male"
    match rng.randrange(100):
        case 0:
            return Person(None, None, None, rng.choice(names.entities), None)
        case 1:  # keyed in before the form had two fields
            return Person(None, None, None, f"{first} {family}", gender)
        case 2:  # a blank that nobody sees
            return Person(f"{first} ", None, family, None, gender)
        case 3:
            return Person(first, None, family, None, None)
        case gap:
            middle = rng.choice(names.families) if gap % 10 == 0 else None
            return Person(first, middle, family, None, gender)


def is_entity(somebody: Person, names: Names) -> bool:
    """Whether this is a cooperative or a firm (`legal_form_enum` 2), not a person."""
    return somebody.fullname in names.entities

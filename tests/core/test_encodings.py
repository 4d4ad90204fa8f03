"""The code page of older texts: by their words, however much English and however many numbers stand around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repcore.data.encodings import detect_encoding
from repcore.data.tables import Table

TEXTS = {
    "russian": ("имя;класс\nбензол;активный\nтолуол;неактивный\nвода;активный\n", "cp1251 koi8_r cp866 iso8859_5"),
    "short": ("образец;метка\nсобака;да\nкошка;нет\n", "cp1251 koi8_r mac_cyrillic"),
    "ukrainian": ("назва;клас\nїжак;тварина\nґава;птах\nєнот;тварина\nлисиця;тварина\n", "cp1251 koi8_u"),
    "bulgarian": ("файл;клас\nвълк;животно\nщъркел;птица\nкон;животно\n", "cp1251"),
    "serbian": ("датотека;класа\nчовек;људи\nђак;људи\nпас;животиње\n", "cp1251"),
    "greek": ("όνομα;κλάση\nσκύλος;ζώο\nγάτα;ζώο\nδέντρο;φυτό\n", "cp1253 iso8859_7"),
    "hebrew": ("שם;סוג\nכלב;חיה\nחתול;חיה\nעץ;צמח\n", "cp1255"),
    "arabic": ("اسم;نوع\nكلب;حيوان\nقطة;حيوان\nشجرة;نبات\n", "cp1256"),
    "polish": ("nazwa;klasa\nżółw;zwierzę\nświerszcz;owad\nłabędź;ptak\ngęś;ptak\n", "cp1250 iso8859_2"),
    "german": ("name;klasse\nBär;Tier\nGräser;Pflanze\nKühe;Tier\nstraße;Ding\n", "cp1252 latin-1"),
    "french": ("nom;classe\nécole;lieu\nélève;être\nâne;bête\ngarçon;être\n", "cp1252"),
    "turkish": ("bileşik;sınıf\nığdır;şehir\nçiçek;bitki\nİğne;eşya\nkuş;hayvan\n", "cp1254 iso8859_9"),
    "hungarian": ("név;osztály\nerdő;hely\nfű;növény\nszőlő;gyümölcs\nméh;állat\n", "cp1250 iso8859_2"),
    "czech": ("název;třída\nkůň;zvíře\nžluť;barva\nmladý;věk\nřeka;místo\n", "cp1250 iso8859_2"),
    "icelandic": ("nafn;flokkur\nþorskur;dýr\nsvæði;staður\nmýri;staður\nhönd;líkami\n", "cp1252"),
    "portuguese": ("nome;classe\nleões;animais\nlimões;frutas\nsabiá;ave\n", "cp1252"),
    "estonian": ("nimi;liik\nõun;vili\nööbik;lind\nküüs;keha\nsõnajalg;taim\n", "cp1252"),
    "french-dos": ("nom;classe\nécole;lieu\nélève;être\nnaïve;être\ngarçon;être\n", "cp850 mac_roman"),
    "german-dos": ("name;klasse\nBären;Tier\nGräser;Pflanze\nKühe;Tier\nMöwe;Vogel\n", "cp850 mac_roman"),
    "units": ("name;T in °C;µmol\nfirst;20;3\nsecond;25;4 ± 1\n", "cp1252"),
    "japanese": ("名前;分類\n犬;動物\n猫;動物\n木;植物\n", "shift_jis euc_jp"),
    "chinese": ("名称;类别\n狗;动物\n猫;动物\n树;植物\n", "gb18030"),
    "korean": ("이름;분류\n개;동물\n고양이;동물\n나무;식물\n", "euc_kr"),
}
CASES = [(name, encoding) for name, (_, encodings) in TEXTS.items() for encoding in encodings.split()]


@pytest.mark.parametrize("around", [0, 40], ids=["alone", "among-numbers"])
@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_every_cell_is_read_as_it_was_written(tmp_path: Path, language: str, encoding: str, around: int) -> None:
    lines = TEXTS[language][0].splitlines()
    width = lines[0].count(";") + 1
    filler = [";".join([f"sample{row}", *[f"{row}.5"] * (width - 1)]) for row in range(around)]
    written = [lines[0], *filler, *lines[1:]]
    path = tmp_path / "table.csv"
    path.write_bytes("\n".join(written).encode(encoding) + b"\n")
    table = Table(path)
    assert detect_encoding(path).damaged == 0
    assert table.columns == tuple(lines[0].split(";")) or list(table.columns) == lines[0].split(";")
    cells = [[str(cell) for cell in table.cells(name)] for name in table.columns]
    assert [";".join(row) for row in zip(*cells, strict=True)] == written[1:]

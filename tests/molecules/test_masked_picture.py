"""What a run's report shows of masked-language modelling: the places of the loss, and the guesses of the same pass."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
import torch

from repcore.embedding.model import ListReader
from repcore.interfaces import Batch, Picture, Progress, Sample
from repcore_molecules.configs.data import SelfiesConfig
from repcore_molecules.configs.selformer import MaskedLanguageConfig, SelformerConfig
from repcore_molecules.encoders.selformer import Selformer
from repcore_molecules.objectives.masked_language import MaskedLanguage
from repcore_molecules.preprocessors.selfies import SelfiesPreprocessor
from repcore_molecules.rendering import masked_tokens as render_masked
from repcore_molecules.rendering.masked_tokens import MOST_PLACES, HiddenToken, masked_picture

SMILES = ["CCOC(=O)c1ccccc1N", "CCO", "c1ccncc1C#N", "CC(=O)O"]
ETHANOL = ["<s>", "[C]", "[C]", "[O]", "</s>"]


@pytest.fixture
def preprocessor() -> SelfiesPreprocessor:
    made = SelfiesPreprocessor(SelfiesConfig())
    made.fit(ListReader(SMILES), range(len(SMILES)))
    return made


def build(preprocessor: SelfiesPreprocessor, **changes: object) -> MaskedLanguage:
    torch.manual_seed(0)
    facts = preprocessor.facts()
    size = facts["vocabulary_size"]
    encoder = Selformer(
        SelformerConfig(
            vocabulary_size=size, hidden_width=16, layers=1, attention_heads=2, feed_forward_width=16, max_positions=60
        )
    )
    config = MaskedLanguageConfig(token_count=size, token_texts=facts["token_texts"], mask_probability=0.5)
    objective = MaskedLanguage(replace(config, **changes), encoder)  # type: ignore[arg-type]
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.4)  # initial weights give all tokens nearly one probability
    return objective.eval()


def one_molecule(preprocessor: SelfiesPreprocessor, smiles: str = SMILES[0]) -> Batch:
    return preprocessor.collate(preprocessor.prepare(Sample("0", smiles)))


def draws_of(objective: MaskedLanguage, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(objective.draw(batch, torch.Generator().manual_seed(seed), Progress(step=0, total_steps=1)))


def drawn(objective: MaskedLanguage, batch: Batch, draws: dict[str, torch.Tensor]) -> Picture:
    with torch.no_grad():
        return objective.picture(batch, draws)


def rows_of(picture: Picture) -> list[list[str]]:
    """Cells of the table without marks of HTML."""
    rows = re.findall(r"<tr>(.*?)</tr>", picture.html)[1:]
    return [[unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<td.*?</td>", row)] for row in rows]


def test_places_and_guesses_are_those_of_the_loss(preprocessor: SelfiesPreprocessor) -> None:
    objective, batch = build(preprocessor), one_molecule(preprocessor)
    draws = draws_of(objective, batch)
    picture = drawn(objective, batch, draws)
    texts = preprocessor.facts()["token_texts"]
    ids = batch.inputs["input_ids"][0].tolist()
    places = [t for t, number in enumerate(ids) if number >= 5 and float(draws["select"][0, t]) < 0.5]
    masked = objective.mask_tokens(batch, draws)
    with torch.no_grad():  # every position, not the hidden ones alone
        scores = objective.logits(objective.encode(batch, masked).tokens["tokens"].values)[0].double()
        terms = objective(batch, draws)
    chances = scores.exp() / scores.exp().sum(-1, keepdim=True)
    rows = rows_of(picture)
    assert len(rows) == len(places) == int(terms.counts["masked_language"])
    for row, place in zip(rows, places, strict=True):
        order = sorted(range(len(texts)), key=lambda number: -float(chances[place, number]))[:3]
        assert [cell.split()[0] for cell in row[3:]] == [texts[number] for number in order]
        for cell, number in zip(row[3:], order, strict=True):
            assert abs(percent(cell) - 100 * float(chances[place, number])) < 0.51  # rounded to whole percents
        assert row[1].split()[0] == texts[ids[place]]
        assert abs(percent(row[1]) - 100 * float(chances[place, ids[place]])) < 0.51
        assert row[2] == ("✓ right" if order[0] == ids[place] else "✗ wrong")
    right = round(float(terms.metrics["masked_accuracy"]) * len(places))
    assert f"{len(places)} of {len(ids) - 2} tokens hidden, {right} guessed right" in picture.alt


def percent(cell: str) -> float:
    found = cell.split()[-1].removesuffix("%")
    return 0.25 if found == "<1" else float(found)


def test_boxes_show_what_the_encoder_saw(preprocessor: SelfiesPreprocessor) -> None:
    objective, batch = build(preprocessor, mask_share=0.4), one_molecule(preprocessor)
    draws = draws_of(objective, batch, seed=3)
    masked = objective.mask_tokens(batch, draws)
    picture = drawn(objective, batch, draws)
    boxes = re.findall(r"<sup>(\d+)</sup>(\S+) [✓✗]</span>", picture.html)
    texts = preprocessor.facts()["token_texts"]
    shown = [texts[number] for number in masked.input_ids[masked.selected].tolist()]
    assert boxes == [(str(row), "?" if text == "<mask>" else text) for row, text in enumerate(shown, 1)]
    assert any(text != "<mask>" for text in shown)  # else the seed tells nothing
    other = drawn(objective, batch, draws_of(objective, batch, seed=4))
    assert other != picture


def test_drawing_changes_no_weight_and_draws_nothing(preprocessor: SelfiesPreprocessor) -> None:
    objective, batch = build(preprocessor), one_molecule(preprocessor)
    draws = draws_of(objective, batch)
    weights = {name: value.clone() for name, value in objective.state_dict().items()}
    state = torch.get_rng_state()
    assert drawn(objective, batch, draws) == drawn(objective, batch, draws)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in objective.state_dict().items())


def test_molecules_are_drawn_as_written_and_as_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(sample: Sample) -> Picture:
        asked.append(str(sample.inputs))
        return Picture("<svg></svg>", "")

    monkeypatch.setattr(render_masked, "draw_molecule", note)
    wrong = HiddenToken(place=3, shown="<mask>", true="[O]", probability=0.2, guesses=(("[N]", 0.7), ("[O]", 0.2)))
    assert masked_picture(ETHANOL, [wrong]).alt == (
        "1 of 3 tokens hidden, 0 guessed right; filled in, the molecule is another"
    )
    assert asked == ["CCO", "CCN"]
    right = replace(wrong, guesses=(("[O]", 0.9),))
    assert masked_picture(ETHANOL, [right]).alt.endswith("1 guessed right; filled in, the molecule is the same")
    assert "the same molecule" in masked_picture(ETHANOL, [right]).html


@pytest.mark.parametrize("guess", ["<unk>", "</s>x", "#99"])
def test_a_row_that_is_no_molecule_says_so(guess: str) -> None:
    one = HiddenToken(place=1, shown="<mask>", true="[C]", probability=0.1, guesses=((guess, 0.9),))
    picture = masked_picture(ETHANOL, [one])
    assert picture.html.count("<svg") == 1  # as written
    assert picture.alt.endswith("filled in, the row is no molecule")
    assert guess not in picture.html or guess == "#99"  # escaped


def test_published_tokens_are_shown_without_a_drawing() -> None:
    one = HiddenToken(place=2, shown="C", true="=O", probability=0.1, guesses=(("C", 0.9),))
    picture = masked_picture(["<s>", "C", "=O", "</s>"], [one])
    assert "<svg" not in picture.html
    assert picture.alt == "1 of 2 tokens hidden, 0 guessed right"


def test_without_token_texts_ids_are_shown(preprocessor: SelfiesPreprocessor) -> None:
    objective, batch = build(preprocessor, token_texts=None), one_molecule(preprocessor)
    picture = drawn(objective, batch, draws_of(objective, batch))
    assert rows_of(picture)
    assert all(re.match(r"#\d+ ", row[1]) for row in rows_of(picture))


def test_nothing_hidden_and_many_hidden(preprocessor: SelfiesPreprocessor) -> None:
    objective, batch = build(preprocessor, mask_probability=0.0), one_molecule(preprocessor)
    picture = drawn(objective, batch, draws_of(objective, batch))
    assert re.fullmatch(r"0 of \d+ tokens hidden, 0 guessed right", picture.alt)
    assert not rows_of(picture)
    every = build(preprocessor, mask_probability=1.0)
    long = one_molecule(preprocessor, "C" * 50)
    picture = drawn(every, long, draws_of(every, long))
    assert len(rows_of(picture)) == MOST_PLACES
    assert f"and {50 - MOST_PLACES} more hidden places" in picture.html
    assert picture.html.count("<sup>") == 50

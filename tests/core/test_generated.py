"""The base of data sets that need no files: ids, what a fingerprint follows, and samples kept from pass to pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from repcore.data import generated
from repcore.data.generated import Generated, every_fifth
from repcore.errors import DataError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec


@dataclass(frozen=True)
class DotsConfig:
    dots: int = 12
    seed: int = 0


class Dots(Generated):
    noun = "dot"
    targets = (TargetSpec("parity", "class", names=("even", "odd")),)

    def __init__(self, config: DotsConfig) -> None:
        super().__init__(config, config.dots)
        self.config = config
        self.makings = 0

    def make(self, index: int) -> Sample:
        self.makings += 1
        return Sample(self.id_of(index), self.config.seed + index, {"parity": index % 2})


class NewerDots(Dots):
    version = 2


def test_a_sample_is_found_by_number_and_by_its_id() -> None:
    dots = Dots(DotsConfig(seed=100))
    assert (len(dots), dots[7].id, dots[7].inputs) == (12, "dot-000007", 107)
    assert dots.by_id("dot-000011") is dots[11]
    assert dots.splits == {}


@pytest.mark.parametrize("index", [-1, 12])
def test_numbers_outside_end_a_loop_over_the_samples(index: int) -> None:
    with pytest.raises(IndexError, match=f"dot {index} of 12"):
        Dots(DotsConfig())[index]
    assert len(list(Dots(DotsConfig()))) == 12  # type: ignore[call-overload]


@pytest.mark.parametrize("word", ["dot-000012", "dot-7", "spot-000007", "7", "dot--00001", "dot-", "000007", "dot-²"])
def test_an_id_of_no_sample_is_named_with_the_ids_there_are(word: str) -> None:
    with pytest.raises(DataError, match="no generated dot") as caught:
        Dots(DotsConfig()).by_id(word)
    assert "dot-000000 to dot-000011" in str(caught.value)
    assert repr(word) in str(caught.value)


def test_the_fingerprint_follows_settings_and_version() -> None:
    config = DotsConfig()
    same = Dots(config).fingerprint
    assert same == Dots(DotsConfig()).fingerprint
    others = {Dots(replace(config, seed=1)).fingerprint, NewerDots(config).fingerprint}
    assert len({same, *others}) == 3


def test_samples_are_made_once_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "KEPT", 5)
    dots = Dots(DotsConfig())
    first = [dots[index].inputs for index in range(12)]
    assert [dots[index].inputs for index in range(12)] == first
    assert dots.makings == 12 + 7


def test_every_fifth_row_is_a_test_row() -> None:
    assert every_fifth(4) == {}
    assert every_fifth(11) == {"train": [0, 1, 2, 3, 5, 6, 7, 8, 10], "test": [4, 9]}

"""Generated words and sounds, each of which can be recorded again: to learn what is heard without who and where.

Views of one recording can be cut, filtered and drowned, but they stay one voice in one room. Here the two of a pair
are two takes: a word from two voices, a sound over two backgrounds, each behind a microphone of its own, as in learning
from perturbed synthesiser settings (Cherep and Singh 2025, Contrastive learning from synthetic audio doppelgaengers,
arXiv 2406.05923).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repcore.data.generated import Generated, every_fifth
from repcore.errors import ConfigError
from repcore.interfaces import Sample
from repcore.specs import TargetSpec
from repcore_audio.configs.recordings import TakesConfig
from repcore_audio.datasets.recordings import Recording, Retakable
from repcore_audio.datasets.sounds import MAKERS, Scene, sound_of
from repcore_audio.datasets.speaking import Sound, random_word, spoken

LOWEST_RATE = 8000
SECONDS = 1.2  # longest sound, about as long as words are
SIGNAL_TO_NOISE_DB = (0.0, 20.0)
KINDS = (*MAKERS, "word")


@dataclass(frozen=True, slots=True)
class Utterance(Retakable):
    """A recording of a word that is known.

    Args:
        word: its sounds.
    """

    word: tuple[Sound, ...] = ()

    def again(self, generator: np.random.Generator) -> Recording:
        """The same word from another voice, at another place."""
        return Recording(spoken(self.word, self.sample_rate_hz, generator)[None], self.sample_rate_hz)


class Takes(Generated):
    """Dataset ``audio/takes``: the label is the kind of sound, words being one.

    Args:
        config: number, share of words, rate and seed.

    Raises:
        ConfigError: no recording, or a rate that speech does not fit in.
    """

    noun = "take"
    targets = (TargetSpec("kind", "class", names=KINDS),)

    def __init__(self, config: TakesConfig) -> None:
        if config.clips < 1 or config.sample_rate_hz < LOWEST_RATE or not 0 <= config.words_share <= 1:
            raise ConfigError(
                f"{config.clips} recordings at {config.sample_rate_hz} Hz, a share {config.words_share} of them words, "
                "cannot be generated",
                expected=f"1 or more at {LOWEST_RATE} Hz or more, a share within 0 to 1",
            )
        super().__init__(config, config.clips)
        self.config = config

    @property
    def splits(self) -> Mapping[str, Sequence[int]]:
        return every_fifth(len(self))

    def make(self, index: int) -> Sample:
        """A word or a sound of its own, recorded once."""
        rng = np.random.default_rng([self.config.seed, index])
        rate = self.config.sample_rate_hz
        made: Recording
        if rng.random() < self.config.words_share:
            kind, word = len(MAKERS), random_word(rng)
            made = Utterance(spoken(word, rate, rng)[None], rate, word=word)
        else:
            kind = int(rng.integers(len(MAKERS)))
            made = Scene.of(sound_of(kind, SECONDS, rate, rng), kind, rate, SIGNAL_TO_NOISE_DB, rng)
        return Sample(self.id_of(index), made, {"kind": kind}, None, {"seconds": round(made.length / rate, 4)})

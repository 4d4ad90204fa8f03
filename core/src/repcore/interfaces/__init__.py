"""What plugin code must look like, and the values that pass between core and plugins.

Reading order, which is also the way of one training batch::

    DatasetReader[i] -> Sample -> Preprocessor.prepare -> Item(s) -> Preprocessor.collate -> Batch
        (training with several views: Views.build -> {name: Item} -> collate each -> Batch.views)
    Batch -> Objective.draw (all randomness) -> Objective(batch, draws) -> LossTerms
    Batch -> Encoder -> Features -> pooled vectors, tokens, layers

All interfaces are structural: authors inherit ``torch.nn.Module`` where noted and nothing of ours.
One module a subject; import from here. Importing it does not import torch.

Symbols: B items of a batch, T tokens of an item, D feature width, S all tokens of a ragged batch.
"""

from repcore.interfaces.answers import DenseAnswer, EmbeddingRows, EmbeddingWriter
from repcore.interfaces.data import (
    Batch,
    BlockPreparation,
    DatasetReader,
    DensePreprocessor,
    Item,
    Preparation,
    Preprocessor,
    Sample,
    Views,
    Window,
)
from repcore.interfaces.evaluation import Estimator, FeatureBatch, ModelProbe, Probe, ProbeSplit, Task
from repcore.interfaces.features import Encoder, Features, Tokens
from repcore.interfaces.functions import Baseline, CheckpointConverter, Renderer, Replay, Sniffer, StageResult
from repcore.interfaces.progress import Progress
from repcore.interfaces.reporting import Picture, ReportGroup, ReportItem, ReportSection
from repcore.interfaces.training import Draws, LossTerms, Objective

__all__ = [
    "Baseline",
    "Batch",
    "BlockPreparation",
    "CheckpointConverter",
    "DatasetReader",
    "DenseAnswer",
    "DensePreprocessor",
    "Draws",
    "EmbeddingRows",
    "EmbeddingWriter",
    "Encoder",
    "Estimator",
    "FeatureBatch",
    "Features",
    "Item",
    "LossTerms",
    "ModelProbe",
    "Objective",
    "Picture",
    "Preparation",
    "Preprocessor",
    "Probe",
    "ProbeSplit",
    "Progress",
    "Renderer",
    "Replay",
    "ReportGroup",
    "ReportItem",
    "ReportSection",
    "Sample",
    "Sniffer",
    "StageResult",
    "Task",
    "Tokens",
    "Views",
    "Window",
]

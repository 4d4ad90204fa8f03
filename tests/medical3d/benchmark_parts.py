"""Parts of ``benchmarks/`` that tests of volumes use: probe and training loop of Alice's published table, and the judge
of the preset `small`."""

from __future__ import annotations

from tests.benchmark_modules import of_benchmarks

alice_dense = of_benchmarks("alice_dense")
alice_segmentation = of_benchmarks("alice_segmentation")
small_volumes = of_benchmarks("small_volumes")

"""One self-contained HTML page about a run: what was learned, whether it is sound, and what the embeddings look like.

``collect`` reads the run folder; ``held_out`` embeds held-out rows again; ``map``, ``neighbours``, ``pictures``,
``figures``, ``findings``, ``probes`` and ``settings`` turn that into values; ``build`` puts them into the templates.
"""

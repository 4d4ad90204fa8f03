# %% [markdown]
# # Graphs: from PyG data to classes
#
# Graphs as `torch_geometric` data; edge lists, GraphML and others are read by path. The sizes are for seconds.

# %%
import networkx
import pandas as pd
from torch_geometric.utils import from_networkx

import repcore

makers = (networkx.cycle_graph, networkx.star_graph)
graphs = [from_networkx(makers[n % 2](5 + n // 2)) for n in range(40)]
frame = pd.DataFrame({"graph": graphs, "shape": ["ring", "star"] * 20})

# %% [markdown]
# ## Learn from structure alone

# %%
run = repcore.train("graphs/graph-contrast", frame["graph"], steps=10, batch_size=8)
run.metrics

# %% [markdown]
# ## Look: each row as it is drawn

# %%
vectors = run.embed(graphs[:4])
vectors[:4]

# %% [markdown]
# ## Ask what the vectors know

# %%
repcore.probe(run, frame, label="shape", seeds=2).to_pandas()

# %% [markdown]
# ## Fine-tune and predict

# %%
tuned = repcore.finetune(run, frame, label="shape", epochs=3, twin=False)
tuned.predict(graphs[:4])

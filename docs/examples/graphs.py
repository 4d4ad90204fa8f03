# %% A data frame of torch_geometric graphs: rings and stars
import networkx
import pandas as pd
from torch_geometric.utils import from_networkx

import repcore

makers = (networkx.cycle_graph, networkx.star_graph)
graphs = [from_networkx(makers[n % 2](5 + n // 2)) for n in range(40)]
frame = pd.DataFrame({"graph": graphs, "shape": ["ring", "star"] * 20})

# %% Pre-train on the graphs, fine-tune on the shapes
run = repcore.train("graphs/graph-contrast", frame["graph"], steps=10, batch_size=8)
tuned = repcore.finetune(run, frame, label="shape", epochs=3)

# %% A row out for every row in
print(tuned.predict(graphs[:4]).to_pandas())

# %% [markdown]
# # Molecules: from a table of SMILES to predictions
#
# A table with one measured number, a model that learns from structures alone, and what it is good for. The sizes are
# for seconds, not for results: leave out `steps` and `epochs` for the recipe's own.

# %%
import numpy as np
import pandas as pd
from rdkit.Chem import Crippen, MolFromSmiles

import repcore

tails = ["O", "N", "Cl", "C(=O)O", "c1ccccc1", "OC", "C#N", "S", "C(=O)N", "C1CCCC1"]
smiles = [f"{'C' * n}{tail}" for n in range(1, 9) for tail in tails]
frame = pd.DataFrame({"smiles": smiles, "logp": [Crippen.MolLogP(MolFromSmiles(one)) for one in smiles]})
frame.head()

# %% [markdown]
# ## Learn from structures alone

# %%
run = repcore.train("molecules/selformer", frame[["smiles"]], steps=40, batch_size=16)
run.metrics

# %% [markdown]
# ## Look: a vector for each row, with its picture

# %%
vectors = run.embed(frame["smiles"])
vectors[:4]

# %% [markdown]
# The four rows that are most like the first:

# %%
unit = np.asarray(vectors) / np.linalg.norm(np.asarray(vectors), axis=1, keepdims=True)
vectors[np.argsort(-unit @ unit[0])[1:5]]

# %% [markdown]
# ## Ask what the vectors know
#
# Beside random weights and beside baselines that need no network; a difference counts where its interval excludes 0.

# %%
repcore.probe(run, frame, label="logp", seeds=2).to_pandas()

# %% [markdown]
# ## Fine-tune and predict
#
# A row out for every row in, also for one that cannot be read.

# %%
tuned = repcore.finetune(run, frame, label="logp", epochs=4, twin=False)
tuned.predict(["CCCCCO", "CCCCc1ccccc1", "C1CC"])

# %% [markdown]
# # Point clouds: from arrays of points to shapes
#
# Clouds as arrays `(n, 3)`; PLY, PCD, LAS and others are read by path. The sizes are for seconds, not for results.

# %%
import numpy as np
import pandas as pd

import repcore

clouds = list(np.random.default_rng(0).normal(size=(64, 256, 3)))
for number, cloud in enumerate(clouds):
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True, ord=(2, np.inf)[number % 2])
frame = pd.DataFrame({"points": clouds, "shape": ["sphere", "cube"] * 32})

# %% [markdown]
# ## Learn from points alone

# %%
small = {"preprocessor": {"points": 256}, "encoder": {"groups": [64, 32, 16]}}
run = repcore.train("pointcloud/point-m2ae", frame["points"], steps=10, batch_size=8, **small)
run.metrics

# %% [markdown]
# ## Look: each row as a turning cloud

# %%
vectors = run.embed(clouds[:4])
vectors[:2]

# %% [markdown]
# ## Fine-tune and predict

# %%
tuned = repcore.finetune(run, frame, label="shape", task="classification", epochs=4, lr=1e-3, twin=False)
tuned.predict(clouds[:2])

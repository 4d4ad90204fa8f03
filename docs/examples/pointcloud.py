# %% A data frame of point arrays (n, 3): spheres and cubes
import numpy as np
import pandas as pd

import repcore

clouds = list(np.random.default_rng(0).normal(size=(64, 256, 3)))
for number, cloud in enumerate(clouds):
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True, ord=(2, np.inf)[number % 2])
frame = pd.DataFrame({"points": clouds, "shape": ["sphere", "cube"] * 32})

# %% Pre-train on the points, fine-tune on the shapes
small = {"preprocessor": {"points": 256}, "encoder": {"groups": [64, 32, 16]}}
run = repcore.train("pointcloud/point-m2ae", frame["points"], steps=10, batch_size=8, **small)
tuned = repcore.finetune(run, frame, label="shape", task="classification", epochs=4, lr=1e-3)

# %% A row out for every row in
print(tuned.predict(clouds[:4]).to_pandas())

# %% [markdown]
# # Time series: from sensors to classes
#
# Series as arrays (steps, channels); tables with time stamps and archives are read by path. The sizes are for seconds.

# %%
import numpy as np
import pandas as pd

import repcore

rng, t = np.random.default_rng(0), np.arange(64)
waves = [np.sin(t / (3 + n % 2 * 3) + rng.uniform(0, 6)) + rng.normal(0, 0.2, 64) for n in range(40)]
series = [one[:, None].astype(np.float32) for one in waves]
frame = pd.DataFrame({"series": series, "kind": ["fast", "slow"] * 20})

# %% [markdown]
# ## Learn from values alone

# %%
run = repcore.train("timeseries/ts2vec", frame["series"], steps=10, batch_size=8)
run.metrics

# %% [markdown]
# ## Look: each row as it runs

# %%
vectors = run.embed(series[:4])
vectors[:3]

# %% [markdown]
# ## Fine-tune and predict

# %%
tuned = repcore.finetune(run, frame, label="kind", epochs=3, twin=False)
tuned.predict(series[:4])

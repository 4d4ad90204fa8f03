# %% [markdown]
# # Audio: from recordings to calls
#
# Recordings as `(samples, rate)`; paths, arrays and tensors do as well. The sizes are for seconds, not for results.

# %%
import numpy as np
import pandas as pd

import repcore

t = np.arange(16_000) / 16_000
sounds = [(0.3 * np.sin(2 * np.pi * (300 + 20 * n + 900 * (n % 2) * t) * t), 16_000) for n in range(32)]
frame = pd.DataFrame({"sound": sounds, "call": ["steady", "rising"] * 16})

# %% [markdown]
# ## Learn from sounds alone

# %%
run = repcore.train("audio/ssamba", frame["sound"], steps=6, batch_size=8, encoder={"width": 32, "depth": 2})
run.metrics

# %% [markdown]
# ## Look: each row with its spectrogram

# %%
vectors = run.embed(sounds, pool="max")
vectors[:3]

# %% [markdown]
# ## Fine-tune and predict

# %%
tuned = repcore.finetune(run, frame, label="call", epochs=4, twin=False)
tuned.predict(sounds[:3])

# %% [markdown]
# ## When does it happen? Features of every 10 ms

# %%
answer = tuned.tokens([sounds[1]], level="frame")[0]
answer.outputs.shape

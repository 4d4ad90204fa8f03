# %% A data frame of recordings, each (samples, rate): steady and rising tones
import numpy as np
import pandas as pd

import repcore

t = np.arange(16_000) / 16_000
sounds = [(0.3 * np.sin(2 * np.pi * (300 + 20 * n + 900 * (n % 2) * t) * t), 16_000) for n in range(32)]
frame = pd.DataFrame({"sound": sounds, "call": ["steady", "rising"] * 16})

# %% Pre-train on the sounds, fine-tune on the calls
run = repcore.train("audio/ssamba", frame["sound"], steps=4, batch_size=8, encoder={"width": 32, "depth": 2})
tuned = repcore.finetune(run, frame, label="call", epochs=3)

# %% A row out for every row in
print(tuned.predict(sounds[:4]).to_pandas())

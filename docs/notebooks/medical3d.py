# %% [markdown]
# # Medical images: from scans to findings
#
# Scans as nibabel images; NIfTI, DICOM and other files are read by path. Values and sizes are made up, for seconds.

# %%
import nibabel
import numpy as np
import pandas as pd

import repcore

values = np.random.default_rng(0).normal(40, 20, (24, 32, 32, 32)).astype(np.float32)
values[::2, 8:24, 8:24, 8:24] += 150
scans = [nibabel.Nifti1Image(one, np.eye(4)) for one in values]
frame = pd.DataFrame({"scan": scans, "lesion": ["yes", "no"] * 12})

# %% [markdown]
# ## Learn from scans alone

# %%
run = repcore.train("medical3d/alice", frame["scan"], steps=2, batch_size=2)
run.metrics

# %% [markdown]
# ## Look: each row as three slices

# %%
vectors = run.embed(scans[:4])
vectors[:2]

# %% [markdown]
# ## Fine-tune and predict

# %%
tuned = repcore.finetune(run, frame, label="lesion", epochs=2, batch_size=4, twin=False)
tuned.predict(scans[:2])

# %% A data frame of scans as nibabel images, every other one with a lesion
import nibabel
import numpy as np
import pandas as pd

import repcore

values = np.random.default_rng(0).normal(40, 20, (24, 32, 32, 32)).astype(np.float32)
values[::2, 8:24, 8:24, 8:24] += 150
scans = [nibabel.Nifti1Image(one, np.eye(4)) for one in values]
frame = pd.DataFrame({"scan": scans, "lesion": ["yes", "no"] * 12})

# %% Pre-train on the scans, fine-tune on the finding
run = repcore.train("medical3d/alice", frame["scan"], steps=2, batch_size=2)
tuned = repcore.finetune(run, frame, label="lesion", epochs=2, batch_size=4, twin=False)

# %% A row out for every row in
print(tuned.predict(scans[:4]).to_pandas())

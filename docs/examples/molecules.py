# %% A data frame of molecules with a measured number
import pandas as pd
from rdkit.Chem import Crippen, MolFromSmiles

import repcore

smiles = [f"{'C' * n}{tail}" for n in range(1, 9) for tail in ("O", "N", "Cl", "C(=O)O", "c1ccccc1", "OC", "C#N")]
frame = pd.DataFrame({"smiles": smiles, "logp": [Crippen.MolLogP(MolFromSmiles(one)) for one in smiles]})

# %% Pre-train on the structures, fine-tune on the number
run = repcore.train("molecules/selformer", frame[["smiles"]], steps=30, batch_size=16)
tuned = repcore.finetune(run, frame, label="logp", epochs=4)

# %% A row out for every row in
print(tuned.predict(["CCCCCO", "CCCCc1ccccc1", "C1CC"]).to_pandas())

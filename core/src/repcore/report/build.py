from pathlib import Path
def build_report(folder: Path) -> Path:
    return folder

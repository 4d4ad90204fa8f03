"""``python -m repcore``."""

from repcore.cli.main import main

main()

"""Random views of molecules for objectives of any kind."""

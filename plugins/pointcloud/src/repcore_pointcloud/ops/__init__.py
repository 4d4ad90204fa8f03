"""Point operations with a plain torch definition and a Triton twin each."""

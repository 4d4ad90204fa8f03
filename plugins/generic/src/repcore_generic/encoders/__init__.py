"""What methods make of an encoder."""

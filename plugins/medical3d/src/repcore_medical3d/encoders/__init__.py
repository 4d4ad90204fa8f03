"""Networks over images and volumes."""

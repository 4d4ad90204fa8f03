"""What is learned without labels: TS2Vec's hierarchical contrast, AutoTCL's learned augmentation."""

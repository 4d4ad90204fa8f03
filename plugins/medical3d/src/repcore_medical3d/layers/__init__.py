"""What several rooms compute with tensors of images and volumes: boxes, crops, changes of intensity."""

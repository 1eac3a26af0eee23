"""Image backbones: frames of a camera -> features."""

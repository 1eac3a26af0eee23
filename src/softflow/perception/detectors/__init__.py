"""Networks that find a cube's corners in a picture, and their training."""

"""OGBench's manipulation tasks and scripted operators who demonstrate them."""

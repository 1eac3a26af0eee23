"""What `softflow teacher` and `softflow cube-pose` do: the cube in the hand."""

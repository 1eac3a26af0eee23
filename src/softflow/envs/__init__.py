"""Tasks to act in, and scripted operators who demonstrate them. Nothing here imports torch.

`contract` says what a task promises, `check_env` tests one, `registry` makes one by its name;
simulators are imported when one is made.
"""

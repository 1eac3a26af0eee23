"""Tasks to act in, and scripted operators who demonstrate them. Nothing here imports torch.

`contract` is the way in (`make_env`, `check_env`); simulators are imported when one is made.
"""

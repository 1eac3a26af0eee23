"""A trained policy outside of training: found, read, asked for actions."""

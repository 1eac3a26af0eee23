"""The command line: words and options on the outside, one function a command inside."""

"""Where decisions are taken: a process of its own, so that nothing in it stops the loop."""

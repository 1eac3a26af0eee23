"""Episode files and what lies beside them: written whole, read back distrustfully."""

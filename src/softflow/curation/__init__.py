"""Look into episodes, check them, choose, copy and relabel them."""

"""Small things that know nothing of robots: files, progress, metrics, processes, video."""

"""How does each algorithm share, train and aggregate? One file each."""

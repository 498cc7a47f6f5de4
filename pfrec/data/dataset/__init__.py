"""How are converted rows kept, and how are they read as batches?"""

"""How does a version appear, and which ones does a server load?"""

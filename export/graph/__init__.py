"""What is in the served graph, and what does a request to it hold?"""

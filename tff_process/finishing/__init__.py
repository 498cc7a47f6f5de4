"""How does a client make, of what it received and its own rows, the model that it serves?"""

"""What networks are there, and what are they made of?"""

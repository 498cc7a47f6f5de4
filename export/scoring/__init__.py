"""What do models say of many rows, how good is it, and what does it tell of their training rows?"""

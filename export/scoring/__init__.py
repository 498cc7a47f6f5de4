"""How are rows scored in bulk?"""

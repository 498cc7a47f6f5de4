"""How are algorithms held against each other?"""

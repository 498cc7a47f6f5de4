"""How do raw values become ids and numbers by a schema?"""

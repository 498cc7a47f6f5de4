"""How are clients' values joined?"""

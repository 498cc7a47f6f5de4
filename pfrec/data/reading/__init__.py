"""How are raw files read, and bad rows set aside?"""

"""Does a version, or the server that loaded it, say what the trained model says?"""

"""How does a caller ask a server, without TensorFlow?"""

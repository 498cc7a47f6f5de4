"""What does a client do in a round, and which variables does it have?"""

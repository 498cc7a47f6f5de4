"""What does TFF compute?"""

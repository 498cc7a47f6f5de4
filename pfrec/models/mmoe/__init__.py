"""What is a client's model, and how does it train fast?"""

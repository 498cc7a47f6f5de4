"""How is what leaves a client made differentially private, and what does it cost?"""

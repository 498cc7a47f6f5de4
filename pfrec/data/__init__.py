"""How do raw rows become a dataset, and a dataset batches?"""

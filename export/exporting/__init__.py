"""How does a trained model become a published version?"""

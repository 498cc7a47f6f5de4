"""What models are trained on pooled rows, for comparison?"""

"""Where do clients live, and what if one dies?"""

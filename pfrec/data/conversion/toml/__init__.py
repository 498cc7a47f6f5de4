"""What does each table of a TOML schema say?"""

"""What schema could raw files have?"""

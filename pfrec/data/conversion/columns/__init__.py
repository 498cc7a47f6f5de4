"""How is a raw column read as ids, numbers, labels or text, and which rows are bad?"""

"""Results in a form for people and for other programs.

What stands here is given to whoever prints or writes it; nothing here prints, and nothing computes what is
not a matter of looks.
"""

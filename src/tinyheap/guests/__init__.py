"""Maps of a real runtime's heap inside a real program: what a program is, and where the parts of its heap lie.

From the ground up: `symbols` (values in code), `walk` (what a function does), `codesearch` (where something is
mentioned), `facts` (what there is to know), `locate` (TinyGo's block collector) and `identify` (any module).
"""

"""Maps of a real runtime's heap inside a real program: what a program is, and where the parts of its heap lie.

From the ground up: `symbols` (values in code), `walk` (what a function does), `codesearch` (where something is
mentioned), `facts` and `evidence` (what there is to know, and how sure it is); `geometry`, `scanning`, `marking`
and `shapes` (the collector's parts, by their shape), `locate` (all of TinyGo's block collector), `identify` (any
module).
"""

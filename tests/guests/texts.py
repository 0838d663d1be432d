"""Texts for real formatters, of several kinds, from nothing to half a megabyte."""

from __future__ import annotations

import needs
from benchmarks import inputs

_GO_UNICODE = "package größe\n\nvar 世界 = map[string]rune{\"→\": '🎉', `\u00e9`:  'é'} // Größe → 世界 🎉\n"
_SHELL_UNICODE = "cat<<EOF  |  tr a b\n  kept  as it is: Größe → 世界 🎉\nEOF\necho   'é' # →\n"


def _go_function(number: int) -> str:
    return (
        f"// f{number} does it.\nfunc f{number}(a int,b string)(int,error){{\nif a>{number}{{\n"
        f'return {number}*(a+1),fmt.Errorf( "%d: %s" ,a,b)\n}}\nfor i:=0;i<a;i++{{\nm[i]=T{{ a:i,bb:"{number}" }}\n}}\n'
        f"switch a{{\ncase {number}:\nfallthrough\ndefault:\n}}\nreturn a,nil}}\n"
    )


def _shell_function(number: int) -> str:
    return (
        f'f{number} ( ){{ local a=$((1+{number}));\nif [ "$a" -gt {number} ];then echo "$a $(( a*{number} ))";fi\n'
        f"case $1 in a)echo 1;;b|c)  echo {number}\n;;esac\nwhile read -r x;do echo ${{x%%.*}}|grep  -v b>>out;done <in\n}}\n"
    )


def _go(count: int) -> str:
    return "package a\n" + "".join(map(_go_function, range(count)))


def _shell(count: int) -> str:
    return "#!/bin/bash\n" + "".join(map(_shell_function, range(count)))


def _nested_go(depth: int) -> str:
    return f"package a\nvar x = {'(' * depth}1{')' * depth}\nfunc f(){{{'{' * depth}{'}' * depth}}}\n"


TOO_NESTED_GO = _nested_go(60)
"""More than gofmt's goroutine has stack for; it notices that itself."""

GO = {
    "empty": "",
    "tiny": "package a\n",
    "unicode": _GO_UNICODE + "// 世界\n" * 400,
    "mistake": _go(60) + "func f( {\n",
    "nested": _nested_go(40),
    "small": _go(4),
    "medium": _go(100),
}
SHELL = {
    "empty": "",
    "tiny": "echo hi\n",
    "unicode": _SHELL_UNICODE * 100,
    "mistake": _shell(60) + "echo 'unterminated\n",
    "nested": "if a;then\n" * 25 + "b\n" + "fi\n" * 25 + "echo " + "$(" * 10 + "x" + ")" * 10 + "\n",
    "small": _shell(4),
    "medium": _shell(200),
}

_SLOW_NATIVELY = ("sh-syntax-0.3.6", "sh-syntax-0.3.7", "sh-syntax-0.4.0")
"""Twice the text takes their own collector ten times as long."""


def kinds(name: str) -> dict[str, str]:
    """Texts of every kind for a formatter."""
    return GO if name.startswith("gofmt") else SHELL


def large(name: str) -> str:
    """266 KB of Go's own source, or half a megabyte of shell functions; less where the program's own collector crawls."""
    if not name.startswith("gofmt"):
        return _shell(1100 if name in _SLOW_NATIVELY else 2600)
    needs.path(inputs.GO_SOURCE, "Go's source")
    return inputs.go_source()

"""Real formatters on tinyheap's hosts, against node with each package's own JavaScript, and against gofmt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import guests_modules
import needs
from hosts import node_glue, programs
from tinyheap import errors, formatters, hosts

FORMATTERS = [name for name in guests_modules.NAMES if name.startswith(("gofmt", "shfmt", "sh-syntax"))]
GO_FORMATTERS = [name for name in FORMATTERS if name.startswith("gofmt")]
SHELL_FORMATTERS = [name for name in FORMATTERS if name.startswith("sh")]

GO_TEXTS = [
    'package main\nimport "fmt"\nfunc main(){\nfmt.Println( 1,2 )\n}\n',
    "package a\n\ntype  T[P any] struct{ a int;b  P // Größe → 世界 🎉\n}\n",
    "package a\n\nfunc f() {}\n",
    "package\n",
    "package a\nfunc f( {\n",
    "",
    "package a\nvar (\n"
    + "".join(f'v{i} = map[string]int{{"{i}":{i}, `raw{i}`:  {i * i}}} // {i}\n' for i in range(400))
    + ")\n",
]
SHELL_TEXTS = [
    "if true;then\necho   hi # comment\nfi\n",
    "cat<<EOF  |  tr a b\n  kept  as it is: Größe → 世界 🎉\nEOF\n",
    "case $x in a)echo 1;;b|c)  echo 2\n;;esac\nf ( ){ local a=$((1+2));}\n",
    "echo 'unterminated\n",
    "if\n",
    "echo \\\n  continued &&\n  [[ -f a ]]||{ exit 1\n}\n",
    "".join(f'for i in {{1..{n}}};do\nif [ $i -gt {n} ];then echo "$i $(( i*{n} ))";fi;done\n' for n in range(300)),
]


def texts_of(module: str) -> tuple[list[str], str]:
    return (GO_TEXTS, "x.go") if module in GO_FORMATTERS else (SHELL_TEXTS, "x.sh")


def formatted(module: str, text: str, path: str, overrun: bool = False) -> tuple[bool, str]:
    session = programs.real(module)
    driver = formatters.find(session)
    assert driver is not None
    if overrun:
        driver = formatters.ShSyntaxFormatter(session, overrun=True)
    try:
        return True, driver.format(text, path)
    except errors.DriverError as error:
        return False, str(error)


@pytest.mark.parametrize("module", FORMATTERS)
@pytest.mark.share(2, in_ci=4)
def test_a_formatter_answers_as_under_node_with_its_own_glue(module: str) -> None:
    texts, path = texts_of(module)
    assert [formatted(module, text, path) for text in texts] == node_glue.format_all(module, texts, path)


@pytest.mark.parametrize("module", ["sh-syntax-0.4.0", "sh-syntax-0.4.2"])
def test_the_packages_own_overrun_gives_the_same_text_where_it_hits_nothing(module: str) -> None:
    text = SHELL_TEXTS[0]
    assert formatted(module, text, "x.sh", overrun=True) == formatted(module, text, "x.sh")


@pytest.mark.slow
def test_the_overrun_breaks_the_collector_of_a_precise_build() -> None:
    text = "#!/bin/sh\n#\n# Copyright\n" + "".join(f"echo {n} 'text' | cat\n" for n in range(12000))
    session = programs.real("sh-syntax-0.5.8")
    with pytest.raises(errors.GuestTrapError):
        formatters.ShSyntaxFormatter(session, overrun=True).format(text)
    assert formatted("sh-syntax-0.5.8", text, "x.sh") == (True, text)


@pytest.mark.parametrize("module", GO_FORMATTERS)
def test_gofmt_agrees_with_the_real_gofmt_on_a_large_file(module: str) -> None:
    source = Path("/usr/share/go-1.19/src/strings/strings.go")
    needs.path(source, "Go's source")
    stripped = "\n".join(line.lstrip() for line in source.read_text().split("\n"))
    real = subprocess.run([needs.tool("gofmt")], input=stripped, capture_output=True, text=True, check=True)
    assert formatted(module, stripped, "strings.go") == (True, real.stdout)


@pytest.mark.parametrize("module", FORMATTERS)
@pytest.mark.share(2)
def test_one_session_formats_many_texts(module: str) -> None:
    texts, path = texts_of(module)
    driver = formatters.find(programs.real(module))
    assert driver is not None
    assert [driver.format(text, path) for text in texts[:2] * 3] == [
        text for _, text in node_glue.format_all(module, texts[:2], path)
    ] * 3


@pytest.mark.parametrize("module", FORMATTERS)
def test_a_seed_makes_two_runs_of_a_real_program_equal_in_every_byte(module: str) -> None:
    texts, path = texts_of(module)

    def memory() -> bytes:
        session = programs.real(module, seed=1)
        driver = formatters.find(session)
        assert driver is not None
        driver.format(texts[-1], path)
        return session.memory.read(0, len(session.memory))

    assert memory() == memory()


@pytest.mark.slow
def test_options_reach_the_formatters() -> None:
    text = "if a;then\nb\nfi\n"
    shfmt = formatters.ReactorFormatter(programs.real("shfmt-0.2.7"), {"indent": 3})
    assert shfmt.format(text, "x.sh") == "if a; then\n   b\nfi\n"
    for module in ("sh-syntax-0.4.2", "sh-syntax-0.5.8", "sh-syntax-0.7.0"):
        options = formatters.ShellOptions(indent=0)
        assert formatters.ShSyntaxFormatter(programs.real(module), options).format(text) == "if a; then\n\tb\nfi\n"
        options = formatters.ShellOptions(minify=True)
        assert formatters.ShSyntaxFormatter(programs.real(module), options).format(text) == "if a;then\nb\nfi\n"


def test_a_program_without_a_driver_is_told_apart() -> None:
    session = hosts.load(programs.module_bytes('(func (export "format"))'))
    session.start()
    assert formatters.find(session) is None

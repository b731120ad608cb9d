"""Which line of a TOML file each key stands on: `tomllib` does not tell, and error messages need it."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*) | (?P<long>\"{3}(?:\\.|.)*?\"{3}|'{3}.*?'{3}) | (?P<text>"(?:\\.|[^"\\\n])*"|'[^'\n]*')
    | (?P<newline>\n) | (?P<mark>\[\[|\]\]|[\[\]{},=.]) | (?P<bare>[A-Za-z0-9_:+\-]+) | (?P<space>[^\S\n]+)""",
    re.VERBOSE | re.DOTALL,
)


def key_lines(source: str) -> dict[Path, int]:
    """`{("rule", 0, "id"): 2, …}`: the line of every key and list element. `source` is valid TOML."""
    return _Scanner(source).lines


class _Scanner:
    """Walks the tokens of valid TOML, keeping the path of tables, arrays and inline tables it is inside of."""

    def __init__(self, source: str) -> None:
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.tokens = self._tokens(source)
        self.at = 0
        table: Path = ()
        while self.at < len(self.tokens):
            kind, text, line = self.tokens[self.at]
            if kind == "newline":
                self.at += 1
            elif text in ("[", "[["):
                table = self._header(text == "[[", line)
            else:
                self._pair(table)

    @staticmethod
    def _tokens(source: str) -> list[tuple[str, str, int]]:
        found, line = [], 1
        for match in _TOKEN.finditer(source):
            kind, text = str(match.lastgroup), match.group()
            if kind not in ("comment", "space"):
                found.append((kind, text, line))
            line += text.count("\n")
        return found

    def _header(self, many: bool, line: int) -> Path:
        self.at += 1
        parts = self._key()
        self.at += 1
        table: Path = ()
        for position, part in enumerate(parts):
            table = (*table, part)
            last = position == len(parts) - 1
            if last and many:
                self.counts[table] = self.counts.get(table, -1) + 1
            if table in self.counts:
                self.lines.setdefault(table, line)
                table = (*table, self.counts[table])
        self.lines.setdefault(table, line)
        return table

    def _key(self) -> list[str]:
        parts = []
        while True:
            kind, text, _ = self.tokens[self.at]
            parts.append(text[1:-1] if kind == "text" else text)
            self.at += 1
            if self.at >= len(self.tokens) or self.tokens[self.at][1] != ".":
                return parts
            self.at += 1

    def _pair(self, table: Path) -> None:
        line = self.tokens[self.at][2]
        path: Path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self.at += 1
        self._value(path)

    def _value(self, path: Path) -> None:
        text = self.tokens[self.at][1]
        if text in ("[", "[["):
            self._array(path)
        elif text == "{":
            self.at += 1
            while self.tokens[self.at][1] != "}":
                if self.tokens[self.at][0] == "newline" or self.tokens[self.at][1] == ",":
                    self.at += 1
                else:
                    self._pair(path)
            self.at += 1
        else:
            # A number like 1.5 is several tokens.
            while self.at < len(self.tokens) and self.tokens[self.at][1] not in (",", "]", "]]", "}", "\n"):
                self.at += 1

    def _array(self, path: Path) -> None:
        # "[[" opens two arrays when it stands where a value does, and "]]" closes two.
        if self.tokens[self.at][1] == "[[":
            _, _, line = self.tokens[self.at]
            self.tokens[self.at : self.at + 1] = [("mark", "[", line), ("mark", "[", line)]
        self.at += 1
        index = 0
        while True:
            kind, text, line = self.tokens[self.at]
            if text == "]]":
                self.tokens[self.at : self.at + 1] = [("mark", "]", line), ("mark", "]", line)]
                text = "]"
            if text == "]":
                self.at += 1
                return
            if kind == "newline" or text == ",":
                self.at += 1
                continue
            self.lines.setdefault((*path, index), line)
            self._value((*path, index))
            index += 1

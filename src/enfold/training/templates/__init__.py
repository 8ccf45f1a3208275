"""What a run's report and model card look like: two templates, one table of words, one way to fill them in.

A value that a template shows is text, whatever it holds: in HTML and in Markdown alike it is escaped where it is
written, unless a filter below has made it safe in its own way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from enfold.errors import InputError
from enfold.training.templates.formats import Language, clean, cut, one_line

__all__ = ["Words", "check_language", "code", "fenced", "prose", "render", "yaml_value"]

TemplateName = Literal["report.html", "search.html", "card.md"]

_FOLDER = Path(__file__).parent
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&$#])")
_BLOCK = re.compile(r"^([-+=](?!\d)|\d+(?=[.)](?:\s|$)))")
_CHINESE = r"[\u2014\u2018-\u201d\u2026\u3001-\u303f\u3400-\u9fff\uff01-\uff0f\uff1a-\uff20]"
_BEFORE_VALUE = re.compile(rf"(?<={_CHINESE}) (?=\{{(\w+)\}})")
_AFTER_VALUE = re.compile(rf"\{{(\w+)\}} (?={_CHINESE})")
_MOST_SHOWN = 4000


@lru_cache(maxsize=1)
def _table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads((_FOLDER / "words.json").read_text(encoding="utf-8"))
    return table


def check_language(language: str) -> None:
    """Refuses a language that there are no words in.

    Raises:
        InputError: neither English nor Chinese.
    """
    if language not in get_args(Language):
        raise InputError(f"language is {language!r}; expected 'en' (English) or 'zh' (Chinese)")


class Words:
    """The fixed words of one language; what is filled into them stays a plain text.

    >>> Words("zh")["labels"], Words("en").name("f1"), Words("en").say("count.more", count=3)
    ('标签', 'F1', 'and 3 more')
    """

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._column = get_args(Language).index(language)

    def __getitem__(self, key: str) -> str:
        return _table()[key][self._column]

    def say(self, key: str, **values: object) -> str:
        """The words with values in their places."""
        return _tight(self[key], values).format(**values)

    @property
    def gap(self) -> str:
        """What stands between two sentences."""
        return "" if self.language == "zh" else " "

    def name(self, key: str) -> str:
        """What a metric or column is called; its own name where the table has no other."""
        both = _table().get(f"column.{key}")
        return both[self._column] if both else one_line(key, 60)


def _tight(text: str, values: Mapping[str, object]) -> str:
    """Words whose places are not set apart where Chinese meets Chinese.

    >>> _tight("按 {name} 比较", {"name": "F1"}), _tight("按 {name} 比较", {"name": "准确率"})
    ('按 {name} 比较', '按{name}比较')
    """

    def is_chinese(name: str, at: int) -> bool:
        return bool(re.fullmatch(_CHINESE, str(values[name])[at:][:1]))

    text = _BEFORE_VALUE.sub(lambda found: "" if is_chinese(found[1], 0) else " ", text)
    return _AFTER_VALUE.sub(lambda found: f"{{{found[1]}}}" + ("" if is_chinese(found[1], -1) else " "), text)


def render(template: TemplateName, language: Language, values: Mapping[str, Any]) -> str:
    """A template with its values: a whole page or card, whose lines end with ``\\n``."""
    return _template(template, language).render(values)


@lru_cache
def _template(template: TemplateName, language: Language) -> Template:
    write = prose if template.endswith(".md") else _clean_unless_safe
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=write,
    )
    words = Words(language)

    def say(key: str, **values: Any) -> Markup:
        shown = {name: write(value) for name, value in values.items()}
        return Markup(_tight(words[key], shown)).format(**shown)

    style = Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))
    environment.filters.update(code=code, fenced=fenced, yaml=yaml_value)
    environment.globals.update(say=say, gap=Markup(words.gap), language=language, style=style)
    return environment.get_template(template)


def _clean_unless_safe(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    shown, more = cut(value, _MOST_SHOWN)
    return f"{shown} … (+{more:,})" if more else shown


def prose(value: Any) -> Markup:
    """A text as one line of Markdown that shows it as it is, within a cell of a table too."""
    if isinstance(value, Markup):
        return value
    text = _MARKDOWN.sub(r"\\\1", one_line(value, _MOST_SHOWN))
    if block := _BLOCK.match(text):  # what would begin a list or underline a heading
        at = 0 if text[0] in "-+=" else block.end()
        text = f"{text[:at]}\\{text[at:]}"
    return Markup(text)


def code(value: Any) -> Markup:
    """A text as a code span of Markdown, in one line, fit for a cell of a table.

    >>> print(code("a|b"), code("a`b"))
    `a\\|b` ``a`b``
    """
    text = one_line(value, _MOST_SHOWN) or " "
    marks = "`" * (_longest_run(text) + 1)
    room = " " if text[0] in "` " or text[-1] in "` " else ""
    return Markup(f"{marks}{room}{text}{room}{marks}".replace("|", "\\|"))


def fenced(value: Any, language: str = "") -> Markup:
    """A text as a block of code in Markdown; its own fences don't end it."""
    marks = "`" * max(_longest_run(str(value)) + 1, 3)
    return Markup(f"{marks}{language}\n{clean(value)}\n{marks}")


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def yaml_value(value: Any) -> Markup:
    """A text or number of a YAML header: texts in quotes, numbers so that they are read as such.

    >>> print(yaml_value("no"), yaml_value("a: \\"b\\""), yaml_value(1e-05))
    "no" "a: \\"b\\"" 1.0e-05
    """
    if isinstance(value, int | float):
        digits, mark, power = repr(value).partition("e")
        return Markup(f"{digits if '.' in digits or not mark else digits + '.0'}{mark}{power}")
    text = clean(value)
    return Markup('"' + "".join(_yaml_character(each) for each in text) + '"')


def _yaml_character(each: str) -> str:
    if each in '"\\':
        return f"\\{each}"
    if each == " " or each.isprintable():
        return each
    return f"\\U{ord(each):08x}"

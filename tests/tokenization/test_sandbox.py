"""A template from a checkpoint is foreign code: it can't reach Python, and can't run or grow without end."""

import subprocess
import sys
import time

import pytest

from enfold.errors import InputError, TokenizerError
from enfold.tokenization import Tokenizer
from enfold.tokenization import sandbox_meter as meter
from tests.tokenization.oracle import both

FORBIDDEN = {
    "classes": "{{ ''.__class__.__mro__ }}",
    "subclasses": "{{ [].__class__.__base__.__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['os'] }}",
    "init": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "changes": "{{ messages.append(1) }}",
    "pops": "{{ messages.pop() }}",
    "namespace": "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
    "format": "{{ '{0.__class__.__mro__}'.format('') }}",
    "encode": "{{ 'a'.encode() }}",
}
LONG = "{% set a = 'a' * 1000000 %}"
RUNAWAY = {
    "range": "{% for i in range(10 ** 9) %}x{% endfor %}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "written": "{% for i in range(99999) %}" + "text " * 1000 + "{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive-loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "tree": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "times": "{{ 'a' * 10 ** 10 }}",
    "list-times": "{{ [1] * 10 ** 10 }}",
    "power": "{{ 10 ** (10 ** 8) }}",
    "doubling": "{% set n = namespace(a='ab') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "doubling-block": "{% set n = namespace(a='a' * 99) %}{% for i in range(99) %}{% set b %}{{ n.a }}{{ n.a }}"
    "{% endset %}{% set n.a = b %}{% endfor %}",
    "nesting": "{% set n = namespace(a=[1]) %}{% for i in range(99) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
    "replace": LONG + "{{ a.replace('a', a) }}",
    "replace-filter": LONG + "{{ a | replace('a', a) }}",
    "join": LONG + "{{ range(99999) | join(a) }}",
    "join-lazily": LONG + "{{ a.join(range(99999) | map('string')) }}",
    "center": "{{ 'a' | center(10 ** 10) }}",
    "ljust": "{{ 'a'.ljust(10 ** 10) }}",
    "width": "{{ '%10000000000d' | format(1) }}",
    "width-asked": "{{ '{:{}}'.format(1, 10 ** 10) }}",
    "width-star": "{{ '%*d' % (10 ** 10, 1) }}",
    "indent": "{{ ('\n' * 1000000) | indent(9999) }}",
    "json": "{{ range(99999) | list | tojson(indent=9999) }}",
    "round": "{{ 1 | round(10 ** 9, 'ceil') }}",
    "sorting": "{% for i in range(999) %}{{ (range(99999) | list | sort)[:1] }}{% endfor %}",
    "comparing": LONG + "{% set b = 'a' * 1000000 %}{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}",
    "searching": LONG + "{% for i in range(99999) %}{{ 'b' in a }}{{ a is in(a) }}{% endfor %}",
    "slicing": LONG + "{% for i in range(99999) %}{% set b = a[1:] %}{% endfor %}",
    "squaring": "{% set n = namespace(a=3) %}{% for i in range(30) %}{% set n.a = n.a * n.a %}{% endfor %}",
    "power-slow": "{{ (3 ** 60000000) % 7 }}",
    "number-of-text": "{{ ('f' * 7000000) | int(base=16) // 3 }}",
    "tuples-as-key": "{% set n = namespace(a=()) %}{% for i in range(9) %}{% for j in range(35000) %}"
    "{% set n.a = (n.a,) %}{% endfor %}{% endfor %}{{ {n.a: 1} }}",
    "replace-by-name": LONG + "{{ a | replace(old='a', new=a) }}",
    "join-by-name": LONG + "{{ range(99999) | join(d=a) }}",
    "join-unmade": LONG + "{{ range(99999) | map(attribute='b', default=a) | join }}",
    "join-unmade-method": LONG + "{{ ''.join(range(99999) | map(attribute='b', default=a)) }}",
    "views": LONG + "{{ [{'a': a}.values()] * 99999 }}",
    "stripping": LONG + "{{ a.strip('b' * 1000000 + 'a') }}",
    "searching-backwards": LONG + "{{ (a * 4).rfind('b' + a) }}",
    "prefixes": "{% set t = ('a',) * 1000000 %}{% for i in range(99999) %}{{ 'b'.startswith(t) }}{% endfor %}",
    "keys": "{% set t = (1,) * 1000000 %}{% for i in range(99999) %}{{ {}[t] }}{% endfor %}",
    "made-keys": "{% set t = (1,) * 1000000 %}{% for i in range(99999) %}{% set d = {t: 1} %}{% endfor %}",
    "searching-by-name": LONG + "{% for i in range(99999) %}{{ 'b' is in(seq=a) }}{{ 'b' is in(*[a]) }}{% endfor %}",
    "selecting-by-name": "{% set t = [1] * 1000000 %}{{ range(99999) | select('in', seq=t) | list }}",
    "selecting-lazily": "{% set t = [1] * 1000000 %}{{ range(99999) | map('abs') | select('in', t) | list }}",
    "replace-in-list": LONG + "{{ [a] | replace('a', a) }}",
    "width-in-list": "{{ ['%10000000000d'] | format(1) }}",
    "width-of-named": "{{ '%(a)10000000000d' % {'a': 1} }}",
    "precision": "{{ '%.10000000000f' % 1 }}",
    "width-in-braces": "{{ '{:10000000000d}'.format(1) }}",
    "width-before-mistake": "{{ '{:10000000000d}{'.format(1) }}",
    "width-of-date": "{{ strftime_now('%_10000000000Y') }}",
    "adding-lists": "{{ ([[1]] * 1000000) | sum(start=[]) }}",
    "finding-in-list": "{% set t = [1] * 900000 %}{% for i in range(99999) %}{{ t.count(2) }}{% endfor %}",
    "selecting": LONG + "{{ range(99999) | map('string') | list | select('in', a) | list | length }}",
}


def _run(template: str) -> object:
    tokenizer: Tokenizer = both("gpt2")[0]
    messages = [{"role": "user", "content": "hi"}]
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)


@pytest.mark.parametrize("template", FORBIDDEN.values(), ids=FORBIDDEN)
def test_python_is_out_of_reach(template: str) -> None:
    with pytest.raises((TokenizerError, InputError), match=r"the sandbox forbids|UndefinedError"):
        _run(template)


@pytest.mark.parametrize("template", RUNAWAY.values(), ids=RUNAWAY)
def test_nothing_runs_or_grows_without_end(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MAX_SECONDS", 1.0)
    start = time.thread_time()
    with pytest.raises(TokenizerError, match=r"The chat template was stopped"):
        _run(template)
    assert time.thread_time() - start < 5  # the last operation may take a while


def test_time_ends_what_steps_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MAX_SECONDS", 0.05)
    with pytest.raises(TokenizerError, match=r"computes for more than 0\.05 seconds"):
        _run("{% for i in range(90000) %}{{ i }}{% endfor %}")


def test_a_long_conversation_is_within_bounds() -> None:
    tokenizer: Tokenizer = both("gpt2")[0]
    messages = [{"role": "user", "content": "a text of some words " * 40} for _ in range(2000)]
    template = (
        "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}last{% endif %}"
        "{{ m.role + ': ' + (m.content | trim).replace('some', 'many').split('</think>')[-1] }}\n{% endfor %}"
    )
    text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    assert len(text) > 2000 * 800


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 'Role: {}'.format('user') }}", "Role: user"),
        ("""{{ '{{"name": "{}"}}'.format('f') }}""", '{"name": "f"}'),
        ("{{ {'a': 1}.items() | map('first') | join(d=', ') }}", "a"),
        ("{{ 'It costs %s, not 12345 or 99999%%' % 'much' }}", "It costs much, not 12345 or 99999%"),
        ("{{ 'Room {} of 10000 (12345)'.format(7) }}", "Room 7 of 10000 (12345)"),
        ("{{ '%s is 54321: %5.2f' | format('a', 1) }}", "a is 54321:  1.00"),
        ("{{ none | map('upper') | list }}{{ missing | select | list }}", "[][]"),
        ("{{ ['a', 'b'] | reverse | join('-') }}{{ 'ab' | replace(old='a', new='c') }}", "b-acb"),
    ],
)
def test_what_is_harmless_runs(template: str, text: str) -> None:
    assert _run(template) == text


def test_nothing_is_loaded_from_elsewhere() -> None:
    for template in ("{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}"):
        with pytest.raises(InputError, match="no loader"):
            _run(template)


def test_jinja_is_loaded_only_to_render() -> None:
    code = "import sys, enfold.tokenization; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"

"""What is saved is read back by the reference, 5.x here and 4.x where it is installed, with equal ids."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enfold.tokenization import Tokenizer
from tests.tokenization.corpus import TEXTS
from tests.tokenization.oracle import VOCABULARIES, folder

# At odd spaces and special tokens in the text, 5.x cuts differently from the tokenizer.json that it is given.
PLAIN = [" ".join(text.split()) for text in TEXTS if "<" not in text and "[" not in text]
SAVED = [name for name in VOCABULARIES if name != "nmt-joint"]
IN_TRANSFORMERS_4 = """
import json, sys
from transformers import AutoTokenizer
folder, texts = json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = tokenizer(texts)["input_ids"]
json.dump([rows, tokenizer.special_tokens_map, tokenizer.model_max_length, len(tokenizer)], sys.stdout)
"""


def _save(name: str, path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_folder(folder(name), model_max_length=77)
    tokenizer.add_tokens(["zyxwords"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<more>"]}, replace_extra_special_tokens=False)
    tokenizer.save_pretrained(path)
    return tokenizer


def _texts() -> list[str]:
    return [*PLAIN, "with zyxwords and <more> of them"]


@pytest.mark.parametrize("name", SAVED)
def test_transformers_5_reads_it_back(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours = _save(name, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(_texts()[:-1])["input_ids"] == ours(_texts()[:-1])["input_ids"]
    assert theirs.special_tokens_map == ours.special_tokens_map
    assert (theirs.model_max_length, len(theirs)) == (77, len(ours))


@pytest.mark.skipif("ENFOLD_TRANSFORMERS4" not in os.environ, reason="ENFOLD_TRANSFORMERS4 names no Python with it")
@pytest.mark.parametrize("name", SAVED)
def test_transformers_4_reads_it_back(name: str, tmp_path: Path) -> None:
    ours = _save(name, tmp_path)
    answer = subprocess.run(
        [os.environ["ENFOLD_TRANSFORMERS4"], "-W", "ignore", "-c", IN_TRANSFORMERS_4],
        input=json.dumps([str(tmp_path), _texts()]),
        capture_output=True,
        text=True,
        check=True,
    )
    rows, special, limit, size = json.loads(answer.stdout)
    assert rows == ours(_texts())["input_ids"]
    assert special.pop("additional_special_tokens")[-1] == "<more>"
    assert special == ours.special_tokens_map
    assert (limit, size) == (77, len(ours))


@pytest.mark.parametrize("name", SAVED)
def test_it_reads_itself_back(name: str, tmp_path: Path) -> None:
    ours = _save(name, tmp_path)
    again = Tokenizer.from_folder(tmp_path)
    assert dict(again(TEXTS)) == dict(ours(TEXTS))
    assert again.special_tokens_map == ours.special_tokens_map
    assert again.all_special_tokens == ours.all_special_tokens
    assert (again.kind, again.model_max_length, len(again)) == (ours.kind, 77, len(ours))


def test_unknown_entries_stay_and_code_references_go(tmp_path: Path) -> None:
    source = tmp_path / "source"
    Tokenizer.from_folder(folder("minilm")).save_pretrained(source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    config |= {"chat_template": "{{ messages }}", "auto_map": {"AutoTokenizer": ["x.Y", None]}}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    paths = Tokenizer.from_folder(source, do_lower_case=False).save_pretrained(tmp_path / "saved")
    saved: dict[str, Any] = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert "auto_map" not in saved and "chat_template" not in saved
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == "{{ messages }}"
    assert saved["do_lower_case"] is False
    assert sorted(Path(path).name for path in paths) == sorted(path.name for path in (tmp_path / "saved").iterdir())


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.from_folder(folder("minilm"))

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("disk full")

    monkeypatch.setattr("enfold.tokenization.saving.json.dumps", fail)
    with pytest.raises(OSError, match="disk full"):
        tokenizer.save_pretrained(tmp_path / "new")
    assert not list(tmp_path.iterdir())

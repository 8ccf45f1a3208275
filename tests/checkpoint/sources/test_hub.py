"""Hub ids through the real client and a local server: what is fetched, what is not, and what errors say.

The client reads its environment when imported, so calls run in a process beside the tests: a fresh one where the
environment or the imports matter, else one for all.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enfold.checkpoint.sources import describe, resolve
from enfold.errors import OfflineError, SourceError
from tests.checkpoint.sources.hub_server import COMMITS, Hub, serve

_WORKER = """
import json, socket, sys
from enfold.checkpoint.sources import resolve
from enfold.errors import SourceError

connect, opened = socket.socket.connect, []
def counted(self, address):
    opened.append(address)
    return connect(self, address)
socket.socket.connect = counted

for line in sys.stdin:
    source, arguments = json.loads(line)
    opened.clear()
    answer = {}
    try:
        answer["folder"] = str(resolve(source, **arguments))
    except SourceError as error:
        answer |= {"error": type(error).__name__, "message": str(error), "cause": type(error.__cause__).__name__}
    print(json.dumps(answer | {"sockets": len(opened), "client": "huggingface_hub" in sys.modules}), flush=True)
"""

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "vocab.txt": b"[PAD]",
    "README.md": b"---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n",
    "modules.json": b'[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]',
    "1_Pooling/config.json": b"{}",
    "2_Dense/model.safetensors": b"dense",
    "2_Dense/pytorch_model.bin": b"dense",
    "pytorch_model.bin": b"weights",
    "modeling_custom.py": b"raise SystemExit",
    "tf_model.h5": b"other",
    "onnx/model.onnx": b"other",
    "openvino/config.json": b"{}",
}
UNWANTED = {"pytorch_model.bin", "2_Dense/pytorch_model.bin", "modeling_custom.py", "tf_model.h5", "onnx/model.onnx"}


def _environment(hub: Hub) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "ENFOLD_"))}
    return kept | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}


@dataclass
class Client:
    """Calls `resolve` in another process, with a cache of its own."""

    hub: Hub
    home: Path
    worker: subprocess.Popen[str]

    def __call__(self, source: str = "org/model", **arguments: Any) -> dict[str, Any]:
        """A call in the process that all tests share."""
        assert self.worker.stdin
        assert self.worker.stdout
        before = len(self.hub.requests)
        self.worker.stdin.write(json.dumps([source, {"cache_dir": str(self.home / "hub")} | arguments]) + "\n")
        self.worker.stdin.flush()
        answer: dict[str, Any] = json.loads(self.worker.stdout.readline())
        return answer | {"requests": len(self.hub.requests) - before}

    def fresh(self, environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
        """A call in a process of its own, whose cache is found by HF_HOME."""
        variables = _environment(self.hub) | {"HF_HOME": str(self.home)} | (environment or {})
        done = subprocess.run(
            [sys.executable, "-c", _WORKER],
            input=json.dumps(["org/model", arguments]),
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "%|" not in done.stderr, "a progress bar without a terminal"
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def needs_nothing(self, **arguments: Any) -> str:
        """The folder, after a call that opened no socket."""
        answer = self(**arguments)
        assert (answer["sockets"], answer["requests"]) == (0, 0)
        return str(answer["folder"])


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with serve(Hub({})) as running:
        yield running


@pytest.fixture(scope="module")
def worker(server: Hub) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _WORKER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=_environment(server), text=True, **pipes) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def client(server: Hub, worker: subprocess.Popen[str], tmp_path: Path) -> Client:
    server.files = dict(FILES)
    server.private = server.gated = server.broken = False
    server.token = None
    server.requests.clear()
    return Client(server, tmp_path, worker)


def test_a_model_is_fetched_once_and_then_opens_no_socket(client: Client) -> None:
    first = client.fresh()
    folder = Path(first["folder"])
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == (
        FILES.keys() - UNWANTED - {"openvino/config.json"}
    )
    assert not client.hub.downloads & UNWANTED
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert first["sockets"] > 0

    origin = describe(folder)
    assert (origin.form, origin.name, origin.version, origin.license) == (
        "hub", "org/model", COMMITS["main"], "apache-2.0",
    )  # fmt: skip

    client.hub.requests.clear()
    assert client.fresh() == {"folder": first["folder"], "sockets": 0, "client": False}
    for want in ("all", "embedding", "model", "tokenizer", "config"):
        assert client.needs_nothing(want=want) == first["folder"]
    assert client.hub.requests == []


@pytest.mark.parametrize(
    ("want", "files"),
    [
        ("config", {"config.json", "modules.json"}),
        ("tokenizer", {"config.json", "modules.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}),
        ("model", {"config.json", "modules.json", "model.safetensors", "README.md"}),
    ],
)
def test_only_what_is_wanted_is_fetched(client: Client, want: str, files: set[str]) -> None:
    folder = Path(client(want=want)["folder"])
    assert client.hub.downloads == files
    assert client.needs_nothing(want=want) == str(folder)


def test_a_snapshot_that_lacks_what_is_wanted_is_completed(client: Client) -> None:
    folder = Path(client(want="tokenizer")["folder"])
    assert not (folder / "model.safetensors").exists()
    assert client(want="all")["folder"] == str(folder)
    assert (folder / "model.safetensors").exists()
    assert (folder / "1_Pooling" / "config.json").exists()


def test_shards_are_fetched_and_a_missing_one_is_completed(client: Client) -> None:
    del client.hub.files["model.safetensors"]
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    client.hub.files |= {"model.safetensors.index.json": json.dumps(index).encode(), shards[0]: b"1", shards[1]: b"2"}
    folder = Path(client(want="model")["folder"])
    assert {*shards, "model.safetensors.index.json"} < client.hub.downloads
    (folder / shards[1]).unlink()
    client(want="model")
    assert (folder / shards[1]).read_bytes() == b"2"


def test_a_repository_with_torch_files_alone_gives_those(client: Client) -> None:
    del client.hub.files["model.safetensors"]
    folder = Path(client(want="model")["folder"])
    assert (folder / "pytorch_model.bin").read_bytes() == b"weights"
    client.needs_nothing(want="model")


def test_revisions_are_respected_and_cached_apart(client: Client) -> None:
    for revision in ("v1", COMMITS["v1"]):
        folder = Path(client(revision=revision)["folder"])
        assert folder.name == COMMITS["v1"]
    assert Path(client()["folder"]).name == COMMITS["main"]
    client.needs_nothing(revision="v1")
    answer = client(revision="v9")
    assert answer["error"] == "SourceError"
    assert "org/model has no revision 'v9'" in answer["message"]


def test_the_token_is_sent_and_asked_for(client: Client) -> None:
    client.hub.private, client.hub.token = True, "hf_secret"
    refused = client()
    assert "it answered 401" in refused["message"]
    assert "pass token=" in refused["message"]
    assert refused["cause"] == "RepositoryNotFoundError"
    assert "folder" in client(token="hf_secret")
    assert ("Bearer hf_secret") in {token for _, token in client.hub.requests}


def test_a_gated_model_says_where_to_accept(client: Client) -> None:
    client.hub.gated = True
    message = client()["message"]
    assert f"org/model is gated: accept its terms at {client.hub.url}/org/model, then pass token=" in message


def test_an_unknown_model_points_at_the_spelling(client: Client) -> None:
    answer = client("org/modle-x", token="t")
    assert answer["error"] == "SourceError"
    assert "no model 'org/modle-x'" in answer["message"]
    assert "answered 404" in answer["message"]
    assert "misspelt" in answer["message"]


def test_a_broken_hub_is_named_with_its_status(client: Client) -> None:
    client.hub.broken = True
    answer = client()
    assert answer["error"] == "SourceError"
    assert f"{client.hub.url} answered 500 when asked for org/model; try again later" in answer["message"]


def test_without_a_network_the_message_says_so(client: Client) -> None:
    answer = client.fresh({"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert answer["error"] == "SourceError"
    assert "http://127.0.0.1:9 can't be reached" in answer["message"]
    assert "pypi:NAME" in answer["message"]


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "ENFOLD_OFFLINE", "local_files_only"])
def test_offline_uses_the_cache_and_opens_no_socket(client: Client, switch: str) -> None:
    arguments: dict[str, Any] = {switch: True} if switch == "local_files_only" else {"environment": {switch: "1"}}
    answer = client.fresh(**arguments)
    assert (answer["error"], answer["sockets"], answer["client"]) == ("OfflineError", 0, False)
    assert f"{switch}=" in answer["message"]
    folder = client(want="tokenizer")["folder"]
    assert client.fresh(want="tokenizer", **arguments) == {"folder": folder, "sockets": 0, "client": False}
    assert "lacks weights (model.safetensors)" in client.fresh(**arguments)["message"]


def test_what_other_libraries_cached_is_used(client: Client) -> None:
    """A cache filled file by file has no modules.json unless someone asked for it."""
    names = ("config.json", "model.safetensors", "tokenizer.json")
    script = f"import huggingface_hub as h\nfor n in {names}: h.hf_hub_download('org/model', n)"
    environment = _environment(client.hub) | {"HF_HOME": str(client.home)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)
    folder = client.needs_nothing()
    assert client.needs_nothing(want="embedding", local_files_only=True) == folder
    assert client.fresh({"HF_ENDPOINT": "http://127.0.0.1:9"}, want="embedding")["folder"] == folder
    assert client(want="embedding")["requests"] > 0
    assert (Path(folder) / "modules.json").exists()
    client.needs_nothing(want="embedding")


def test_the_absence_of_modules_is_remembered(client: Client) -> None:
    for name in ("modules.json", "1_Pooling/config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        del client.hub.files[name]
    client(want="embedding")
    client.needs_nothing(want="embedding")
    client.needs_nothing(want="all")


@pytest.mark.parametrize(
    ("gone", "want", "message"),
    [
        (("config.json",), "config", "has no config.json; it holds"),
        (("model.safetensors", "pytorch_model.bin"), "all", "has no weights"),
        (("model.safetensors", "pytorch_model.bin", "config.json"), "model", "has no config.json and no weights"),
    ],
)
def test_a_repository_of_another_kind_is_refused_before_a_download(
    client: Client, gone: tuple[str, ...], want: str, message: str
) -> None:
    for name in gone:
        del client.hub.files[name]
    assert message in client(want=want)["message"]
    assert client.hub.downloads == set()


class TestGguf:
    @pytest.fixture
    def gguf(self, client: Client) -> Client:
        """A repository with one GGUF file, as those who quantize models make them."""
        client.hub.files = {"README.md": b"# A model", "tiny.Q4_0.gguf": b"GGUF", ".gitattributes": b""}
        return client

    @pytest.mark.parametrize("want", ["all", "model", "tokenizer", "config", "embedding"])
    def test_one_file_is_all_that_is_wanted(self, gguf: Client, want: str) -> None:
        folder = Path(gguf(want=want)["folder"])
        assert gguf.hub.downloads == {"README.md", "tiny.Q4_0.gguf"}
        assert (folder / "tiny.Q4_0.gguf").read_bytes() == b"GGUF"
        for again in ("all", "model", "tokenizer", "config", "embedding"):
            assert gguf.needs_nothing(want=again) == str(folder)

    def test_of_several_one_has_to_be_named(self, gguf: Client) -> None:
        gguf.hub.files |= {"tiny.Q8_0.gguf": b"GGUF8", "config.json": b"{}", "big/tiny.F16.gguf": b"GGUF16"}
        message = gguf()["message"]
        assert "org/model holds 3 GGUF files; choose one: " in message
        assert "org/model#tiny.Q4_0.gguf, org/model#tiny.Q8_0.gguf" in message
        assert gguf.hub.downloads == set()
        for name in ("tiny.Q8_0.gguf", "big/tiny.F16.gguf"):
            file = Path(gguf(f"org/model#{name}")["folder"])
            assert file.read_bytes() == gguf.hub.files[name]
            assert gguf.needs_nothing(source=f"org/model#{name}", local_files_only=True) == str(file)
            assert (describe(file).form, describe(file).name) == ("hub", "org/model")
        assert gguf.hub.downloads == {"README.md", "tiny.Q8_0.gguf", "big/tiny.F16.gguf"}
        # One that was fetched by its name isn't "the" model of the repository.
        assert "choose one" in gguf()["message"]

    def test_an_unknown_file_lists_the_others(self, gguf: Client) -> None:
        message = gguf("org/model#tiny.Q5_0.gguf")["message"]
        assert "org/model has no tiny.Q5_0.gguf; its GGUF files are org/model#tiny.Q4_0.gguf" in message

    def test_other_weights_come_first(self, client: Client) -> None:
        client.hub.files["tiny.Q4_0.gguf"] = b"GGUF"
        file = client("org/model#tiny.Q4_0.gguf")["folder"]
        assert client.hub.downloads == {"README.md", "tiny.Q4_0.gguf"}
        client(want="model")
        assert "model.safetensors" in client.hub.downloads
        assert client.needs_nothing(source="org/model#tiny.Q4_0.gguf") == file


def test_cache_dir_takes_the_place_of_the_cache(client: Client, tmp_path: Path) -> None:
    folder = client.fresh(cache_dir=str(tmp_path / "elsewhere"))["folder"]
    assert folder.startswith(str(tmp_path / "elsewhere" / "models--org--model"))


def test_an_id_of_one_part_is_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="gpt2 would have to be fetched: it isn't in"):
        resolve("gpt2", cache_dir=tmp_path, local_files_only=True)


@pytest.mark.parametrize("revision", ["../../x", "/etc", "a\\b"])
def test_a_revision_stays_in_the_cache(tmp_path: Path, revision: str) -> None:
    with pytest.raises(SourceError, match="is no branch, tag or commit"):
        resolve("org/model", revision=revision, cache_dir=tmp_path)

"""The tasks that write: the reference's records."""

from typing import Any

import pytest

from tests.tasks.writing_oracle import golden, writer

SPANS = ("spans", "sequence")


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize(("task", "kind", "call", "records"), golden())
def test_records_are_the_references(task: str, kind: str, call: dict[str, Any], records: Any, engine: str) -> None:
    ours = writer(task, kind, engine)(*call["args"], **call["kwargs"])
    if "<extra_id_0>" in str(call["args"]):
        ours = [{name: value for name, value in record.items() if name not in SPANS} for record in ours]
    assert ours == records

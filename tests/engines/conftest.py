"""Puts the kernels under test in place before any test imports them."""

from tests.native.place import place

place()

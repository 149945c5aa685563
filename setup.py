"""The one thing pyproject.toml cannot say: which extension cffi builds."""

from setuptools import setup

setup(cffi_modules=["src/mu/launch/build.py:ffibuilder"])

"""The conformance kit that plugins run against themselves: ``check_plugin`` here and ``repcore plugins check NAME``
on the command line, ``parametrize_checks`` in ``pytest_plugin``, import trials in a subprocess in ``deep``."""

from repcore.testing.kit import check_plugin
from repcore.testing.report import Report

__all__ = ["Report", "check_plugin"]

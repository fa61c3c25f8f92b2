"""Curves for reading: tables and a page of HTML."""

from oodml.report.page import build_page
from oodml.report.table import (
    control_table,
    difference_table,
    number_table,
    order_text,
    spread_table,
    summary_table,
    text_table,
)

__all__ = [
    "build_page",
    "control_table",
    "difference_table",
    "number_table",
    "order_text",
    "spread_table",
    "summary_table",
    "text_table",
]

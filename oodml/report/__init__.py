"""Curves for reading: tables and a page of HTML."""

from oodml.report.page import build_page
from oodml.report.table import number_table, text_table

__all__ = ["build_page", "number_table", "text_table"]

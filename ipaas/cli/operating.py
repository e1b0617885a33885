"""Commands of operators: what ran, and what to do about it."""

from __future__ import annotations

import typer

operating = typer.Typer()

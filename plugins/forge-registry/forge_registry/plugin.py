"""The plugin module of forge-registry. It hears no hook; its drivers are found by their entry points."""

from __future__ import annotations

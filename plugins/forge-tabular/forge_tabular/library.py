"""XGBoost under either of its distributions: `xgboost` (with GPU libraries) or `xgboost-cpu`; both import as `xgboost`."""

from __future__ import annotations

try:
    import xgboost
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "XGBoost is not installed: pip install 'forge-tabular[xgboost-cpu]', or 'forge-tabular[xgboost]' for GPUs", name="xgboost"
    ) from error

__all__ = ["xgboost"]

"""The pipeline of forge.yaml, spelled in Python: both build the same `PipelineConfig`, with the same digest.

`python pipeline.py` runs it in the project that lies in this folder, as `forge train` does.
"""

from __future__ import annotations

from forge_core import Kernel, Pipeline

pipeline = (
    Pipeline("flights_late")
    .with_dataset("flights", path="data/flights", format="parquet", partitions=["month"], target="late")
    .with_feature_engineering(
        [
            {"type": "date_parts", "config": {"columns": ["scheduled_departure"], "parts": ["hour", "minute", "weekday"]}},
            {"type": "one_hot", "config": {"columns": ["carrier", "origin", "dest"], "max_categories": 20}},
        ]
    )
    .with_training(
        "xgboost",
        {"n_estimators": 100, "learning_rate": 0.08, "max_depth": 6, "min_child_weight": 50, "colsample_bytree": 0.5},
        split_ratio=0.8,
        validation_strategy="time_series_split",
        n_splits=3,
        order_by="scheduled_departure",
        features=[
            "scheduled_departure",
            "scheduled_minutes",
            "carrier",
            "origin",
            "dest",
            "distance",
            "temperature",
            "humidity",
            "wind_speed",
            "precipitation",
            "pressure",
            "visibility",
            "airport_waiting",
            "airport_delay",
            "carrier_waiting",
            "carrier_delay",
        ],
    )
    .with_evaluation(
        ["auc_roc", "accuracy", "f1", "precision", "recall", "log_loss"], require={"auc_roc": 0.7}, threshold_optimization=True
    )
    .build()  # no with_deployment: traffic moves by `forge deploy`
)

if __name__ == "__main__":
    with Kernel.open("forge.yaml") as kernel:
        run = kernel.execute(pipeline)
        print(run.run_id, run.state)

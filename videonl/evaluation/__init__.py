"""Cost, speed and accuracy of networks, and whether differences between them are significant."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "accuracy": "Score paired_tests read_set",
        "compare": "compare_models",
        "cost": "count_cost",
        "entry": "Entry parse_entry row_names",
        "reach": "receptive_field",
        "result": "Comparison Row merge_group",
        "speed": "Subject measure",
        "crossed": "accuracy_interval crossed_estimate",
        "statistics": "holm mcnemar_exact quartiles t_quantile",
        "sweep": "Sweep read_sweep",
        "verdict": "differences verdict_words video_groups",
        "table": "csv_text markdown",
        "trained_rows": "Budget",
    },
)
